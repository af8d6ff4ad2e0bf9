import math

import numpy as np
import pytest
import torch
from test_maxima import values
from tile_nets import NETS, asked, overlapping, question

from aureole.bounds.linear import UNIT_PARAMETERS, Parameters, backward, concretize, lower_bounds
from aureole.core import Graph
from aureole.core.graph import Relu
from aureole.verify import tiles as tiles_module
from aureole.verify.known import Known
from aureole.verify.query import Query
from aureole.verify.tiles import MOST, Head, Part, Tiling, head_below, heads
from nets_zoo import F64, Sketch, draw, points_in, seeded

every_net = pytest.mark.parametrize("name", NETS)
SEEDS = range(3)


@pytest.fixture(params=[2.0, math.inf], autouse=True)
def seen(request, monkeypatch):
    """These networks are so small that their tiles overlap a lot: some are left whole, with infinity all are cut."""
    monkeypatch.setattr(tiles_module, "SEEN", request.param)
    return request.param


def cut(name: str, seed: int, radius: float = 0.15) -> tuple[Query, Known, Head]:
    query, known = asked(*question(name, seed, 2, 0.1, radius))
    found, *_ = heads(query.graph)
    return query, known, found


def drawn(known: Known, g: torch.Generator) -> Parameters:
    """Any slopes, levels and weights: all of them are valid."""
    return {
        i: {
            n: torch.rand(v.shape, generator=g, dtype=F64) if n in UNIT_PARAMETERS else draw(g, *v.shape)
            for n, v in relaxation.parameters(1).items()
        }
        for i, relaxation in known.relaxations.items()
    }


def at(part: Part, images: torch.Tensor) -> torch.Tensor:
    """The share at images, prices included."""
    return torch.from_numpy(values(part.row, np.stack([part.tile.pixels.point(image) for image in images]))[0])


@every_net
def test_the_head_is_the_networks_end(name):
    query, _, found = cut(name, 0)
    images = points_in(query.region, 50, seeded(1))
    hidden = found.hidden(images)
    torch.testing.assert_close(hidden @ found.weight.T + found.bias, query.graph(images), rtol=0, atol=1e-10)
    for units in found.tiles:
        torch.testing.assert_close(found.graph(units)(images), hidden[:, units], rtol=0, atol=1e-10)
    assert 1 <= len(found.tiles) <= MOST**2
    assert torch.cat(found.tiles).sort().values.tolist() == list(range(hidden.shape[1]))


@pytest.mark.parametrize("dense", [False, True])
def test_inner_layers_over_the_places_below_them(dense, seen):
    """A convolution, or affine layers in a row; units that no neuron reads are in no tile."""
    s = Sketch((1, 9, 9), seeded(4)).conv(3, 4, stride=(2, 2), padding=(1, 1)).relu().conv(3, 1).relu()
    graph = (s.flat().linear(9).linear(5) if dense else s.conv(5, 2, stride=(2, 2))).relu().graph()
    layer = len(graph.nodes) - 2
    units = torch.tensor([4, 0] if dense else [4, 13, 3])
    found = head_below(graph, layer, units)
    assert (found is None) is (seen == 2.0)  # 4x4 pixels, two apart
    if found is not None:
        images = torch.rand((20, 1, 9, 9), generator=seeded(5), dtype=F64)
        expected = graph.values(images)[layer].flatten(1)[:, units]
        torch.testing.assert_close(found.hidden(images) @ found.weight.T + found.bias, expected, rtol=0, atol=1e-10)
        assert [len(tile) for tile in found.tiles] == [3] * (16 if dense else 12)
        assert bool((found.weight[:, torch.cat(found.tiles)] != 0).any(0).all())
        assert int((found.weight != 0).any(0).sum()) == sum(map(len, found.tiles))


def test_inner_layers_that_are_not_cut(monkeypatch):
    s = Sketch((1, 9, 9), seeded(0)).conv(2, 2).relu().conv(2, 2).relu()
    graph = s.flat().linear(6).relu().linear(4).relu().linear(2).graph()
    below = [i - 1 for i, node in enumerate(graph.nodes) if isinstance(node.op, Relu)]
    monkeypatch.setattr(tiles_module, "SEEN", math.inf)
    assert head_below(graph, below[0], torch.arange(2)) is None  # over the image itself
    assert head_below(graph, below[1], torch.arange(2)) is None  # over the first relus
    assert head_below(graph, below[2], torch.arange(2)) is not None
    assert head_below(graph, below[3], torch.arange(2)) is None  # over a layer without places
    monkeypatch.setattr(tiles_module, "PLACES", 10)
    assert head_below(graph, below[2], torch.arange(2)) is None  # over 49


def test_networks_that_have_one_tile_or_none(seen):
    def one(graph: Graph, units: int) -> bool:
        found, *_ = heads(graph)
        return [len(tile) for tile in found.tiles] == [units]

    assert heads(Sketch((1, 3, 3), seeded(0)).flat().linear(3).graph()) == ()  # the image itself
    assert one(Sketch((1, 4), seeded(0)).flat().linear(6).relu().linear(3).graph(), 6)  # no places
    assert one(Sketch((1, 3, 3), seeded(0)).conv(2, 3).relu().flat().linear(3).graph(), 2)  # one place
    assert one(Sketch((1, 4, 4), seeded(0)).conv(2, 2).relu().flat().linear(3).relu().linear(2).graph(), 3)
    wide = Sketch((1, 12, 12), seeded(0)).conv(2, 5).relu().conv(2, 5).relu().flat().linear(3).graph()
    assert one(wide, 2 * 4 * 4) is (seen == 2.0)  # 9x9 pixels for each of 4x4 places, one pixel apart


def test_fewer_tiles_where_many_would_overlap_too_much(seen):
    ways = heads(overlapping(seeded(0)))
    assert [len(way.tiles) for way in ways] == ([9, 4] if seen == 2.0 else [16])
    for way in ways:
        assert torch.cat(way.tiles).sort().values.tolist() == list(range(2 * 4 * 4))


@every_net
@pytest.mark.parametrize("seed", SEEDS)
def test_prices_add_up_to_zero_and_floors_are_lower_bounds(name, seed):
    query, known, found = cut(name, seed, radius=(0.02, 0.15, 0.6)[seed])
    g = seeded(10 + seed)
    images = points_in(query.region, 1000, g)
    hidden = found.hidden(images)
    for parameters in ({}, drawn(known, g)):
        row = draw(g, hidden.shape[1])
        split = Tiling.of(query.region, known.bounds, known.relaxations, found).parts(row, parameters)
        together = sum(at(part, images) for part in split)  # every price is paid and given back
        torch.testing.assert_close(together, hidden @ row, rtol=0, atol=1e-9)
        for part in split:  # tiles need not agree on an image, so each lies below on its own
            assert part.floor <= float(at(part, images).min()) + 1e-9
        total = sum(part.floor for part in split)
        assert total <= float((hidden @ row).min()) + 1e-9
        # where the bounds are linear, the prices lose nothing
        top = len(found.body) - 1
        whole = lower_bounds(
            Graph(found.body), query.region, row[None, None], known.relaxations, parameters or None, start=top
        )
        assert total == pytest.approx(float(whole), abs=1e-9)


@pytest.mark.parametrize("name", ["relus", "pooled"])
def test_tiles_lose_nothing_where_one_wants_a_relu_high_and_the_other_low(name, seen):
    """Against prices on pixels alone, with which each tile pays for its own lines."""
    better = 0
    for seed in range(5):
        query, known, found = cut(name, seed)
        row = draw(seeded(50 + seed), found.weight.shape[1])
        tiling = Tiling.of(query.region, known.bounds, known.relaxations, found)
        rows = torch.stack([torch.zeros_like(row).index_copy(0, units, row[units]) for units in found.tiles])[:, None]
        planes, constants = backward(Graph(found.body), len(found.body) - 1, rows, known.relaxations)
        before = float(concretize(planes.sum(0, keepdim=True), query.region) + constants.sum())
        floor = sum(part.floor for part in tiling.parts(row, {}))
        assert floor >= before - 1e-9
        better += floor > before + 1e-6
        assert tiling.holds or floor <= before + 1e-6
    assert better > 0 or seen == 2.0


@every_net
def test_a_tile_sees_its_own_pixels_and_finds_images_again(name):
    query, known, found = cut(name, 1)
    images = points_in(query.region, 20, seeded(20))
    row = draw(seeded(21), found.weight.shape[1])
    for part in Tiling.of(query.region, known.bounds, known.relaxations, found).parts(row, {}):
        moved = torch.zeros(images[0].numel(), dtype=torch.bool)
        moved[torch.from_numpy(part.tile.pixels.moved)] = True
        for image in images:
            back = part.tile.pixels.image(part.tile.pixels.point(image).numpy())
            expected = torch.where(moved, image.flatten(), query.region.center.flatten())
            torch.testing.assert_close(back.flatten(), expected, rtol=0, atol=1e-12)


@every_net
@pytest.mark.parametrize("seed", SEEDS)
def test_joined_tiles_are_worth_what_they_were_and_less_is_given_away(name, seed):
    query, known, found = cut(name, seed)
    tiling = Tiling.of(query.region, known.bounds, known.relaxations, found)
    if len(tiling.tiles) < 2:
        return
    g = seeded(30 + seed)
    images = points_in(query.region, 500, g)
    row = draw(g, found.weight.shape[1])
    fewer = tiling.joined([(0, 1)])
    *_, one = fewer.tiles
    assert sorted(one.units.tolist()) == sorted(torch.cat([tile.units for tile in tiling.tiles[:2]]).tolist())
    apart, closer = tiling.parts(row, {}), fewer.parts(row, {})
    hidden = found.hidden(images) @ row
    for split in (apart, closer):
        torch.testing.assert_close(sum(at(part, images) for part in split), hidden, rtol=0, atol=1e-9)
        assert sum(part.floor for part in split) <= float(hidden.min()) + 1e-9


@every_net
def test_a_price_on_a_pixel_that_a_tile_does_not_see_is_taken_where_it_costs_least(name):
    query, known, found = cut(name, 1)
    tile = Tiling.of(query.region, known.bounds, known.relaxations, found).tiles[0]
    row = draw(seeded(40), found.weight.shape[1])
    prices = draw(seeded(41), query.region.center.numel()).numpy()
    part = Part.of(tile, row, prices, -math.inf)
    images = points_in(query.region, 500, seeded(42))
    true = found.hidden(images)[:, tile.units] @ row[tile.units]
    true = true + (images - query.region.center).flatten(1) @ torch.from_numpy(prices)
    assert bool((at(part, images) <= true + 1e-9).all())
