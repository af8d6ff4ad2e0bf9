"""Rows as sums of maxima: their values against the network's, and the bounds of cases against images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from brute_cases import case
from brute_force import least_margin

from aureole.bounds import intermediate_bounds
from aureole.core import Graph, Region
from aureole.core.graph import merge_rectified_pools
from aureole.verify.cases import Boxes, Cases, bound
from aureole.verify.encoding import Composed, compose
from aureole.verify.maxima import Maxima
from nets_zoo import F64, ZOO, box_of, draw, points_in, seeded

KINDS = [name for name in ZOO if name not in ("squashed", "steep")]


def composed(graph: Graph, region: Region, g: torch.Generator) -> tuple[Graph, torch.Tensor, Composed]:
    graph = merge_rectified_pools(graph)
    row = draw(g, graph.classes)
    return graph, row, compose(graph, region, row, intermediate_bounds(graph, region))


def drawn(row: Maxima, g: torch.Generator, count: int = 4) -> Cases:
    """Any parameters: all of them are sound."""
    whole = Cases.whole(row)
    some = Cases.cat([whole] * count)

    def any_of(t: torch.Tensor) -> torch.Tensor:
        return torch.rand(t.shape, generator=g, dtype=F64)

    return replace(
        some, mixes=tuple(4 * any_of(t) - 2 for t in some.mixes), planes=tuple(any_of(t) for t in some.planes),
        prices=any_of(some.prices) - 0.5, slopes=any_of(some.slopes),
    )  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("radius", [0.0, 0.1, 0.7])
def test_the_sum_is_the_networks_row_and_prices(name, radius):
    g = seeded(len(name))
    region = box_of(ZOO[name](seeded(1)), g, radius)
    graph, weights, made = composed(ZOO[name](seeded(1)), region, g)
    prices = draw(g, region.lower[0].numel()).numpy()
    felt = np.zeros(len(prices), dtype=bool)
    felt[made.pixels.moved] = True
    prices[~felt] = 0
    images = points_in(region, 30, g)
    points = torch.stack([made.pixels.point(image) for image in images])
    expected = graph(images) @ weights + (images - region.center).flatten(1) @ torch.from_numpy(prices)
    row = Maxima.of(made, prices)
    torch.testing.assert_close(row.at(points)[0], expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(row.to(torch.float32).at(points.float())[0], expected.float(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("radius", [0.1, 0.7])
def test_bounds_lie_below_every_point_of_their_case(name, radius):
    """Any parameters, any part of the box; and a decided maximum counts only where its candidate is largest."""
    g = seeded(100 + len(name))
    region = box_of(ZOO[name](seeded(2)), g, radius)
    _, _, made = composed(ZOO[name](seeded(2)), region, g)
    row = Maxima.of(made, np.zeros(region.lower[0].numel()))
    cases = drawn(row, g)
    ends = torch.rand(2, len(cases), row.pixels, generator=g, dtype=F64).mul(2).sub(1).sort(0).values
    cases = replace(cases, lower=ends[0], upper=ends[1])
    points = ends[0] + (ends[1] - ends[0]) * torch.rand(200, len(cases), row.pixels, generator=g, dtype=F64)
    points[:100] = torch.where(points[:100] > (ends[0] + ends[1]) / 2, ends[1], ends[0])  # corners
    for n in range(len(cases)):
        values, candidates = row.at(points[:, n])
        one = cases[n]
        assert float(bound(row, one, Boxes.of(row, one))) <= float(values.min()) + 1e-9
        for i, layer in enumerate(row.layers):
            z = candidates[i].masked_fill(~layer.real, -torch.inf)
            for unit in range(min(3, z.shape[1])):
                for winner in range(int(layer.real[unit].sum())):
                    inside = z[:, unit].argmax(-1) == winner
                    allowed = one.allowed[i].clone()
                    allowed[0, unit] = torch.arange(allowed.shape[2]) == winner
                    decided = replace(one, allowed=(*one.allowed[:i], allowed, *one.allowed[i + 1 :]))
                    value = float(bound(row, decided, Boxes.of(row, decided)))
                    if bool(inside.any()):
                        assert value <= float(values[inside].min()) + 1e-9


@pytest.mark.parametrize("first", range(0, 108, 36))
def test_bounds_lie_below_the_least_value(first):
    """Brute force over activation patterns, where sampling may miss the corner that matters."""
    for n in range(first, first + 36):
        found, g = case(n), seeded(n)
        graph, weights, made = composed(found.graph, found.region, g)
        least = least_margin(graph, found.region, weights[None], torch.zeros(1, dtype=F64), 1)
        row = Maxima.of(made, np.zeros(found.region.lower[0].numel()))
        for cases in (Cases.whole(row), drawn(row, g)):
            assert float(bound(row, cases, Boxes.of(row, cases)).max()) <= least + 1e-9, n


def test_the_gradient_at_a_shift_of_zero_is_where_the_bound_is_least():
    g = seeded(5)
    region = box_of(ZOO["strided"](seeded(3)), g, 0.2)
    _, _, made = composed(ZOO["strided"](seeded(3)), region, g)
    row = Maxima.of(made, np.zeros(region.lower[0].numel()))
    cases = Cases.whole(row)
    shift = torch.zeros_like(cases.lower, requires_grad=True)
    (point,) = torch.autograd.grad(bound(row, cases, Boxes.of(row, cases), shift).sum(), shift)
    assert float(point.abs().max()) <= 1 + 1e-9
    with torch.no_grad():
        here = bound(row, cases, Boxes.of(row, cases))
        for _ in range(20):  # concave in the shift: the gradient's plane lies above
            moved = draw(g, *shift.shape)
            assert float(bound(row, cases, Boxes.of(row, cases), moved)) <= float(here + (moved * point).sum()) + 1e-9
