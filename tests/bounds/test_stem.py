"""Bounds by the stem's windows: below every image, above the plain linear bounds, exact where nothing is relaxed."""

import itertools

import pytest
import torch

from aureole.bounds import Ascent, intermediate_bounds, lower_bounds, optimise, relax
from aureole.bounds.stem import PRICE, Stem, stem_bounds, stem_position
from aureole.bounds.tighten import Tightening, _Way, tighten
from aureole.core import Graph, Region
from aureole.core.graph import Conv
from nets_zoo import F64, ZOO, Sketch, points_in, seeded

KINDS = ("overlapping", "padded", "apart", "dilated", "skipping", "residual", "dense")


def net(kind: str, seed: int) -> Graph:
    s = Sketch((2, 8, 8), seeded(seed))
    match kind:
        case "overlapping":
            s.conv(4, 3, stride=(2, 2)).relu().conv(5, 2).relu()
        case "padded":
            s.conv(4, 4, stride=(2, 2), padding=(1, 1)).relu().conv(6, 2, stride=(2, 2), padding=(1, 1)).relu()
        case "apart":
            s.conv(4, 2, stride=(2, 2)).relu().conv(6, 2, stride=(2, 2)).relu()
        case "dilated":
            s.conv(4, 2, dilation=(2, 3), padding=(0, 1)).relu().conv(3, 3, stride=(2, 2)).relu()
        case "skipping":  # some pixels are in no window
            s.conv(4, (1, 2), stride=(3, 3)).relu().conv(3, 2).relu()
        case "residual":
            s.conv(3, 3, padding=(1, 1)).relu()
            skip = s.last
            s.conv(3, 3, padding=(1, 1)).add(skip, s.last).relu()
        case "dense":
            s.conv(3, 3, stride=(2, 2)).relu().flat().linear(7).relu()
    return (s.flat() if len(s.shape) == 3 else s).linear(4).graph()


def box(seed: int, radius: float) -> Region:
    image = torch.rand((2, 8, 8), generator=seeded(seed), dtype=F64)
    image[:, :3] = image[:, :3].round()  # clipped on one side
    region = Region.ball(image, radius)
    lower, upper = region.lower.clone(), region.upper.clone()
    lower[..., 5], upper[..., 5] = image[..., 5], image[..., 5]  # a column that does not move
    return Region(lower, upper)


@pytest.mark.parametrize("kind", KINDS)
def test_any_prices_and_slopes_are_sound(kind):
    for seed, radius, choices in itertools.product(range(3), (0.0, 0.05, 0.4), (1, 3, 9)):
        graph, region, draw = net(kind, seed), box(seed, radius), seeded(seed)
        rows = torch.randn(5, 4, generator=draw, dtype=F64)
        relaxations = relax(graph, intermediate_bounds(graph, region))
        stem = Stem.of(graph, region, relaxations, choices)
        assert stem is not None
        least = (graph(points_in(region, 600, draw)) @ rows.T).amin(0)
        default = {i: r.parameters(5) for i, r in relaxations.items()}
        default[stem.relu] |= stem.row_parameters(5)
        values = stem_bounds(graph, rows[None], relaxations, default, stem)[0]
        plain = lower_bounds(graph, region, rows[None], relaxations)[0]
        assert bool((values >= plain - 1e-9).all()), (seed, radius, choices)
        assert bool((values <= least + 1e-9).all()), (seed, radius, choices)
        for wild in (1.0, 30.0):
            free = {i: {n: torch.rand(v.shape, generator=draw, dtype=F64) for n, v in p.items()}
                    for i, p in default.items()}  # fmt: skip
            if PRICE in free[stem.relu]:
                free[stem.relu][PRICE] = wild * (free[stem.relu][PRICE] - 0.5)
            values = stem_bounds(graph, rows[None], relaxations, free, stem)[0]
            assert bool((values <= least + 1e-9).all()), (seed, radius, choices, wild)


def test_one_window_is_exact():
    """Relus that all count downwards: the function is concave, so least at a corner; all pieces are chosen."""
    for seed in range(6):
        graph = Sketch((1, 2, 2), seeded(seed)).conv(3, 2).relu().flat().linear(2).graph()
        graph.nodes[-1].op.weight.copy_(-graph.nodes[-1].op.weight.abs())
        region = Region.ball(torch.rand((1, 2, 2), generator=seeded(seed), dtype=F64), 0.4)
        relaxations = relax(graph, intermediate_bounds(graph, region))
        stem = Stem.of(graph, region, relaxations, 3)
        assert stem is not None
        values = stem_bounds(graph, torch.eye(2, dtype=F64)[None], relaxations, {2: stem.row_parameters(2)}, stem)[0]
        corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)), dtype=F64).reshape(-1, 1, 2, 2)
        least = graph(region.lower + (region.upper - region.lower) * corners).amin(0)
        # one window needs no price, but the default one is the chords': what it costs the climb takes back
        assert bool((values <= least + 1e-12).all())
        climbed = optimise(graph, region, torch.eye(2, dtype=F64)[None], relaxations, Ascent(steps=300), stem=stem)
        assert climbed.values[0].tolist() == pytest.approx(least.tolist(), abs=2e-2)


@pytest.mark.parametrize("kind", ["overlapping", "padded", "apart", "dense"])
def test_climbing_with_windows_gains(kind):
    gained = 0.0
    for seed in range(3):
        graph, region = net(kind, seed), box(seed, 0.1)
        rows = torch.eye(4, dtype=F64)[None]
        relaxations = relax(graph, intermediate_bounds(graph, region))
        plain = optimise(graph, region, rows, relaxations, Ascent(steps=30)).values
        stem = Stem.of(graph, region, relaxations, 4)
        found = optimise(graph, region, rows, relaxations, Ascent(steps=30), stem=stem)
        least = graph(points_in(region, 600, seeded(seed))).amin(0)
        assert bool((found.values[0] <= least + 1e-9).all())
        gained += float((found.values - plain).mean())
    assert gained > 0.01


def test_networks_without_a_stem():
    for kind in ("pool_only", "affine", "rectified_pools"):
        assert stem_position(ZOO[kind](seeded(0))) is None
    graph, region = net("overlapping", 0), box(0, 0.1)
    assert Stem.of(graph, region, relax(graph, intermediate_bounds(graph, region)), 0) is None
    other = Sketch((1, 6, 6), seeded(0)).pool(2).flat().linear(3).relu().linear(3).graph()
    region = Region.ball(torch.rand((1, 6, 6), generator=seeded(0), dtype=F64), 0.2)
    bounds = intermediate_bounds(other, region)
    assert tighten(other, region, bounds) == bounds


def test_inner_bounds_become_tighter_and_stop_in_time():
    graph, region = net("overlapping", 1), box(1, 0.1)
    bounds = intermediate_bounds(graph, region)
    tighter = tighten(graph, region, bounds)
    changed = [i for i in bounds if isinstance(graph.nodes[i].op, Conv) and i > 1]
    for i in changed:
        open_ = bounds[i].unstable
        before, after = (b[i].upper - b[i].lower for b in (bounds, tighter))
        assert bool((after <= before).all())
        assert float(after[open_].mean()) < 0.97 * float(before[open_].mean())
    assert tighten(graph, region, bounds, stop=lambda: True) == bounds


def test_equal_windows_are_climbed_once_and_mean_the_same(monkeypatch):
    """An image that is black but for one corner, and a network that pads at both layers."""
    s = Sketch((1, 16, 16), seeded(3)).conv(3, 3, stride=(2, 2), padding=(1, 1)).relu()
    graph = s.conv(4, 2, stride=(2, 2), padding=(1, 1)).relu().flat().linear(3).graph()
    image = torch.zeros(1, 16, 16, dtype=F64)
    image[:, :4, :4] = torch.rand((4, 4), generator=seeded(3), dtype=F64)
    region = Region.ball(image, 0.1)
    bounds = intermediate_bounds(graph, region)
    way = _Way(graph, region, 3, {2: relax(graph, bounds)[2]}, 2)
    neurons = torch.arange(bounds[3].lower[0].numel())
    kinds = way.kinds(neurons)
    assert int(kinds.max()) + 1 < len(neurons) / 2
    for kind in kinds.unique():  # what is one kind has one range of values, up to where the images differ
        members = neurons[kinds == kind]
        widths = (bounds[3].upper - bounds[3].lower).flatten()[members]
        assert float(widths.max() - widths.min()) < 1e-12
    tightening = Tightening(Ascent(steps=5), 2)
    together = tighten(graph, region, bounds, tightening)
    monkeypatch.setattr(_Way, "kinds", lambda self, neurons: torch.arange(len(neurons)))
    alone = tighten(graph, region, bounds, tightening)
    assert torch.allclose(together[3].lower, alone[3].lower, rtol=0, atol=1e-4)
    assert torch.allclose(together[3].upper, alone[3].upper, rtol=0, atol=1e-4)
