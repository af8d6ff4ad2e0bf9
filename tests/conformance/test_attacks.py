"""Every attack. A new one joins by one line."""

import itertools

import pytest
import torch

from aureole.attacks import Attack, Found, SmoothPgd
from aureole.core import Budget, Graph, InputError, OutOfTopK, Region, TopK
from aureole.core.graph import Linear, merge_rectified_pools
from nets_zoo import F64, ZOO, Sketch, box_of, image_of, points_in, seeded

ATTACKS: dict[str, Attack] = {
    "smooth": SmoothPgd(),
    "smooth, short": SmoothPgd(steps=12, restarts=4),
    "smooth, no restarts": SmoothPgd(steps=20, restarts=0),
    "smooth, one set": SmoothPgd(steps=30, restarts=3, sets=1),
}

every_attack = pytest.mark.parametrize("name", ATTACKS)
every_net = pytest.mark.parametrize("net", ZOO)


def run(name: str, graph: Graph, region: Region, spec: TopK, **more: object) -> Found:
    return ATTACKS[name](graph, region, spec, generator=seeded(7), **more)


@every_attack
@every_net
def test_images_are_inside_to_the_last_bit_and_no_worse_than_the_starts(name, net):
    g = seeded(31)
    graph = merge_rectified_pools(ZOO[net](g))
    spec = TopK(0, 1 + graph.classes // 3)
    # float32 copies of these limits round outward as often as inward
    region = Region.stack([box_of(graph, g, r) for r in (0.0, 0.01, 0.3)])
    starts = torch.stack([points_in(region[i], 3, g) + 0.2 * (i == 1) for i in range(3)])
    found = run(name, graph, region, spec, starts=starts)
    assert found.images.dtype == F64
    assert bool((found.images >= region.lower).all() and (found.images <= region.upper).all())
    assert torch.allclose(found.margins, spec.margin(graph(found.images)), rtol=0, atol=1e-12)
    clipped = torch.minimum(torch.maximum(starts, region.lower[:, None]), region.upper[:, None])
    for begin in (*clipped.unbind(1), region.center):
        assert bool((found.margins <= spec.margin(graph(begin)) + 1e-12).all())
    assert torch.equal(found.images[0], region.lower[0])


@every_attack
def test_the_generator_decides(name):
    g = seeded(32)
    graph = merge_rectified_pools(ZOO["rectified_pools"](g))
    region = box_of(graph, g, 0.1)
    torch.manual_seed(1)
    first = run(name, graph, region, TopK(0, 2))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = run(name, graph, region, TopK(0, 2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(torch.get_rng_state(), state)


def planted(seed: int, k: int) -> tuple[Graph, Region, TopK, torch.Tensor]:
    """Relu networks whose margin falls below zero only close to one corner of a box of 12 pixels."""
    g = seeded(seed)
    s = Sketch((1, 3, 4), g).flat()
    corner = torch.rand(12, generator=g).round().to(F64)
    towards = (2 * corner - 1) / 12  # 1 at the corner for shifted pixels
    weight = torch.cat([towards[None], draw_small(g, 4)])
    s.put(Linear(weight, torch.tensor([1.0] + [0.1] * 4, dtype=F64))).relu()
    out = torch.zeros(5, 5, dtype=F64)
    for c in range(1, k + 1):
        out[c, 0] = 1.0  # k classes rise together towards the corner
    bias = torch.full((5,), -5.0, dtype=F64)
    bias[1 : k + 1] = 0.0
    at_corner = float(towards @ corner)
    bias[0] = 1 + at_corner - 0.05 / 12
    s.put(Linear(out, bias))
    return s.graph(), Region.ball(torch.full((1, 3, 4), 0.5, dtype=F64), 0.5), TopK(0, k), corner


def draw_small(g: torch.Generator, rows: int) -> torch.Tensor:
    return torch.randn(rows, 12, generator=g, dtype=F64) * 0.05


@every_attack
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_planted_counterexamples_are_found(name, seed, k):
    graph, region, spec, corner = planted(seed, k)
    assert float(spec.margin(graph(corner.reshape(1, 1, 3, 4)))) < 0
    assert float(spec.margin(graph(region.center))) > 0
    assert float(spec.margin(graph(points_in(region, 200, seeded(seed)))).min()) > 0  # no luck
    found = run(name, graph, region, spec)
    assert float(found.margins) < 0


@every_attack
def test_a_linear_network_is_minimised_at_its_corner(name):
    g = seeded(33)
    graph = Sketch((1, 3, 3), g).flat().linear(3).graph()
    region = box_of(graph, g, 0.2)
    spec = TopK(int(graph(region.center).argmax()), 1)
    rows = spec.rows(3)
    op = graph.nodes[-1].op
    weight, bias = rows @ op.weight, rows @ op.bias
    middle, half = region.center.flatten(), ((region.upper - region.lower) / 2).flatten()
    exact = float((weight @ middle + bias - weight.abs() @ half).min())
    found = run(name, graph, region, spec)
    if exact < -2e-3:  # the search may stop as soon as the margin is clearly negative
        assert float(found.margins) < 0
    else:
        assert float(found.margins) == pytest.approx(exact, abs=1e-6)


@every_attack
def test_without_time_the_best_start_comes_back(name):
    g = seeded(34)
    graph = merge_rectified_pools(ZOO["strided"](g))
    region = box_of(graph, g, 0.2)
    found = run(name, graph, region, TopK(0, 1), budget=Budget.seconds(0.0))
    assert region.contains(found.images[0])
    assert float(found.margins) <= float(TopK(0, 1).margin(graph(region.center))) + 1e-12


@every_attack
def test_two_classes_and_all_places(name):
    g = seeded(35)
    graph = Sketch((1, 2, 2), g).flat().linear(4).relu().linear(2).graph()
    assert run(name, graph, Region.ball(image_of(graph, g), 0.1), TopK(1, 1)).margins.shape == (1,)
    graph = Sketch((1, 2, 2), g).flat().linear(4).relu().linear(5).graph()
    for k in range(1, 5):
        found = run(name, graph, Region.ball(image_of(graph, g), 0.3), TopK(2, k))
        assert bool(found.margins.isfinite().all())


def test_a_smooth_pool_is_close_to_the_pool():
    from aureole.attacks.smooth import SmoothPool

    for net in ("overlapping_pools", "rectified_pools", "leftover_pool", "pool_only"):
        graph = merge_rectified_pools(ZOO[net](seeded(36)))
        images = torch.rand(3, *graph.input_shape, generator=seeded(37), dtype=F64)
        smooth = graph.values(images, pool=SmoothPool(1e5))
        for value, node in zip(smooth, graph.nodes, strict=True):
            assert value.shape == (3, *node.shape)
        assert torch.allclose(smooth[-1], graph(images), rtol=0, atol=1e-3)


def test_sets_of_many_rows_are_not_all_listed():
    """Of 1000 rows 995 must fail: 41 million sets, of which six are tried."""
    graph = Sketch((1, 2, 2), seeded(0)).flat().linear(1000).graph()
    region = Region.ball(torch.full((1, 2, 2), 0.5, dtype=F64), 0.1)
    spec = OutOfTopK(3, 5, 1000)
    found = SmoothPgd(steps=2, restarts=5)(graph, region, spec, generator=torch.Generator().manual_seed(0))
    assert region.contains(found.images[0])


@pytest.mark.parametrize(("rows", "order"), [(5, 1), (5, 2), (9, 7), (12, 9), (4, 4)])
def test_the_first_sets_are_those_of_the_lowest_rows(rows, order):
    attack, margins = SmoothPgd(sets=6), torch.arange(rows, dtype=F64)[None]
    chosen, _ = attack._choose(margins[:, None], order, 6)
    near = min(rows, order + 3)
    expected = sorted(itertools.combinations(range(near), order), key=sum)[:6]
    assert [tuple(ranks) for ranks in chosen[0].tolist()] == [expected[i % len(expected)] for i in range(6)]


def test_given_starts_keep_to_the_rows_that_are_lowest_there():
    given = torch.stack([torch.arange(5, dtype=F64), torch.tensor([4.0, 0, 3, 1, 2], dtype=F64)])
    chosen, _ = SmoothPgd(sets=3)._choose(given[None], 2, 5)
    assert [sorted(ranks) for ranks in chosen[0].tolist()] == [[0, 1], [1, 3], [0, 3], [0, 1], [0, 2]]


@pytest.mark.parametrize("change", [{"steps": 0}, {"sets": 0}, {"restarts": -1}])
def test_an_attack_that_cannot_search_is_told(change):
    with pytest.raises(InputError, match="cannot attack"):
        SmoothPgd(**change)
