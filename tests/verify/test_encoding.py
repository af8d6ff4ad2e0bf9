import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from brute_cases import case

from aureole.bounds import intermediate_bounds
from aureole.bounds.intermediate import INTERVAL_RULES
from aureole.bounds.interval import interval_bounds
from aureole.core import Graph, Region, TopK
from aureole.core.graph import Relu, apply, merge_rectified_pools
from aureole.verify import signs
from aureole.verify.encoding import encode
from aureole.verify.highs import solve
from aureole.verify.rounding import slack
from aureole.verify.signs import Pull, pulls
from aureole.verify.solver import Status
from nets_zoo import F64, ZOO, Sketch, box_of, image_of, points_in, seeded

SLACK = 1e-6


def depth(graph: Graph, region: Region, rows: torch.Tensor, order: int, bounds=None) -> float:
    """The MILP's optimum: how far below zero `order` rows can lie together; -inf when infeasible."""
    graph = merge_rectified_pools(graph)
    bounds = intermediate_bounds(graph, region) if bounds is None else bounds(graph, region)
    encoding = encode(graph, region, rows, order, bounds, SLACK)
    found = solve(encoding.program, 30.0, lambda solution: False)
    if found.status is Status.INFEASIBLE:
        return -np.inf
    assert found.status is Status.SOLUTION
    return float(encoding.program.objective @ found.solution)


def by_intervals(graph: Graph, region: Region):
    return interval_bounds(graph, region, INTERVAL_RULES)


@pytest.mark.parametrize("n", [n for n in range(120) if case(n).least < -1e-4])
def test_the_optimum_is_the_exact_least_margin(n):
    found = case(n)
    rows = found.spec.rows(found.graph.classes)
    for bounds in (intermediate_bounds, by_intervals):
        assert depth(found.graph, found.region, rows, found.spec.k, bounds) == pytest.approx(-found.least, abs=2e-6)


@pytest.mark.parametrize("n", [n for n in range(120) if case(n).least > 1e-4])
def test_a_spec_that_holds_is_infeasible(n):
    found = case(n)
    for bounds in (intermediate_bounds, by_intervals):
        assert depth(found.graph, found.region, found.spec.rows(found.graph.classes), found.spec.k, bounds) == -np.inf


@pytest.mark.parametrize("n", range(60))
def test_half_encodings_answer_as_full_ones(n, monkeypatch):
    found = case(n)
    rows = found.spec.rows(found.graph.classes)
    half = depth(found.graph, found.region, rows, found.spec.k)
    half_pull = signs._through_weights

    def whole(node, pull, shape):
        below = half_pull(node, pull, shape)
        return Pull(below.any, below.any)

    monkeypatch.setattr(signs, "_through_weights", whole)
    full = depth(found.graph, found.region, rows, found.spec.k)
    assert full == pytest.approx(half, abs=2e-6)


@pytest.mark.parametrize(
    "net", ["rectified_pools", "strided", "dilated_groups", "residual", "strided_shortcut", "doubled"]
)
def test_solutions_are_images_whose_rows_are_as_promised(net):
    """Convolutions with stride, padding, dilation and groups; pools; sums: the program against the network."""
    g = seeded(51)
    graph = merge_rectified_pools(ZOO[net](g))
    region = box_of(graph, g, 0.03)
    scores = graph(region.center)[0]
    for target, order in itertools.product(range(graph.classes), (1, 2)):
        rows = TopK(target, order).rows(graph.classes)
        encoding = encode(graph, region, rows, order, intermediate_bounds(graph, region), SLACK)
        found = solve(encoding.program, 20.0, lambda solution: False)
        if found.status is Status.INFEASIBLE:
            margins = TopK(target, order).margin(graph(points_in(region, 500, g)))
            assert float(margins.min()) > 0
            continue
        assert found.status is Status.SOLUTION
        image = encoding.image(found.solution)
        assert bool((image >= region.lower[0] - 1e-9).all() and (image <= region.upper[0] + 1e-9).all())
        margin = float(TopK(target, order).margin(graph(region.clip(image)))[0])
        assert margin == pytest.approx(-float(encoding.program.objective @ found.solution), abs=1e-5)
    assert bool(scores.isfinite().all())


@pytest.mark.parametrize("net", ZOO)
def test_a_pull_is_what_moving_a_value_does(net):
    """Where the pull says that no row falls when a value rises, raising it (inside its bounds) lowers no row."""
    g = seeded(52)
    graph = merge_rectified_pools(ZOO[net](g))
    region = box_of(graph, g, 0.2)
    rows = TopK(0, 1).rows(graph.classes)[:2]
    bounds = intermediate_bounds(graph, region)
    silent = 0
    for i, pull in pulls(graph, rows, bounds).items():
        size = pull.any.numel()
        places = range(0, size, max(1, size // 9))
        moves = torch.zeros(2 * len(places), size, dtype=F64)
        for n, place in enumerate(places):
            moves[2 * n, place], moves[2 * n + 1, place] = 1e-4, -1e-4
        allowed = torch.stack([f.flatten()[list(places)] for f in (pull.high, pull.low)], 1).flatten()
        for image in points_in(region, 4, g):
            values = graph.values(image[None])
            moved = values[i] + moves.reshape(-1, *graph.nodes[i].shape)
            inside = ((bounds[i].lower <= moved) & (moved <= bounds[i].upper)).flatten(1).all(1)
            change = ((after(graph, values, i, moved) - values[-1]) @ rows.T).amin(1)
            promised = inside & ~allowed
            silent += int(promised.sum())
            assert bool((change[promised] >= -1e-12).all())
    assert silent > 0


def after(graph: Graph, values: list[torch.Tensor], i: int, moved: torch.Tensor) -> torch.Tensor:
    """The scores when node i has other values and nothing before it changes."""
    now = [value.expand(len(moved), *value.shape[1:]) for value in values]
    now[i] = moved
    for j in range(i + 1, len(graph.nodes)):
        now[j] = apply(graph.nodes[j].op, [now[k] for k in graph.nodes[j].inputs], graph.nodes[j].shape)
    return now[-1]


def test_untouched_pixels_and_fixed_ones_are_no_variables():
    g = seeded(53)
    graph = merge_rectified_pools(ZOO["leftover_pool"](g))
    region = box_of(graph, g, 0.1)
    encoding = encode(graph, region, TopK(0, 1).rows(4), 1, intermediate_bounds(graph, region), SLACK)
    free = (region.upper > region.lower).flatten().numpy()
    assert free[encoding.pixels.moved].all()
    image = encoding.image(np.zeros(len(encoding.program.lower)))
    assert torch.allclose(image, region.center[0], rtol=0, atol=0)
    still = Region.ball(image_of(graph, g), 0.0)
    fixed = encode(graph, still, TopK(0, 1).rows(4), 1, intermediate_bounds(graph, still), SLACK)
    assert len(fixed.pixels.moved) == 0
    margin = float(TopK(0, 1).margin(graph(still.center))[0])
    outcome = solve(fixed.program, 10.0, lambda solution: False)
    assert outcome.status is (Status.SOLUTION if margin <= SLACK else Status.INFEASIBLE)


@dataclass(frozen=True)
class Doubled:
    """An operator that nobody taught the prover."""


@pytest.mark.parametrize(
    "asked",
    [
        lambda graph, region, bounds: encode(graph, region, torch.eye(2, dtype=F64), 1, bounds, SLACK),
        lambda graph, region, bounds: pulls(graph, torch.eye(2, dtype=F64), bounds),
        lambda graph, region, bounds: slack(graph, region, torch.eye(2, dtype=F64)),
    ],
)
def test_an_unknown_operator_is_not_taken_for_another(asked):
    graph = Sketch((1, 1, 2), seeded(0)).flat().linear(2).relu().linear(2).graph()
    region = Region.ball(torch.full((1, 1, 2), 0.5, dtype=F64), 0.1)
    bounds = intermediate_bounds(graph, region)
    (relu,) = (node for node in graph.nodes if isinstance(node.op, Relu))
    object.__setattr__(relu, "op", Doubled())  # past the check of types
    with pytest.raises(TypeError, match="Doubled"):
        asked(graph, region, bounds)
