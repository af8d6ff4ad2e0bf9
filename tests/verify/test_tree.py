"""The search over cases: against brute force, against points, and what it promises while it grows."""

from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from brute_cases import case
from brute_force import least_margin
from test_maxima import KINDS, row_of, summed, values

from aureole.bounds import intermediate_bounds
from aureole.core import Graph, Region
from aureole.core.graph import Input, Linear, Node, Relu
from aureole.verify import tree as tree_module
from aureole.verify.cases import Maxima, climb, evaluate
from aureole.verify.encoding import compose
from aureole.verify.maxima import Sums, whole
from aureole.verify.tree import Growth, Tree, prepare
from nets_zoo import F64, ZOO, Sketch, box_of, points_in, seeded


def planted(n: int) -> tuple[Maxima, float]:
    """A tiny network's row and its least value."""
    found = case(n)
    graph, weights, made = summed(found.graph, found.region, seeded(n))
    least = least_margin(graph, found.region, weights[None], torch.zeros(1, dtype=F64), 1)
    return made.row(weights.numpy(), np.zeros(found.region.lower[0].numel())), least


def searched(row: Maxima, turns: int, pool: Executor | None = None) -> Tree:
    tree = Tree(row, np.zeros((1, row.pixels)))
    for _ in range(turns):
        tree.grow(pool=pool)
        if tree.done:
            break
    return tree


@pytest.mark.parametrize("first", range(0, 108, 27))
def test_the_floor_rises_to_the_least_value(first):
    """And in most cases the ceiling falls to it: what is tried are corners and averages, no search of its own."""
    met = 0
    for n in range(first, first + 27):
        row, least = planted(n)
        tree = searched(row, 40)
        assert tree.floor <= least + 1e-9, n
        assert tree.ceiling >= least - 1e-9, n
        assert values(row, tree.point[None])[0][0] == tree.ceiling
        assert (np.abs(tree.point) <= 1).all()
        near = 0.05 * max(1.0, abs(least))
        assert tree.floor >= least - near, n
        met += tree.ceiling <= least + near
    assert met >= 20


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "growth", [Growth(), Growth(root=0, steps=0, work=1), Growth(root=3, steps=2, work=7000, rate=2.0)]
)
def test_it_never_passes_a_point_and_never_falls_back(name, growth):
    g = seeded(7)
    row = row_of(name, 4, g)
    points = (torch.rand(500, row.pixels, generator=g, dtype=F64) * 2 - 1).numpy()
    lowest = values(row, points)[0].min()
    tree = Tree(row, points[:2], growth)
    assert tree.floor == -np.inf
    floor, ceiling = tree.floor, tree.ceiling
    for _ in range(6):
        tree.grow()
        assert floor <= tree.floor <= lowest + 1e-9
        assert tree.floor <= tree.ceiling <= ceiling
        floor, ceiling = tree.floor, tree.ceiling


def test_handed_down_bounds_are_not_rounded_up():
    """A least value just above a float32 number's half way; float32 would round a proved bound to above it."""
    least = 1000.00004
    nodes = (
        Node(Input(), (), (1,)),
        Node(Linear(torch.tensor([[1.0], [0.0]], dtype=F64), torch.tensor([0.5, least], dtype=F64)), (0,), (2,)),
        Node(Relu(), (1,), (2,)),
        Node(Linear(torch.ones(1, 2, dtype=F64), torch.zeros(1, dtype=F64)), (2,), (1,)),
    )
    region = Region(-torch.ones(1, 1, dtype=F64), torch.ones(1, 1, dtype=F64))
    made = Sums.of(compose(Graph(nodes), region, intermediate_bounds(Graph(nodes), region)))
    tree = Tree(made.row(np.ones(1), np.zeros(1)), np.full((1, 1), 0.7))
    for _ in range(5):
        tree.grow()
        assert tree.floor <= least


@pytest.mark.parametrize("seed", range(3))
def test_a_dense_network_is_searched_to_the_end(seed):
    """All relus read all pixels: one cell, and nothing to divide but pixels."""
    g = seeded(seed)
    graph = Sketch((1, 1, 3), g).flat().linear(12).relu().linear(1).graph()
    region = Region(-torch.ones(1, 1, 1, 3, dtype=F64), torch.ones(1, 1, 1, 3, dtype=F64))
    made = Sums.of(compose(graph, region, intermediate_bounds(graph, region)))
    tree = searched(made.row(np.ones(1), np.zeros(3)), 60)
    lowest = float(graph(points_in(region, 20_000, g)).min())
    assert tree.floor <= lowest + 1e-9
    assert tree.ceiling - tree.floor <= 0.05 * max(1.0, abs(lowest))


def test_a_good_point_ends_the_search_early():
    """Cases above a value that some point has need no look."""
    row, least = next((r, value) for r, value in map(planted, range(108)) if not searched(r, 1).done)
    blind = searched(row, 40)
    told = Tree(row, blind.point[None])
    while not told.done and told.count < 10_000:
        told.grow()
    assert told.ceiling == blind.ceiling
    assert told.count <= blind.count
    assert told.floor <= least + 1e-9


def test_a_row_without_maxima_is_bounded_exactly():
    g = seeded(1)
    region = box_of(ZOO["affine"](seeded(1)), g, 0.3)
    graph, weights, made = summed(ZOO["affine"](seeded(1)), region, g)
    tree = searched(made.row(weights.numpy(), np.zeros(region.lower[0].numel())), 3)
    least = least_margin(graph, region, weights[None], torch.zeros(1, dtype=F64), 1)
    assert tree.floor == pytest.approx(least, abs=1e-9)
    assert tree.ceiling == pytest.approx(least, abs=1e-9)


def test_preparing_compiles_what_a_search_needs():
    """One compilation for all rows: another type somewhere would cost every process a second one."""
    prepare()
    row, _ = planted(20)
    searched(row, 5)
    assert [len(made.signatures) for made in (climb, evaluate)] == [1, 1]


def test_the_same_search_twice_is_the_same():
    row, _ = planted(20)
    first, again = searched(row, 5), searched(row, 5)
    assert (first.floor, first.ceiling, first.count) == (again.floor, again.ceiling, again.count)


def test_two_cases_at_a_time_are_the_same_search_each_time(monkeypatch):
    """And one as sound: rows as short as these are not divided so."""
    with ThreadPoolExecutor(2) as pool:
        for n in range(0, 108, 6):
            row, least = planted(n)
            alone = searched(row, 5)
            short = searched(row, 5, pool)
            assert (short.floor, short.count) == (alone.floor, alone.count)
            with monkeypatch.context() as patched:
                patched.setattr(tree_module, "LONG", 0)
                one, other = searched(row, 40, pool), searched(row, 40, pool)
            assert (one.floor, one.ceiling, one.count) == (other.floor, other.ceiling, other.count)
            assert least - 0.05 * max(1.0, abs(least)) <= one.floor <= least + 1e-9, n
            assert one.ceiling >= least - 1e-9, n


def test_a_start_made_once_serves_every_row():
    row, _ = planted(20)
    start = whole(row)
    trees = [
        Tree(row._replace(objective=f * row.objective), np.zeros((1, row.pixels)), start=start) for f in (1, -1, 1)
    ]
    for tree in trees:
        tree.grow()
    assert trees[0].floor == trees[2].floor == searched(row, 1).floor
    np.testing.assert_array_equal(start.parameters, whole(row).parameters)
