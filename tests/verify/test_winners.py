import math

import pytest
import torch
from tile_nets import NETS, asked, question

from aureole.core import Region
from aureole.verify import tiles as tiles_module
from aureole.verify.tiles import Head, heads
from aureole.verify.winners import settle
from nets_zoo import ZOO, draw, points_in, seeded

ROUNDING = 1e-6
"""The descent is in float32."""


@pytest.fixture(autouse=True)
def several(monkeypatch):
    """Tiles even where their fields overlap as much as in these small networks."""
    monkeypatch.setattr(tiles_module, "SEEN", math.inf)


def start_of(region: Region, images: list[torch.Tensor]) -> torch.Tensor:
    """Where guesses overlap, their mean; each counts where it leaves the middle."""
    moved = torch.stack(images) - region.center
    return region.center[0] + moved.sum(0) / (moved != 0).sum(0).clamp(min=1)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("seed", range(2))
def test_what_is_found_lies_inside_and_no_higher_than_the_start(name, seed):
    query, _ = asked(*question(name, seed, 2, 0.3))
    cut, *_ = heads(query.graph)
    g = seeded(seed)
    rows = query.rows[: 1 + seed]
    mixed = rows.mean(0) @ cut.weight
    images = list(points_in(query.region, len(cut.tiles), g))
    for count in (len(cut.tiles), -(-len(cut.tiles) // 2), 1):  # tiles that were not looked at have no guess
        guesses = list(zip(cut.tiles, images, strict=True))[:count]
        found = settle(query.fast, query.region, rows, mixed, guesses)
        assert found.dtype == torch.float64 and found.shape == query.region.shape
        assert float((found - query.region.clip(found)).abs().max()) <= ROUNDING

        def worst(image: torch.Tensor) -> float:
            return float((query.graph(query.region.clip(image)) @ rows.T).max())

        assert worst(found) <= worst(start_of(query.region, images[:count])) + 1e-5
        again = settle(query.fast, query.region, rows, mixed, guesses)
        assert torch.equal(again, found)  # nothing is drawn from a global generator


def test_a_guess_that_fails_is_kept():
    """Every tile guesses the same image, the least of many: nothing above it comes back."""
    below = 0
    for seed in range(4):
        query, _ = asked(*question("pooled", seed, 1, 0.1))
        cut, *_ = heads(query.graph)
        assert isinstance(cut, Head)
        images = points_in(query.region, 500, seeded(seed))
        values = (query.graph(images) @ query.rows[:1].T)[:, 0]
        guesses = [(units, images[values.argmin()]) for units in cut.tiles]
        found = settle(query.fast, query.region, query.rows[:1], query.rows[0] @ cut.weight, guesses)
        reached = float(query.graph(query.region.clip(found))[0] @ query.rows[0])
        assert reached <= float(values.min()) + 1e-5
        below += reached < float(values.min()) - 1e-3
    assert below >= 2


def test_a_region_without_width_stays_where_it_is():
    graph = ZOO["rectified_pools"](seeded(3))
    image = torch.rand(graph.input_shape, generator=seeded(4), dtype=torch.float64)
    query, _ = asked(graph, Region.ball(image, 0.0), question("pooled", 0, 1, 0.0)[2])
    row = draw(seeded(5), 8)
    found = settle(query.fast, query.region, query.rows[:1], row, [(torch.arange(8), image)])
    assert float((found - image).abs().max()) <= ROUNDING
