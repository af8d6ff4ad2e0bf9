"""The stage of windows: proves what plain bounds leave open, never more than is true, alone and for many questions."""

import torch

from aureole.bounds import Ascent
from aureole.bounds.tighten import Tightening
from aureole.core import Graph, Region, TopK, Verdict
from aureole.verify import classify_labels, prove, prove_all
from aureole.verify.prove import Portfolio
from aureole.verify.stages import Climb, Screen, Windows
from nets_zoo import F64, Sketch, points_in, seeded

PLAIN = Portfolio((Screen(), Climb()))
MORE = Portfolio((Screen(), Climb(), Windows(least=0)))


def net(seed: int) -> Graph:
    s = Sketch((1, 12, 12), seeded(seed)).conv(4, 4, stride=(2, 2), padding=(1, 1)).relu()
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
    """With the bias put between what plain bounds and windows prove of the margin; None where they hardly differ."""
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
    idle = Windows(least=0, tightening=Tightening(Ascent(steps=0)), climb=Climb(Ascent(steps=0)))
    for seed in range(4):
        graph, region, spec = question(seed, 2)
        once, twice = (prove(graph, region, spec, Portfolio((Screen(), Climb(), *more))) for more in ((), (idle,)))
        assert once.margin_bound is not None and twice.margin_bound is not None
        assert twice.margin_bound >= once.margin_bound - 1e-12


def test_other_networks_are_left_alone():
    graph = Sketch((1, 6, 6), seeded(0)).conv(3, 2).pool(2).flat().linear(4).relu().linear(3).graph()
    region = Region.ball(torch.rand((1, 6, 6), generator=seeded(0), dtype=F64), 0.3)
    answers = [prove(graph, region, TopK(0, 1), method) for method in (PLAIN, MORE)]
    assert answers[0].margin_bound == answers[1].margin_bound
