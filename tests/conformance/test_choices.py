"""Bounds by choices of relus' pieces: below every image, above the plain linear bounds, exact where they can be."""

import itertools

import pytest
import torch

from aureole.bounds import Choices, choice_bounds, intermediate_bounds, lower_bounds, relax
from aureole.core import Graph, Region, TopK, Verdict
from aureole.verify import prove
from aureole.verify.choose import Choose
from aureole.verify.prove import Portfolio
from aureole.verify.stages import Screen
from nets_zoo import F64, Sketch, points_in, seeded

KINDS = ("apart", "padded", "overlapping", "three", "residual", "pooled", "two linear")
NUMBERS = [Choices(last, first, overlapping=True) for last, first in ((0, 0), (1, 1), (3, 2), (5, 3), (9, 9))]


def net(kind: str, seed: int) -> Graph:
    s = Sketch((2, 8, 8), seeded(seed))
    match kind:
        case "apart":  # windows of 4x4 pixels that share nothing
            s.conv(4, 2, stride=(2, 2)).relu().conv(6, 2, stride=(2, 2)).relu()
        case "padded":
            s.conv(4, 2, stride=(2, 2), padding=(1, 1)).relu().conv(6, 2, stride=(2, 2), padding=(1, 1)).relu()
        case "overlapping":
            s.conv(4, 3, stride=(2, 2)).relu().conv(5, 2).relu()
        case "three":
            s.conv(3, 2, stride=(2, 2)).relu().conv(4, 2, stride=(2, 2)).relu().conv(5, 2, stride=(2, 2)).relu()
        case "residual":
            s.conv(3, 3, padding=(1, 1)).relu()
            skip = s.last
            s.conv(3, 3, padding=(1, 1)).add(skip, s.last).relu()
        case "pooled":
            s.conv(3, 2).pool(2).conv(4, 2).relu()
        case "two linear":
            s.conv(4, 2, stride=(2, 2)).relu().flat().linear(5)
    return s.flat().linear(4).graph()


def box(seed: int, radius: float) -> Region:
    image = torch.rand((2, 8, 8), generator=seeded(seed), dtype=F64)
    image[:, :3] = image[:, :3].round()  # clipped on one side
    region = Region.ball(image, radius)
    lower, upper = region.lower.clone(), region.upper.clone()
    lower[..., 5], upper[..., 5] = image[..., 5], image[..., 5]  # a column that does not move
    return Region(lower, upper)


@pytest.mark.parametrize("kind", KINDS)
def test_no_image_lies_below(kind):
    for seed, radius in itertools.product(range(4), (0.0, 0.05, 0.3)):
        graph, region = net(kind, seed), box(seed, radius)
        rows = torch.randn(5, 4, generator=seeded(seed), dtype=F64)
        relaxations = relax(graph, intermediate_bounds(graph, region))
        images = points_in(region, 600, seeded(seed + 9))
        least = (graph(images) @ rows.T).amin(0)
        plain = lower_bounds(graph, region, rows[None], relaxations)[0]
        earlier = None
        for choices in NUMBERS:
            values = choice_bounds(graph, region, rows, relaxations, choices)
            assert values is not None
            assert bool((values <= least + 1e-9).all()), (seed, radius, choices)
            if kind == "two linear":  # elsewhere a chosen relu may leave the bounds that its chord rests on
                assert bool((values >= plain - 1e-9).all()), (seed, radius, choices)
                assert earlier is None or bool((values >= earlier - 1e-9).all()), (seed, radius, choices)
            earlier = values
        if kind in ("apart", "padded", "two linear") and radius > 0:
            assert float(values.mean()) > float(plain.mean()), (seed, radius)


def test_one_layer_is_exact():
    """Windows apart, every relu chosen, rows that want all of them high: nothing is relaxed."""
    for seed in range(6):
        s = Sketch((1, 4, 4), seeded(seed)).conv(3, 2, stride=(2, 2)).relu()
        graph = s.flat().linear(3).graph()
        region = Region.ball(torch.rand((1, 4, 4), generator=seeded(seed), dtype=F64), 0.4)
        weight = graph.nodes[-1].op.weight
        weight.copy_(-weight.abs())
        rows = torch.eye(3, dtype=F64)
        values = choice_bounds(graph, region, rows, relax(graph, intermediate_bounds(graph, region)), Choices(3, 3))
        corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)), dtype=F64)
        # a part is least at a corner of its window (it is concave): all windows' corners at once, window by window
        window = corners.reshape(-1, 1, 2, 2).repeat(1, 1, 2, 2)
        images = region.lower + (region.upper - region.lower) * window
        relus = graph.values(images)[-3].flatten(2)
        parts = torch.einsum("ncp,rcp->nrp", relus, weight.reshape(3, 3, 4))
        least = parts.amin(0).sum(1) + graph.nodes[-1].op.bias
        assert values.tolist() == pytest.approx(least.tolist(), abs=1e-9)


def test_networks_of_other_kinds_are_left_alone():
    region = box(0, 0.1)
    rows = torch.eye(4, dtype=F64)
    for s in (Sketch((2, 8, 8), seeded(0)).flat().linear(5).relu(), Sketch((2, 8, 8), seeded(0)).conv(3, 2).pool(2)):
        graph = (s.flat() if s.nodes[-1].shape != (5,) else s).linear(4).graph()
        assert choice_bounds(graph, region, rows, relax(graph, intermediate_bounds(graph, region))) is None
    graph = net("overlapping", 0)
    relaxations = relax(graph, intermediate_bounds(graph, region))
    assert choice_bounds(graph, region, rows, relaxations) is None
    assert choice_bounds(graph, region, rows, relaxations, Choices(overlapping=True)) is not None


def test_the_stage_proves_more_than_the_screen():
    """With the target's bias put between the two bounds of the margin."""
    proved = 0
    for seed in range(6):
        graph, region = net("apart", seed), box(seed, 0.2)
        spec = TopK(seed % 4, 1)
        rows = spec.rows(4)
        relaxations = relax(graph, intermediate_bounds(graph, region))
        plain = lower_bounds(graph, region, rows[None], relaxations)[0].min()
        chosen = choice_bounds(graph, region, rows, relaxations)
        assert chosen is not None
        if float(chosen.min() - plain) < 1e-3:
            continue
        graph.nodes[-1].op.bias[spec.target] -= (plain + chosen.min()) / 2
        assert prove(graph, region, spec, Portfolio((Screen(),))).verdict is Verdict.UNKNOWN
        answer = prove(graph, region, spec, Portfolio((Screen(), Choose())))
        assert answer.verdict is Verdict.ROBUST
        margins = spec.margin(graph(points_in(region, 300, seeded(seed))))
        assert answer.margin_bound is not None and 0 < answer.margin_bound <= float(margins.min())
        proved += 1
    assert proved > 2
