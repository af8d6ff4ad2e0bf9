"""Pixels divided in all tiles that see them: against brute force, and what a half of a search still knows."""

import math

import numpy as np
import pytest
import torch
from brute_cases import case
from brute_force import least_margin
from test_tree import planted
from tile_nets import asked

from aureole.core import Rows
from aureole.verify import tiles as tiles_module
from aureole.verify.blocks import Blocks
from aureole.verify.divide import divide
from aureole.verify.tiles import Tiling, heads
from aureole.verify.tree import Growth, Tree
from nets_zoo import F64, seeded


@pytest.fixture(autouse=True)
def all_cut(monkeypatch):
    """However much their tiles overlap."""
    monkeypatch.setattr(tiles_module, "SEEN", math.inf)


def posed(n: int):
    """A network small enough for brute force, a row over its scores, that row's least value, and its tiles."""
    found = case(n)
    row = torch.randn(found.graph.classes, generator=seeded(n), dtype=F64)
    least = least_margin(found.graph, found.region, row[None], torch.zeros(1, dtype=F64), 1)
    spec = Rows(row[None], torch.zeros(1, dtype=F64), 1)
    query, known = asked(found.graph, found.region, spec)
    cut, *_ = heads(query.graph)
    return (
        query,
        known,
        row,
        least,
        None if cut is None else Tiling.of(query.region, known.bounds, known.relaxations, cut),
    )


def summed(query, known, row, tiling):
    return Blocks()._begin(query, known, tiling, row, known.parameters, keep=True)


def run(total, enough, met=lambda image: False, stop=lambda: False, turns=200):
    return divide(total, enough, turns, 2, stop, met)


CASES = [n for n in range(0, 110, 2) if n % 9 in (3, 5, 6, 7, 8)]


def test_the_floor_rises_to_the_least_value_and_never_above():
    divided = better = 0
    for n in CASES:
        query, known, row, least, tiling = posed(n)
        if tiling is None or not tiling.shared:
            continue
        images = []
        total = summed(query, known, row, tiling)
        for share in total.shares:
            share.tree.grow()
        before = total.floor
        # a little too much is asked for, so that the search goes on until nothing is left to divide
        floor = run(total, least + 0.1, lambda image: images.append(image) or len(images) > 300)  # noqa: B023
        assert floor <= least + 1e-7, n
        assert floor >= before - 1e-9, n
        for image in images:
            assert bool(((image >= query.region.lower[0] - 1e-9) & (image <= query.region.upper[0] + 1e-9)).all())
        values = query.graph(torch.stack(images)) @ row
        assert float(values.min()) >= least - 1e-7
        divided += 1
        better += floor > before + 1e-3
        proved = run(summed(query, known, row, tiling), least - 0.05 * max(1.0, abs(least)))
        assert proved > least - 0.05 * max(1.0, abs(least)), n
    assert divided >= 10 and better >= 1


def test_where_all_agree_the_image_is_the_worst_one():
    """Nothing is left to divide then: the last image met is where the row is least."""
    met = 0
    for n in CASES:
        query, known, row, least, tiling = posed(n)
        if tiling is None or not tiling.shared:
            continue
        images = []
        run(summed(query, known, row, tiling), least + 1e-3, lambda image: images.append(image) and False)  # noqa: B023
        met += float((query.graph(torch.stack(images)) @ row).min()) <= least + 1e-3 + 1e-7
    assert met >= 10


def test_the_search_ends_when_it_is_told_to():
    query, known, row, least, tiling = next(p for n in CASES if (p := posed(n))[-1] and p[-1].shared)
    total = summed(query, known, row, tiling)
    assert run(total, least + 1, stop=lambda: True) == total.floor
    assert run(total, least + 1, turns=0) == total.floor
    images = []
    floor = run(total, least + 1, lambda image: images.append(image) is None)
    assert len(images) == 1
    assert total.floor <= floor <= least + 1e-7


@pytest.mark.parametrize("first", range(0, 108, 27))
def test_halves_of_a_tree_know_what_it_knew_and_cover_it(first):
    for n in range(first, first + 27):
        row, least = planted(n)
        tree = Tree(row, np.zeros((1, row.pixels)), Growth(work=20_000), keep=True)
        for _ in range(3):
            tree.grow()
        floor, ceiling, pixel = tree.floor, tree.ceiling, n % max(row.pixels, 1)
        if not row.pixels:
            continue
        halves = [tree.within(pixel, -1.0, 0.25), tree.within(pixel, 0.25, 1.0)]
        assert min(half.floor for half in halves) >= floor - 1e-12
        for half in halves:
            for _ in range(40):
                half.grow()
        assert (tree.floor, tree.ceiling) == (floor, ceiling)  # it stayed as it was
        assert min(half.floor for half in halves) <= least + 1e-9, n
        assert min(half.floor for half in halves) >= least - 0.05 * max(1.0, abs(least)), n
        low, high = halves
        assert low.point[pixel] <= 0.25 <= high.point[pixel]
        deeper = low.within(pixel, -0.5, 0.0)
        assert deeper.floor >= low.floor - 1e-12
        assert -0.5 <= deeper.point[pixel] <= 0.0


def test_only_a_tree_that_keeps_its_cases_is_halved():
    row, _ = planted(3)
    with pytest.raises(AssertionError):
        Tree(row, np.zeros((1, row.pixels))).within(0, -1.0, 0.0)
