"""How low can a row fall: programs with some relus in triangles, and the facets that make up for it."""

from itertools import product

import numpy as np
import pytest
import torch
from brute_cases import case
from brute_force import least_margin
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from aureole.bounds import intermediate_bounds
from aureole.core import Graph, Region
from aureole.core.graph import Relu, merge_rectified_pools
from aureole.verify.encoding import Minimum, Triangle, encode_minimum
from aureole.verify.highs import solve
from aureole.verify.solver import Status
from nets_zoo import F64, draw, points_in, seeded

sizes = st.floats(0.0, 2.0).map(lambda x: round(x, 2))


@st.composite
def triangles(make) -> tuple[Triangle, np.ndarray, np.ndarray]:
    """A relu over up to four variables in a box, some of them without width or weight; y is the last variable."""
    count = make(st.integers(1, 4))
    values = np.array([make(sizes) * make(st.sampled_from((-1, 1))) for _ in range(count)])
    lower = np.array([make(st.floats(-1, 1)) for _ in range(count)])
    upper = lower + np.array([make(sizes) for _ in range(count)])
    constant = make(st.floats(-3, 3))
    columns = np.array(make(st.permutations(range(count))))
    box = np.append(lower, 0.0), np.append(upper, 10.0)
    return Triangle(count, columns, values, constant), *box


def relu_at(triangle: Triangle, point: np.ndarray) -> float:
    return max(0.0, float(triangle.values @ point[triangle.columns]) + triangle.constant)


def facet_at(cut: tuple[np.ndarray, np.ndarray, float], triangle: Triangle, point: np.ndarray) -> float:
    """The largest y that the cut allows at a point."""
    columns, values, limit = cut
    mine = columns == triangle.y
    assert values[mine].tolist() == [1.0]
    return limit - float(values[~mine] @ point[columns[~mine]])


def corners(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    return np.array(list(product(*zip(lower[:-1], upper[:-1], strict=True))))


@settings(max_examples=150, deadline=None)
@given(triangles(), st.integers(0, 10**6))
def test_facets_lie_above_the_relu_and_touch_it_at_their_corner(drawn, seed):
    triangle, lower, upper = drawn
    rng = np.random.default_rng(seed)
    vertices = corners(lower, upper)
    inside = rng.uniform(lower[:-1], upper[:-1], size=(20, len(lower) - 1))
    for point in (*vertices, *inside[:4]):
        asked = np.append(point, 10.0)
        cut = triangle.facet(asked, lower, upper)
        if cut is None:  # nothing moves, or the relu is off
            top = max(float(triangle.values @ v[triangle.columns]) + triangle.constant for v in vertices)
            gains = np.abs(triangle.values) * (upper - lower)[triangle.columns]
            assert top <= 1e-9 or gains.max() <= 1e-9
            continue
        for other in (*vertices, *inside):
            assert facet_at(cut, triangle, other) >= relu_at(triangle, other) - 1e-9
        height = facet_at(cut, triangle, point)
        assert height == pytest.approx(envelope(triangle, vertices, point), abs=1e-6)
        for y, wanted in ((height + 1e-3, True), (height - 1e-3, False)):
            assert (triangle.facet(np.append(point, y), lower, upper) is not None) is wanted
    for vertex in vertices:
        cut = triangle.facet(np.append(vertex, 10.0), lower, upper)
        if cut is not None:
            assert facet_at(cut, triangle, vertex) == pytest.approx(relu_at(triangle, vertex), abs=1e-9)


def envelope(triangle: Triangle, vertices: np.ndarray, point: np.ndarray) -> float:
    """The concave envelope of the relu over the box: the highest mix of corners that lies at the point."""
    heights = np.array([relu_at(triangle, v) for v in vertices])
    equal = np.vstack([vertices.T, np.ones(len(vertices))])
    found = linprog(-heights, A_eq=equal, b_eq=np.append(point, 1.0), bounds=(0, None), method="highs")
    assert found.status == 0
    return -float(found.fun)


def asked(n: int) -> tuple[Graph, Region, torch.Tensor, float]:
    """A tiny network, a row of its scores and the exact least value of that row."""
    found = case(n)
    graph = merge_rectified_pools(found.graph)
    row = draw(seeded(n), graph.classes)
    return graph, found.region, row, least_margin(graph, found.region, row[None], torch.zeros(1, dtype=F64), 1)


def encoded(graph: Graph, region: Region, row: torch.Tensor, exact: bool) -> Minimum:
    relus = {i: int(np.prod(node.shape)) for i, node in enumerate(graph.nodes) if isinstance(node.op, Relu)}
    flags = {i: np.full(size, exact) for i, size in relus.items()}
    return encode_minimum(graph, region, row, intermediate_bounds(graph, region), flags)


def answer(minimum: Minimum) -> tuple[float, np.ndarray | None]:
    program = minimum.encoding.program
    if program.matrix.shape[1] == 0:
        return minimum.constant, None
    outcome = solve(program, 20.0, lambda _: False)
    assert outcome.status is Status.SOLUTION
    return minimum.constant - outcome.bound, outcome.solution


@pytest.mark.parametrize("first", range(0, 90, 30))
def test_with_every_choice_the_answer_is_exact_and_without_it_is_lower(first):
    lower = 0
    for n in range(first, first + 30):
        graph, region, row, least = asked(n)
        whole, solution = answer(encoded(graph, region, row, True))
        assert whole == pytest.approx(least, abs=2e-6), n
        if solution is not None:
            image = region.clip(encoded(graph, region, row, True).encoding.image(solution))
            assert float(graph(image)[0] @ row) == pytest.approx(least, abs=1e-5), n
        loose, _ = answer(encoded(graph, region, row, False))
        assert loose <= least + 2e-6, n
        lower += loose < least - 1e-3
        part = encoded(graph, region, row, False)
        unnamed = encode_minimum(graph, region, row, intermediate_bounds(graph, region), {})
        assert answer(unnamed)[0] == pytest.approx(answer(part)[0], abs=1e-6)
    assert lower > 0


def test_facets_raise_the_answer_but_never_above_the_truth():
    raised = 0
    for n in range(90):
        graph, region, row, least = asked(n)
        minimum = encoded(graph, region, row, False)
        first, solution = answer(minimum)
        before = first
        for _ in range(4):
            if solution is None:
                break
            tighter = minimum.tightened(solution)
            if tighter is minimum:
                break
            assert tighter.encoding.program.matrix.shape[0] > minimum.encoding.program.matrix.shape[0]
            minimum = tighter
            now, solution = answer(minimum)
            assert before - 1e-6 <= now <= least + 2e-6, n
            before = now
        raised += before > first + 1e-4
    assert raised >= 3


@pytest.mark.parametrize("n", range(0, 45, 4))
def test_prices_are_added_to_the_row(n):
    graph, region, row, _ = asked(n)
    g = seeded(n)
    prices = draw(g, region.lower[0].numel()).numpy()
    minimum = encoded(graph, region, row, True)
    felt = np.zeros(len(prices), dtype=bool)
    felt[minimum.encoding.pixels.moved] = True
    prices[~felt] = 0
    if not felt.any():
        return
    outcome = solve(minimum.priced(prices), 20.0, lambda _: False)
    images = points_in(region, 2000, g)
    paid = (images - region.center).flatten(1) @ torch.from_numpy(prices)
    assert minimum.constant - outcome.bound <= float((graph(images) @ row + paid).min()) + 1e-6
    image = region.clip(minimum.encoding.image(outcome.solution))
    paid = (image - region.center).flatten(1) @ torch.from_numpy(prices)
    assert float(graph(image)[0] @ row + paid[0]) == pytest.approx(minimum.constant - outcome.bound, abs=1e-5)
