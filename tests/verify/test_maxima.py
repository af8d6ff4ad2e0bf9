"""Rows as sums of maxima: their values against the network's, and the bounds of cases against images."""

import numpy as np
import pytest
import torch
from brute_cases import case
from brute_force import least_margin
from scipy.sparse import csr_matrix

from aureole.bounds import intermediate_bounds
from aureole.core import Graph, Region
from aureole.core.graph import Input, Linear, MaxPool, Node, Reshape, merge_rectified_pools
from aureole.verify.cases import Cases, Findings, Maxima, climb, evaluate
from aureole.verify.encoding import compose
from aureole.verify.maxima import Sums, whole
from nets_zoo import F64, ZOO, Sketch, box_of, draw, points_in, seeded

KINDS = [name for name in ZOO if name not in ("squashed", "steep")]


def summed(graph: Graph, region: Region, g: torch.Generator) -> tuple[Graph, torch.Tensor, Sums]:
    """The network as it is asked about, a random row and the scores as sums."""
    graph = merge_rectified_pools(graph)
    return graph, draw(g, graph.classes), Sums.of(compose(graph, region, intermediate_bounds(graph, region)))


def row_of(name: str, seed: int, g: torch.Generator, radius: float = 0.3) -> Maxima:
    """A random row of a network from the zoo, on a random box."""
    region = box_of(ZOO[name](seeded(seed)), g, radius)
    _, weights, sums = summed(ZOO[name](seeded(seed)), region, g)
    return sums.row(weights.numpy(), np.zeros(region.lower[0].numel()))


def drawn(row: Maxima, g: torch.Generator, count: int = 4) -> Cases:
    """Any parameters: all of them are sound."""
    cases = Cases(*(part.repeat(count, axis=0) for part in whole(row)))
    parameters = torch.rand(cases.parameters.shape, generator=g).numpy()
    n = len(row.low)
    parameters[:, :n] = 4 * parameters[:, :n] - 2  # logits
    parameters[:, 2 * n + len(row.bias) :] -= 0.5  # prices
    return cases._replace(parameters=parameters)


SAME = ("allowed", "lower", "upper")
"""All of a case but its parameters."""


def findings(row: Maxima, n: int) -> Findings:
    return Findings(np.empty(n), np.empty((n, row.pixels)), np.empty(n), np.empty(n, np.int64))


def bounds(row: Maxima, cases: Cases, steps: int = 0) -> Findings:
    """Bounds with the cases' own parameters, or after some steps from these."""
    found = findings(row, len(cases.parameters))
    climb(row, Cases(*(part.copy() for part in cases)), steps, 1.0, np.inf, False, found)
    return found


def values(row: Maxima, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row's values at points, and all variables' there."""
    variables = np.empty((len(points), len(row.objective)))
    return np.array([evaluate(row, p, v) for p, v in zip(points, variables, strict=True)]), variables


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("radius", [0.0, 0.1, 0.7])
def test_the_sum_is_the_networks_row_and_prices(name, radius):
    """Prices of pixels, and of what relus and pools give where that is a variable."""
    g = seeded(len(name))
    region = box_of(ZOO[name](seeded(1)), g, radius)
    graph, weights, made = summed(ZOO[name](seeded(1)), region, g)
    prices = draw(g, region.lower[0].numel()).numpy()
    felt = np.zeros(len(prices), dtype=bool)
    felt[made.pixels.moved] = True
    prices[~felt] = 0
    images = points_in(region, 30, g)
    points = np.stack([made.pixels.point(image) for image in images])
    inner = {i: draw(g, int(np.prod(node.shape))).numpy() for i, node in enumerate(graph.nodes)}
    expected = graph(images) @ weights + (images - region.center).flatten(1) @ torch.from_numpy(prices)
    for i, (_, places) in made.at.items():
        expected = expected + graph.values(images)[i].flatten(1)[:, places] @ torch.from_numpy(inner[i][places])
    np.testing.assert_allclose(
        values(made.row(weights.numpy(), prices, inner), points)[0], expected.numpy(), rtol=0, atol=1e-9
    )


def test_values_let_through_are_variables_where_that_saves_coefficients():
    """Behind a layer whose values many others read; the sum is the network's all the same."""
    g = seeded(8)
    graph = Sketch((1, 10, 10), g).flat().linear(12).relu().linear(12).relu().linear(12).relu().linear(2).graph()
    region = box_of(graph, g, 0.02)
    composed = compose(graph, region, intermediate_bounds(graph, region))
    through = [m for m in composed.maxima if len(m.terms) == 1 and not m.zero]
    assert through
    longest = max(len(columns) for m in composed.maxima for columns, _ in m.terms)
    assert composed.entries < len(composed.maxima) * longest
    row = Sums.of(composed).row(np.array([1.0, -2.0]), np.zeros(100))
    images = points_in(region, 50, g)
    points = np.stack([composed.pixels.point(image).numpy() for image in images])
    np.testing.assert_allclose(values(row, points)[0], (graph(images) @ torch.tensor([1.0, -2.0], dtype=F64)).numpy())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("radius", [0.1, 0.7])
def test_bounds_lie_below_every_point_of_their_case(name, radius):
    """Any parameters, any part of the box; and a decided maximum counts only where its candidate is largest."""
    g = seeded(100 + len(name))
    row = row_of(name, 2, g, radius)
    cases = drawn(row, g)
    lower, upper = torch.rand(2, len(cases.lower), row.pixels, generator=g).mul(2).sub(1).sort(0).values.numpy()
    cases = cases._replace(lower=lower, upper=upper)
    points = lower + (upper - lower) * torch.rand(200, *lower.shape, generator=g, dtype=F64).numpy()
    points[:100] = np.where(points[:100] > (lower + upper) / 2, upper, lower)  # corners
    for n in range(len(lower)):
        met, variables = values(row, points[:, n])
        one = Cases(*(part[n : n + 1] for part in cases))
        assert bounds(row, one).bounds[0] <= met.min() + 1e-9
        assert bounds(row, one, steps=5).bounds[0] <= met.min() + 1e-9
        slopes = csr_matrix((row.slopes, row.columns, row.rows), shape=(len(row.low), len(row.objective)))
        z = variables @ slopes.T + row.constants
        for m in range(min(3, len(row.starts) - 1)):
            begin, end = row.starts[m], row.starts[m + 1]
            for winner in range(begin, end):
                inside = begin + z[:, begin:end].argmax(-1) == winner
                allowed = one.allowed.copy()
                allowed[0, begin:end] = np.arange(begin, end) == winner
                if inside.any():
                    assert bounds(row, one._replace(allowed=allowed), steps=3).bounds[0] <= met[inside].min() + 1e-9


@pytest.mark.parametrize("first", range(0, 108, 36))
def test_bounds_lie_below_the_least_value(first):
    """Brute force over activation patterns, where sampling may miss the corner that matters."""
    for n in range(first, first + 36):
        found, g = case(n), seeded(n)
        graph, weights, made = summed(found.graph, found.region, g)
        least = least_margin(graph, found.region, weights[None], torch.zeros(1, dtype=F64), 1)
        row = made.row(weights.numpy(), np.zeros(found.region.lower[0].numel()))
        for cases in (whole(row), drawn(row, g)):
            assert bounds(row, cases).bounds.max() <= least + 1e-9, n
            assert bounds(row, cases, steps=20).bounds.max() <= least + 1e-9, n


@pytest.mark.parametrize("name", KINDS)
def test_the_climb_goes_up(name):
    """Never below where it starts; from anywhere to about what the usual start reaches (prices begin at 0)."""
    g = seeded(9)
    row = row_of(name, 3, g)
    cases = drawn(row, g, 12)
    cases.parameters[:, len(cases.parameters[0]) - len(row.reads) :] = 0
    before, after = bounds(row, cases).bounds, bounds(row, cases, steps=400).bounds
    top = bounds(row, whole(row), steps=400).bounds[0]
    assert (after >= before - 1e-12).all()
    assert (top - after <= 0.1 * (top - before) + 1e-9).all()


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_moves_uphill(name):
    """Adam's first step has the gradient's signs; those are also seen by trying both sides of each parameter."""
    g = seeded(11)
    row = row_of(name, 3, g)
    start = drawn(row, g, 1)
    n, width = len(row.low), 2.0**-8
    inner = slice(n, 2 * n + len(row.bias))
    start.parameters[:, inner] = 0.25 + start.parameters[:, inner] / 2
    step = start._replace(parameters=start.parameters.copy())
    climb(row, step, 1, 1e-4, np.inf, False, findings(row, 1))
    here = bounds(row, start).bounds[0]
    checked = 0
    for k in range(start.parameters.shape[1]):
        tried = start._replace(parameters=start.parameters.repeat(2, axis=0))
        tried.parameters[0, k] += width
        tried.parameters[1, k] -= width
        up, down = bounds(row, tried._replace(**{part: getattr(start, part).repeat(2, axis=0) for part in SAME})).bounds
        if (up - here) * (here - down) > 1e-14:  # no kink in between
            checked += 1
            assert (step.parameters[0, k] - start.parameters[0, k]) * (up - down) >= 0, k
    assert checked or not row.pixels or not start.parameters.size


def test_impossible_cases_are_gone():
    """A winner whose range lies below another candidate's in this part of the box."""
    row, _ = pooled_pair()
    only_second = whole(row)._replace(allowed=np.array([[False, True]]), lower=np.array([[0.5]], np.float32))
    assert bounds(row, only_second).bounds[0] == np.inf


def pooled_pair() -> tuple[Maxima, Graph]:
    """-max(x, -x) on [-1, 1]."""
    nodes = (
        Node(Input(), (), (1,)),
        Node(Linear(torch.tensor([[1.0], [-1.0]], dtype=F64), torch.zeros(2, dtype=F64)), (0,), (2,)),
        Node(Reshape(), (1,), (1, 1, 2)),
        Node(MaxPool((1, 2), (1, 2), (0, 0)), (2,), (1, 1, 1)),
        Node(Reshape(), (3,), (1,)),
        Node(Linear(-torch.ones(1, 1, dtype=F64), torch.zeros(1, dtype=F64)), (4,), (1,)),
    )
    region = Region(-torch.ones(1, 1, dtype=F64), torch.ones(1, 1, dtype=F64))
    graph = Graph(nodes)
    made = Sums.of(compose(graph, region, intermediate_bounds(graph, region)))
    return made.row(np.ones(1), np.zeros(1)), graph
