import math

import numpy as np
import pytest
import torch
from test_maxima import values
from tile_nets import NETS, asked, question

from aureole.bounds.linear import UNIT_PARAMETERS, Parameters, backward, concretize
from aureole.core import Graph
from aureole.verify import tiles as tiles_module
from aureole.verify.query import Known, Query
from aureole.verify.tiles import MOST, Head, Part, head, parts, sums
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
    found = head(query.graph)
    assert found is not None
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
    return torch.from_numpy(values(part.row, np.stack([part.pixels.point(image) for image in images]))[0])


@every_net
def test_the_head_is_the_networks_end(name):
    query, _, found = cut(name, 0)
    images = points_in(query.region, 50, seeded(1))
    hidden = found.hidden(images)
    torch.testing.assert_close(hidden @ found.weight.T + found.bias, query.graph(images), rtol=0, atol=1e-10)
    row = draw(seeded(2), hidden.shape[1])
    for units in found.tiles:
        torch.testing.assert_close(found.graph(units)(images), hidden[:, units], rtol=0, atol=1e-10)
    assert 1 <= len(found.tiles) <= MOST**2
    assert torch.cat(found.tiles).sort().values.tolist() == list(range(hidden.shape[1]))
    rows = found.split(row)
    torch.testing.assert_close(rows.sum(0), row, rtol=0, atol=0)
    for units, own in zip(found.tiles, rows, strict=True):
        assert torch.equal(own[units], row[units])
        assert int((own != 0).sum()) <= len(units)


def test_networks_that_have_one_tile_or_none(seen):
    def one(graph: Graph, units: int) -> bool:
        found = head(graph)
        return found is not None and [len(tile) for tile in found.tiles] == [units]

    assert head(Sketch((1, 3, 3), seeded(0)).flat().linear(3).graph()) is None  # the image itself
    assert one(Sketch((1, 4), seeded(0)).flat().linear(6).relu().linear(3).graph(), 6)  # no places
    assert one(Sketch((1, 3, 3), seeded(0)).conv(2, 3).relu().flat().linear(3).graph(), 2)  # one place
    assert one(Sketch((1, 4, 4), seeded(0)).conv(2, 2).relu().flat().linear(3).relu().linear(2).graph(), 3)
    wide = Sketch((1, 12, 12), seeded(0)).conv(2, 5).relu().conv(2, 5).relu().flat().linear(3).graph()
    assert one(wide, 2 * 4 * 4) is (seen == 2.0)  # 9x9 pixels for each of 4x4 places, one pixel apart


@every_net
@pytest.mark.parametrize("seed", SEEDS)
def test_prices_add_up_to_zero_and_floors_are_lower_bounds(name, seed):
    query, known, found = cut(name, seed, radius=(0.02, 0.15, 0.6)[seed])
    g = seeded(10 + seed)
    images = points_in(query.region, 1000, g)
    hidden = found.hidden(images)
    for parameters in ({}, drawn(known, g)):
        row = draw(g, hidden.shape[1])
        split = parts(query, known, found, sums(query, known, found), row, parameters)
        together = sum(at(part, images) for part in split)  # every price is paid and given back
        torch.testing.assert_close(together, hidden @ row, rtol=0, atol=1e-9)
        for part in split:  # tiles need not agree on an image, so each lies below on its own
            assert part.floor <= float(at(part, images).min()) + 1e-9
        total = sum(part.floor for part in split)
        assert total <= float((hidden @ row).min()) + 1e-9
        # to the tiles' linear planes, the prices lose nothing
        body, rows = Graph(found.body), found.split(row)[:, None]
        planes, constants = backward(body, len(found.body) - 1, rows, known.relaxations, parameters or None)
        together = concretize(planes.sum(0, keepdim=True), query.region) + constants.sum()
        assert total == pytest.approx(float(together), abs=1e-9)


@every_net
def test_a_tile_sees_its_own_pixels_and_finds_images_again(name):
    query, known, found = cut(name, 1)
    images = points_in(query.region, 20, seeded(20))
    row = draw(seeded(21), found.weight.shape[1])
    for part in parts(query, known, found, sums(query, known, found), row, {}):
        moved = torch.zeros(images[0].numel(), dtype=torch.bool)
        moved[torch.from_numpy(part.pixels.moved)] = True
        for image in images:
            back = part.pixels.image(part.pixels.point(image).numpy())
            expected = torch.where(moved, image.flatten(), query.region.center.flatten())
            torch.testing.assert_close(back.flatten(), expected, rtol=0, atol=1e-12)
