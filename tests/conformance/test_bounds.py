"""Every bounding method: a function (graph, region) -> an interval for every node. A new one joins by one line."""

from collections.abc import Callable

import pytest
import torch

from aureole.bounds import Ascent, Interval, intermediate_bounds, lower_bounds, optimise, relax
from aureole.bounds.intermediate import INTERVAL_RULES
from aureole.bounds.interval import interval_bounds
from aureole.core import Graph, InputError, Region, TopK
from aureole.core.graph import MaxPool, Relu, Squash, merge_rectified_pools
from aureole.verify.encoding import inexact
from aureole.verify.ranges import Reaching, reach
from nets_zoo import CASES, F64, ZOO, Sketch, box_of, image_of, points_in, seeded

Method = Callable[[Graph, Region], dict[int, Interval]]


def interval(graph: Graph, region: Region) -> dict[int, Interval]:
    return interval_bounds(graph, region, INTERVAL_RULES)


def eye(graph: Graph, i: int, batch: int) -> torch.Tensor:
    size = torch.Size(graph.nodes[i].shape).numel()
    rows = torch.eye(size, dtype=F64).reshape(1, size, *graph.nodes[i].shape)
    return torch.cat([rows, -rows], 1).expand(batch, -1, *graph.nodes[i].shape)


def of_rows(graph: Graph, i: int, values: torch.Tensor) -> Interval:
    low, minus_high = values.chunk(2, 1)
    shape = (-1, *graph.nodes[i].shape)
    return Interval(low.reshape(shape), (-minus_high).reshape(shape))


def linear(graph: Graph, region: Region) -> dict[int, Interval]:
    """Backward bounds of every node with default slopes, whatever intervals say."""
    inner = intermediate_bounds(graph, region)
    relaxations = relax(graph, inner)
    bounds = {0: inner[0]}
    for i in range(1, len(graph.nodes)):
        rows = eye(graph, i, len(region))
        bounds[i] = of_rows(graph, i, lower_bounds(graph, region, rows, relaxations, start=i))
    return bounds


def optimised(graph: Graph, region: Region, ascent: Ascent = Ascent(steps=8)) -> dict[int, Interval]:  # noqa: B008
    """Optimised bounds of the scores; intermediate ones elsewhere."""
    inner = intermediate_bounds(graph, region)
    last = len(graph.nodes) - 1
    found = optimise(graph, region, eye(graph, last, len(region)), relax(graph, inner), ascent)
    return {**inner, last: of_rows(graph, last, found.values.detach())}


def rough(graph: Graph, region: Region) -> dict[int, Interval]:
    """Steps so large that they leave the parameters' range: still bounds."""
    return optimised(graph, region, Ascent(steps=4, slope_rate=5.0, logit_rate=50.0))


def searched(graph: Graph, region: Region) -> dict[int, Interval]:
    """Inner bounds by branch and bound, region by region; what it cannot take keeps its linear bounds."""
    each = [intermediate_bounds(graph, one) for one in (region[i] for i in range(len(region)))]
    if not inexact(graph):
        each = [reach(graph, region[i], bounds, Reaching(cases=(6, 6))) for i, bounds in enumerate(each)]
    return {i: Interval(torch.cat([b[i].lower for b in each]), torch.cat([b[i].upper for b in each])) for i in each[0]}


METHODS: dict[str, Method] = {
    "interval": interval,
    "intermediate": intermediate_bounds,
    "linear": linear,
    "searched": searched,
    "optimised": optimised,
    "optimised roughly": rough,
}
ROUNDING = 1e-12

every_method = pytest.mark.parametrize("method", METHODS)
every_net = pytest.mark.parametrize("net", ZOO)
every_case = pytest.mark.parametrize(("net", "radius"), CASES)


def gap(graph: Graph, bounds: dict[int, Interval], images: torch.Tensor) -> float:
    """The least distance from a node's value to its limits: negative when a value is outside."""
    values = graph.values(images)
    sides = [(v - bounds[i].lower).min() for i, v in enumerate(values)]
    sides += [(bounds[i].upper - v).min() for i, v in enumerate(values)]
    return float(min(sides))


def both(graph: Graph) -> list[Graph]:
    return [graph, merge_rectified_pools(graph)]


@every_method
@every_case
def test_points_and_corners_lie_inside_at_every_node(method, net, radius):
    g = seeded(11)
    for graph in both(ZOO[net](g)):
        region = box_of(graph, g, radius)
        bounds = METHODS[method](graph, region)
        assert sorted(bounds) == list(range(len(graph.nodes)))
        for i, node in enumerate(graph.nodes):
            assert bounds[i].lower.shape == (1, *node.shape)
            assert bounds[i].lower.dtype == bounds[i].upper.dtype == F64
        assert gap(graph, bounds, points_in(region, 300, g)) >= -ROUNDING


@every_method
@every_net
def test_attacked_points_lie_inside(method, net):
    """Sampling rarely comes near a bound: go there by gradient."""
    g = seeded(12)
    graph = merge_rectified_pools(ZOO[net](g))
    region = box_of(graph, g, 0.2)
    bounds = METHODS[method](graph, region)
    half = (region.upper - region.lower) / 2
    for sign in (1, -1):
        images = points_in(region, graph.classes * 4, g)
        for _ in range(12):
            images.requires_grad_(True)
            scores = graph(images).unflatten(0, (graph.classes, 4)).diagonal(dim1=0, dim2=2)
            (gradient,) = torch.autograd.grad(scores.sum(), images)
            images = region.clip(images.detach() + sign * 0.3 * half * gradient.sign())
            assert gap(graph, bounds, images) >= -ROUNDING


@every_method
@every_net
def test_zero_width_is_exact(method, net):
    g = seeded(13)
    for graph in both(ZOO[net](g)):
        image = image_of(graph, g)
        bounds = METHODS[method](graph, Region.ball(image, 0.0))
        for i, value in enumerate(graph.values(image[None])):
            assert torch.allclose(bounds[i].lower, value, rtol=0, atol=ROUNDING)
            assert torch.allclose(bounds[i].upper, value, rtol=0, atol=ROUNDING)


@every_method
@every_net
def test_the_whole_range_is_allowed(method, net):
    """A radius that reaches both ends of the pixel range, on an image of black and white pixels."""
    g = seeded(14)
    graph = merge_rectified_pools(ZOO[net](g))
    region = Region.ball(image_of(graph, g).round(), 1.0)
    bounds = METHODS[method](graph, region)
    assert gap(graph, bounds, points_in(region, 200, g)) >= -ROUNDING


SHARED_ROWS = {
    (m, n)
    for m in ("intermediate", "optimised", "optimised roughly")
    for n in ("dense", "mixed_strides", "squashed", "steep")
}
"""Dense rows chosen for one region are made for the whole batch: the others may be tighter than alone."""


@every_method
@every_net
def test_a_batch_is_its_regions_one_by_one(method, net):
    g = seeded(15)
    graph = merge_rectified_pools(ZOO[net](g))
    regions = [box_of(graph, g, radius) for radius in (0.0, 0.05, 0.4)]
    together = METHODS[method](graph, Region.stack(regions))
    for j, region in enumerate(regions):
        alone = METHODS[method](graph, region)
        for i in alone:
            own = Interval(together[i].lower[j : j + 1], together[i].upper[j : j + 1])
            kinked = net in ("unrectified", "squashed", "steep") and "optimised" in method
            near = 2e-2 if kinked else 1e-9  # rounding flips a kink's gradient
            assert inside(own, alone[i], near)
            if (method, net) not in SHARED_ROWS:
                assert inside(alone[i], own, near)


@pytest.mark.parametrize("method", ["interval"])
@every_net
def test_a_larger_region_has_wider_bounds(method, net):
    """Linear bounds need not be monotone; intervals are."""
    g = seeded(16)
    graph = ZOO[net](g)
    image = image_of(graph, g)
    small, large = (METHODS[method](graph, Region.ball(image, r)) for r in (0.05, 0.1))
    for i in small:
        assert bool((large[i].lower <= small[i].lower + ROUNDING).all())
        assert bool((large[i].upper >= small[i].upper - ROUNDING).all())


@every_method
def test_an_affine_network_is_bounded_exactly(method):
    g = seeded(17)
    graph = ZOO["affine"](g)
    region = box_of(graph, g, 0.3)
    if method == "interval":
        graph = Graph(graph.nodes[:3])  # one affine layer
    if method in ("intermediate", "searched"):
        return  # its last layer is an interval step
    bounds = METHODS[method](graph, region)[len(graph.nodes) - 1]
    zero = torch.zeros(1, *graph.input_shape, dtype=F64)
    size = zero.numel()
    weight = (graph(torch.eye(size, dtype=F64).reshape(size, *graph.input_shape)) - graph(zero)).T
    lower, upper = region.lower.flatten(), region.upper.flatten()
    exact = torch.where(weight > 0, weight * lower, weight * upper).sum(1) + graph(zero)[0]
    assert torch.allclose(bounds.lower[0], exact, rtol=0, atol=ROUNDING)


def inside(tight: Interval, loose: Interval, by: float = ROUNDING) -> bool:
    return bool((tight.lower >= loose.lower - by).all() and (tight.upper <= loose.upper + by).all())


@every_case
def test_tighter_methods_lie_inside_looser_ones(net, radius):
    g = seeded(18)
    for graph in both(ZOO[net](g)):
        region = box_of(graph, g, radius)
        last = len(graph.nodes) - 1
        loose, inner = interval(graph, region), intermediate_bounds(graph, region)
        assert all(inside(inner[i], loose[i]) for i in loose)
        fixed = linear(graph, region)[last]
        best = optimised(graph, region)[last]
        parameters = {i: r.parameters(2 * graph.classes) for i, r in relax(graph, inner).items()}
        start = of_rows(
            graph, last, lower_bounds(graph, region, eye(graph, last, 1), relax(graph, inner), parameters or None)
        )
        assert inside(best, start)
        if net in ("strided", "dilated_groups", "residual", "dense", "steep"):  # no pools: the defaults are the start
            assert inside(best, fixed)


def test_optimising_helps():
    better = []
    for net in ("rectified_pools", "overlapping_pools", "residual", "dense"):
        g = seeded(19)
        graph = merge_rectified_pools(ZOO[net](g))
        region = box_of(graph, g, 0.3)
        last = len(graph.nodes) - 1
        fixed, best = linear(graph, region)[last], optimised(graph, region, Ascent(steps=40))[last]
        better.append(float(((best.upper - best.lower) / (fixed.upper - fixed.lower)).mean()))
    assert max(better) < 0.99
    assert min(better) < 0.9


@every_case
def test_patches_are_dense_rows(net, radius, monkeypatch):
    g = seeded(20)
    for graph in both(ZOO[net](g)):
        region = box_of(graph, g, radius)
        patches = intermediate_bounds(graph, region)
        with monkeypatch.context() as patch:
            patch.setattr("aureole.bounds.intermediate.is_local", lambda graph, i: False)
            dense = intermediate_bounds(graph, region)
            patch.setattr("aureole.bounds.intermediate.CHUNK_ELEMENTS", 1)  # row by row
            chunks = intermediate_bounds(graph, region)
        for i in patches:
            for other in (dense, chunks):
                assert torch.allclose(patches[i].lower, other[i].lower, rtol=0, atol=1e-11)
                assert torch.allclose(patches[i].upper, other[i].upper, rtol=0, atol=1e-11)


def test_the_patch_path_is_taken():
    """The comparison above says nothing where both runs take the same path."""
    from aureole.bounds.intermediate import is_local

    for net in (
        "strided",
        "dilated_groups",
        "overlapping_pools",
        "rectified_pools",
        "residual",
        "strided_shortcut",
        "squashed",
    ):
        graph = ZOO[net](seeded(1))
        inner = [n.inputs[0] for n in graph.nodes if isinstance(n.op, Relu | MaxPool | Squash)]
        assert any(is_local(graph, i) for i in inner), net
    graph = ZOO["mixed_strides"](seeded(1))
    assert not all(is_local(graph, n.inputs[0]) for n in graph.nodes if isinstance(n.op, Relu))


@pytest.mark.parametrize("net", ["rectified_pools", "residual", "dense", "doubled"])
def test_rows_mixed_from_parts_bound_the_largest_part(net):
    g = seeded(21)
    graph = merge_rectified_pools(ZOO[net](g))
    region = box_of(graph, g, 0.2)
    rows = TopK(0, 1).rows(graph.classes)
    sets = rows[torch.combinations(torch.arange(len(rows)), 2)][None]
    relaxations = relax(graph, intermediate_bounds(graph, region))
    found = optimise(graph, region, sets, relaxations, Ascent(steps=15))
    values = graph(points_in(region, 400, g)) @ rows.T
    for s, pair in enumerate(torch.combinations(torch.arange(len(rows)), 2)):
        assert float(values[:, pair].amax(1).min()) >= float(found.values[0, s]) - ROUNDING
    assert torch.allclose(found.weights.sum(-1), torch.ones(1, sets.shape[1], dtype=F64))
    mixed = (found.weights.unsqueeze(-1) * sets).sum(2)
    again = lower_bounds(graph, region, mixed, relaxations, found.parameters)
    assert torch.allclose(again, found.values, rtol=0, atol=1e-10)


@pytest.mark.parametrize("net", ["rectified_pools", "overlapping_pools", "residual", "dense"])
def test_the_best_is_kept_when_steps_go_wrong(net):
    g = seeded(24)
    graph = merge_rectified_pools(ZOO[net](g))
    region = box_of(graph, g, 0.2)
    relaxations = relax(graph, intermediate_bounds(graph, region))
    rows = eye(graph, len(graph.nodes) - 1, 1)
    start = lower_bounds(
        graph, region, rows, relaxations, {i: r.parameters(rows.shape[1]) for i, r in relaxations.items()}
    )
    for steps in (1, 2, 3, 4, 7):
        found = optimise(graph, region, rows, relaxations, Ascent(steps, slope_rate=3.0, logit_rate=30.0, end=1.0))
        assert bool((found.values >= start - ROUNDING).all())
        again = lower_bounds(graph, region, rows, relaxations, found.parameters)
        assert torch.allclose(again, found.values, rtol=0, atol=1e-10)


def test_kept_parameters_give_the_kept_values_and_the_start_is_left_alone():
    g = seeded(22)
    graph = merge_rectified_pools(ZOO["rectified_pools"](g))
    region = box_of(graph, g, 0.2)
    relaxations = relax(graph, intermediate_bounds(graph, region))
    rows = TopK(1, 1).rows(graph.classes)[None]
    found = optimise(graph, region, rows, relaxations, Ascent(steps=10))
    again = lower_bounds(graph, region, rows, relaxations, found.parameters)
    assert torch.allclose(again, found.values, rtol=0, atol=1e-10)
    kept = {i: {n: v.clone() for n, v in p.items()} for i, p in found.parameters.items()}
    warm = optimise(graph, region, rows, relaxations, Ascent(steps=10), start=found.parameters)
    assert bool((warm.values >= found.values - ROUNDING).all())
    assert all(torch.equal(v, found.parameters[i][n]) for i, p in kept.items() for n, v in p.items())
    stopped = optimise(graph, region, rows, relaxations, Ascent(steps=10), stop=lambda best: True)
    assert bool((stopped.values <= found.values + ROUNDING).all())


def test_the_optimised_bound_is_differentiable_in_its_parameters():
    g = seeded(23)
    graph = merge_rectified_pools(Sketch((1, 4, 4), g).conv(2, 2).pool(2, 1).relu().flat().linear(2).graph())
    region = box_of(graph, g, 0.3)
    relaxations = relax(graph, intermediate_bounds(graph, region))
    rows = eye(graph, len(graph.nodes) - 1, 1)
    start = {i: r.parameters(rows.shape[1]) for i, r in relaxations.items()}
    names = [(i, name) for i, p in start.items() for name in p]
    noise = [torch.rand(start[i][n].shape, generator=g, dtype=F64) for i, n in names]
    values = [
        (0.2 + 0.6 * r if n == "level" else start[i][n] + r).requires_grad_(True)
        for (i, n), r in zip(names, noise, strict=True)
    ]

    def bound(*parts: torch.Tensor) -> torch.Tensor:
        parameters: dict[int, dict[str, torch.Tensor]] = {}
        for (i, n), part in zip(names, parts, strict=True):
            parameters.setdefault(i, {})[n] = part
        return lower_bounds(graph, region, rows, relaxations, parameters)

    assert names
    assert torch.autograd.gradcheck(bound, values, eps=1e-7, atol=1e-5)


@every_method
def test_overflow_names_the_layer(method):
    graph = Sketch((1, 2, 2), seeded(1)).flat().linear(3).relu().linear(3).relu().linear(2).graph()
    for node in graph.nodes:
        if hasattr(node.op, "weight"):
            node.op.weight.mul_(1e200)
    with pytest.raises(InputError, match="linear"):
        METHODS[method](graph, Region.ball(image_of(graph, seeded(2)), 0.1))


@pytest.mark.parametrize("seed", range(12))
def test_windows_with_ties_and_constants(seed):
    """Integer values: equal inputs, inputs of no width at the maximum, zeros exactly on a limit."""
    g = seeded(100 + seed)
    s = Sketch((1, 5, 5), g).conv(2, 2)
    s = s.pool(2, 1, rectify=bool(seed % 2)) if seed % 3 else s.pool(3, 2, 1, rectify=bool(seed % 2))
    s = s.conv(2, 2).relu().flat().linear(3)
    graph = s.graph()
    for node in graph.nodes:
        if hasattr(node.op, "weight"):
            node.op.weight.mul_(2).round_()
            node.op.bias.mul_(2).round_()
    image = image_of(graph, g).round()
    radii = (torch.rand(image.shape, generator=g, dtype=F64) * 2).round() / 2
    region = Region((image - radii).clamp(0, 1)[None], (image + radii).clamp(0, 1)[None])
    for method in METHODS.values():
        assert gap(graph, method(graph, region), points_in(region, 300, g)) >= -ROUNDING
