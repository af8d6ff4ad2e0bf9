"""Inner ranges hold every value; their stage proves what plain bounds leave open, never more than is true."""

import itertools
import math

import numpy as np
import pytest
import torch
from test_maxima import KINDS, row_of, values

from aureole.bounds import Ascent, intermediate_bounds
from aureole.core import Graph, Region, TopK, Verdict
from aureole.core.graph import MaxPool, Relu, apply, merge_rectified_pools
from aureole.verify import classify_labels, prove, prove_all
from aureole.verify import tiles as tiles_module
from aureole.verify.cases import Maxima
from aureole.verify.maxima import part
from aureole.verify.prove import Portfolio
from aureole.verify.ranges import Reaching, reach, undecided
from aureole.verify.stages import Climb, Ranges, Screen
from aureole.verify.tree import Growth
from nets_zoo import F64, Sketch, points_in, seeded

PLAIN = Portfolio((Screen(), Climb()))
MORE = Portfolio((Screen(), Climb(), Ranges(least=0)))


def net(seed: int, pool: int = 0) -> Graph:
    """Three layers of relus, or two and pools with steps of 2 (they overlap when larger)."""
    s = Sketch((1, 12, 12), seeded(seed)).conv(4, 4, stride=(2, 2), padding=(1, 1)).relu()
    if pool:
        s.conv(6, 3, padding=(1, 1)).relu().pool(pool, 2)
    else:
        s.conv(6, 3, stride=(2, 2), padding=(1, 1)).relu().conv(6, 3, padding=(1, 1)).relu()
    return s.flat().linear(5).graph()


def box(seed: int) -> Region:
    image = torch.rand((1, 12, 12), generator=seeded(seed), dtype=F64)
    return Region.ball(image * (image > 0.5), 0.1)


def question(seed: int, k: int) -> tuple[Graph, Region, TopK]:
    """About the label that is k-th at the box's middle."""
    graph, region = net(seed), box(seed)
    return graph, region, TopK(int(graph(region.center)[0].topk(k).indices[-1]), k)


def lifted(seed: int, k: int, part: float) -> tuple[Graph, Region, TopK] | None:
    """With the bias put between what plain bounds and ranges prove of the margin; None where they hardly differ."""
    graph, region, spec = question(seed, k)
    bounds = [prove(graph, region, spec, method).margin_bound for method in (PLAIN, MORE)]
    assert bounds[0] is not None and bounds[1] is not None and bounds[1] >= bounds[0] - 1e-9
    if bounds[1] - bounds[0] < 1e-3:
        return None
    graph.nodes[-1].op.bias[spec.target] -= bounds[0] + part * (bounds[1] - bounds[0])
    return graph, region, spec


def test_it_proves_what_plain_bounds_leave_open():
    proved = 0
    for seed, k in ((s, k) for s in range(4) for k in (1, 2)):
        found = lifted(seed, k, 0.5)
        if found is None:
            continue
        graph, region, spec = found
        assert prove(graph, region, spec, PLAIN).verdict is Verdict.UNKNOWN
        answer = prove(graph, region, spec, MORE)
        margins = spec.margin(graph(points_in(region, 300, seeded(seed))))
        assert answer.verdict is Verdict.ROBUST
        assert answer.margin_bound is not None and 0 < answer.margin_bound <= float(margins.min())
        proved += 1
    assert proved > 4


def test_many_questions_share_the_inner_bounds():
    found = lifted(0, 1, 0.5)
    assert found is not None
    graph, region, spec = found
    assert prove_all(graph, region, [spec, TopK(spec.target, 2)], PLAIN).verdict is Verdict.UNKNOWN
    assert prove_all(graph, region, [spec, TopK(spec.target, 2)], MORE).verdict is Verdict.ROBUST
    plain, more = (classify_labels(graph, region, 2, method) for method in (PLAIN, MORE))
    assert more.settled >= plain.settled


def test_sets_keep_the_bounds_they_had():
    """A second climb that does nothing leaves the margin's bound where it was."""
    idle = Ranges(least=0, reaching=Reaching(Growth(root=0, work=1), cases=(1, 1)), climb=Climb(Ascent(steps=0)))
    for seed in range(4):
        graph, region, spec = question(seed, 2)
        once, twice = (prove(graph, region, spec, Portfolio((Screen(), Climb(), *more))) for more in ((), (idle,)))
        assert once.margin_bound is not None and twice.margin_bound is not None
        assert twice.margin_bound >= once.margin_bound - 1e-12


def test_other_networks_are_left_alone():
    """Only affine layers lie below the pool: its bounds are exact."""
    graph = Sketch((1, 6, 6), seeded(0)).conv(3, 2).pool(2).flat().linear(3).graph()
    region = Region.ball(torch.rand((1, 6, 6), generator=seeded(0), dtype=F64), 0.3)
    answers = [prove(graph, region, TopK(0, 1), method) for method in (PLAIN, MORE)]
    assert answers[0].margin_bound == answers[1].margin_bound


@pytest.mark.parametrize("seen", [2.0, math.inf])
@pytest.mark.parametrize("pool", [0, 2, 3])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cases", [1, 30])
def test_ranges_hold_every_value_and_are_no_wider_than_plain_bounds(seed, cases, pool, seen, monkeypatch):
    """Place by place, too, which pays where these overlap little: here they overlap a lot."""
    monkeypatch.setattr(tiles_module, "SEEN", seen)
    graph, region = merge_rectified_pools(net(seed, pool)), box(seed)
    plain = intermediate_bounds(graph, region)
    found = reach(graph, region, plain, Reaching(cases=(cases, cases), places=cases, gain=-1.0))
    values = graph.values(points_in(region, 2000, seeded(seed)))
    layers = [node.inputs[0] for node in graph.nodes if isinstance(node.op, Relu | MaxPool)]
    for i, interval in found.items():
        assert bool((values[i] >= interval.lower - 1e-9).all() and (values[i] <= interval.upper + 1e-9).all())
        assert bool((interval.lower >= plain[i].lower).all() and (interval.upper <= plain[i].upper).all())
    for z in layers[1:]:
        assert float((found[z].upper - found[z].lower).sum()) < float((plain[z].upper - plain[z].lower).sum())


def test_places_that_overlap_little_are_searched_one_by_one(monkeypatch):
    """Third layer: places of the second see 6x6 pixels, 5 apart, and the neurons read 3x3 of them."""
    s = Sketch((1, 25, 25), seeded(3)).conv(8, 2).relu().conv(8, 5, stride=(5, 5)).relu().conv(6, 3).relu()
    graph = s.flat().linear(3).graph()
    region = Region.ball(torch.rand((1, 25, 25), generator=seeded(3), dtype=F64), 0.3)
    plain = intermediate_bounds(graph, region)
    alone = reach(graph, region, plain)
    monkeypatch.setattr(tiles_module, "SEEN", 0.0)
    whole = reach(graph, region, plain)
    third = [node.inputs[0] for node in graph.nodes if isinstance(node.op, Relu)][2]
    widths = [float((found[third].upper - found[third].lower).sum()) for found in (alone, whole)]
    assert widths[0] < 0.9 * widths[1]
    values = graph.values(points_in(region, 2000, seeded(3)))[third]
    assert bool((values >= alone[third].lower - 1e-9).all() and (values <= alone[third].upper + 1e-9).all())


@pytest.mark.parametrize("seed", range(4))
def test_a_pool_of_a_pool(seed, monkeypatch):
    """The neurons of the upper pool's input are maxima themselves: no affine layer lies between."""
    monkeypatch.setattr(tiles_module, "SEEN", math.inf)
    s = Sketch((1, 12, 12), seeded(seed)).conv(4, 3, stride=(2, 2)).relu().conv(4, 2).relu().pool(2, 1).pool(2, 1)
    graph, region = merge_rectified_pools(s.flat().linear(4).graph()), box(seed)
    found = reach(graph, region, intermediate_bounds(graph, region), Reaching(gain=-1.0))
    values = graph.values(points_in(region, 2000, seeded(seed)))
    assert all(bool((values[i] >= at.lower - 1e-9).all() and (values[i] <= at.upper + 1e-9).all())
               for i, at in found.items())  # fmt: skip


def test_a_layer_whose_sample_gains_little_is_left():
    graph, region = merge_rectified_pools(net(0, 2)), box(0)
    plain = intermediate_bounds(graph, region)
    z = next(node.inputs[0] for node in graph.nodes if isinstance(node.op, MaxPool))
    changed = []
    for gain in (-1.0, 2.0):
        found = reach(graph, region, plain, Reaching(sample=8, gain=gain))
        changed.append(int((found[z].upper < plain[z].upper).sum() + (found[z].lower > plain[z].lower).sum()))
    assert 0 < 3 * changed[1] < changed[0]


@pytest.mark.parametrize("seed", range(3))
def test_the_undecided_inputs_make_the_maximum(seed):
    """Or its lower bound does; windows without any have one candidate."""
    graph, region = merge_rectified_pools(net(seed, 2)), box(seed)
    node = next(node for node in graph.nodes if isinstance(node.op, MaxPool))
    z = intermediate_bounds(graph, region)[node.inputs[0]]
    values = graph.values(points_in(region, 200, seeded(seed)))[node.inputs[0]]
    decided = torch.ones(z.lower.numel(), dtype=torch.bool)
    decided[undecided(node, z)] = False
    kept = apply(node.op, [values.masked_fill(decided.view_as(z.lower), -torch.inf)], node.shape)
    floor, exact = (apply(node.op, [layer], node.shape) for layer in (z.lower, values))
    several = apply(node.op, [(~decided).to(F64).view_as(z.lower)], node.shape)[0] > 0
    assert 0 < int(several.sum()) < several.numel()
    assert torch.equal(torch.maximum(kept, floor)[:, several], exact[:, several])


def test_an_end_at_once_keeps_the_bounds():
    graph, region = net(0), box(0)
    plain = intermediate_bounds(graph, region)
    assert reach(graph, region, plain, stop=lambda: True) == plain


def test_an_end_in_a_layer_keeps_what_is_done_of_it():
    graph, region = net(0), box(0)
    plain, looks = intermediate_bounds(graph, region), itertools.count()
    reaching = Reaching(sample=4, chunk=4, gain=-1.0, threads=1)
    found = reach(graph, region, plain, reaching, stop=lambda: next(looks) > 40)
    z = [n.inputs[0] for n in graph.nodes if isinstance(n.op, Relu)][1]  # the first layer that is searched
    assert next(looks) > 40
    narrower = (found[z].upper - found[z].lower) < (plain[z].upper - plain[z].lower) - 1e-6
    assert int(narrower.sum()) > 0


@pytest.mark.parametrize("name", KINDS)
def test_a_part_of_a_sum_is_the_same_sum(name):
    """At the pixels it keeps; the others do not matter."""
    g = seeded(6)
    whole = row_of(name, 2, g)
    keep = whole.objective * (np.arange(len(whole.objective)) % 3 == 0)  # a few of its terms
    sparse = whole._replace(objective=keep)
    kept, pixels = part(sparse), np.flatnonzero(needed_pixels(sparse))
    assert kept.pixels == len(pixels)
    points = (torch.rand(20, whole.pixels, generator=g, dtype=F64) * 2 - 1).numpy()
    np.testing.assert_allclose(values(kept, np.ascontiguousarray(points[:, pixels]))[0], values(sparse, points)[0])


def needed_pixels(row: Maxima) -> np.ndarray:
    """The pixels of the terms, and of all that these depend on, term by term."""
    found, pixels = np.zeros(len(row.objective), dtype=bool), row.pixels
    open_ones = list(np.flatnonzero(row.objective))
    while open_ones:
        v = int(open_ones.pop())
        if found[v]:
            continue
        found[v] = True
        if v >= pixels + len(row.bias):
            m = v - pixels - len(row.bias)
            for j in range(row.starts[m], row.starts[m + 1]):
                open_ones += list(row.columns[row.rows[j] : row.rows[j + 1]])
        elif v >= pixels:
            c = int(np.searchsorted(row.relus, v - pixels, side="right")) - 1
            open_ones += list(row.reads[row.inputs[c] : row.inputs[c + 1]])
    return found[:pixels]
