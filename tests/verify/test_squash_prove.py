"""Networks of sigmoids and tanhs: proofs against a fine grid, and honesty about the MILP."""

import pytest
import torch

from aureole.attacks import SmoothPgd
from aureole.bounds import intermediate_bounds
from aureole.core import AboveThreshold, Budget, Graph, Region, TopK, Verdict, Why
from aureole.verify import COMPLETE, INCOMPLETE, Portfolio, prove
from aureole.verify.encoding import encode, inexact
from aureole.verify.highs import solve
from aureole.verify.solver import Status
from aureole.verify.stages import Milp, Screen
from nets_zoo import F64, ZOO, Sketch, box_of, points_in, seeded

MILP = Portfolio((Screen(), Milp()))


def small(n: int) -> Graph:
    s = Sketch((1, 1, 2), seeded(100 + n)).flat().linear(4)
    s.nodes[-1].op.weight.mul_(3.0)
    s = s.sigmoid() if n % 2 else s.tanh()
    return (s.linear(4).relu() if n % 3 else s.linear(3).sigmoid()).linear(3).graph()


def least_on_grid(graph: Graph, region: Region, spec: TopK) -> float:
    axes = [torch.linspace(float(a), float(b), 121, dtype=F64) for a, b in
            zip(region.lower.flatten(), region.upper.flatten(), strict=True)]  # fmt: skip
    points = torch.cartesian_prod(*axes).reshape(-1, *graph.input_shape)
    return float(spec.margin(graph(points)).min())


@pytest.mark.parametrize("n", range(12))
def test_every_portfolio_against_a_grid(n):
    graph = small(n)
    image = torch.rand(graph.input_shape, generator=seeded(n), dtype=F64)
    spec = TopK(int(graph(image[None]).argmax()), 1)
    for radius in (0.05, 0.3, 1.0):
        region = Region.ball(image, radius)
        least = least_on_grid(graph, region, spec)
        for method in (INCOMPLETE, MILP, COMPLETE):
            answer = prove(graph, region, spec, method, budget=Budget.seconds(20.0))
            if answer.verdict is Verdict.ROBUST:
                assert least > 0
            if answer.verdict is Verdict.VULNERABLE:
                assert float(spec.margin(graph.replay(answer.witness))) <= 0
            if answer.margin_bound is not None:
                assert answer.margin_bound <= least + 1e-9
        assert answer.verdict is not Verdict.UNKNOWN or abs(least) < 1e-3  # splitting decides the rest


def test_the_milp_says_that_it_is_not_exact():
    asked = 0
    for n in range(12):
        graph = small(n)
        image = torch.rand(graph.input_shape, generator=seeded(n), dtype=F64)
        spec = TopK(int(graph(image[None]).argmax()), 1)
        answer = prove(graph, Region.ball(image, 0.3), spec, MILP, budget=Budget.seconds(20.0))
        if answer.verdict is Verdict.UNKNOWN:
            asked += 1
            assert answer.why is Why.INCOMPLETE
            assert "has no exact encoding" in answer.detail and inexact(graph) in answer.detail
    assert asked


@pytest.mark.parametrize("net", ["squashed", "steep"])
def test_the_milp_relaxation_holds_every_image(net):
    g = seeded(61)
    graph = ZOO[net](g)
    region = box_of(graph, g, 0.1)
    for target in range(graph.classes):
        rows = TopK(target, 1).rows(graph.classes)
        encoding = encode(graph, region, rows, 1, intermediate_bounds(graph, region), 1e-6)
        found = solve(encoding.program, 20.0, lambda solution: False)
        deepest = -float(TopK(target, 1).margin(graph(points_in(region, 800, g))).min())
        if found.status is Status.INFEASIBLE:
            assert deepest < 0
        else:
            assert found.bound >= deepest - 1e-6


@pytest.mark.parametrize("n", range(3))
def test_convolutions_under_every_stage(n):
    """The same verdicts along growing radii, and no sampled or attacked image against a proof."""
    g = seeded(70 + n)
    s = Sketch((1, 6, 6), g).conv(3, 3, padding=(1, 1))
    s = (s.sigmoid() if n else s.tanh()).conv(2, 2).relu()
    graph = (s.pool(2, 1).flat() if n == 2 else s.flat()).linear(3).graph()
    image = torch.rand(graph.input_shape, generator=g, dtype=F64)
    spec = TopK(int(graph(image[None]).argmax()), 1 + n % 2)
    verdicts = []
    for radius in (0.01, 0.05, 0.1, 0.2, 0.4):
        region = Region.ball(image, radius)
        answer = prove(graph, region, spec, budget=Budget.seconds(5.0))
        verdicts.append(answer.verdict)
        if answer.verdict is Verdict.ROBUST:
            points = points_in(region, 500, g).requires_grad_(True)
            for _ in range(20):
                (slope,) = torch.autograd.grad(spec.margin(graph(points)).sum(), points)
                points = region.clip(points.detach() - 0.2 * radius * slope.sign()).requires_grad_(True)
            assert float(spec.margin(graph(points)).min()) > 0
            assert answer.margin_bound is not None
            assert answer.margin_bound <= float(spec.margin(graph(points)).min())
    assert verdicts[0] is Verdict.ROBUST
    kinds = [v for v in verdicts if v is not Verdict.UNKNOWN]
    assert kinds == sorted(kinds, key=[Verdict.ROBUST, Verdict.VULNERABLE].index)


def test_attacks_go_on_from_the_images_of_the_solver():
    """The least value of a tanh network, which the MILP's relaxation puts elsewhere: its images alone do not fail."""
    settled = {True: 0, False: 0}
    for seed in range(12):
        graph = Sketch((1, 1, 6), seeded(seed)).flat().linear(8).tanh().linear(6).tanh().linear(2).graph()
        region = Region.ball(torch.full((1, 1, 6), 0.5, dtype=F64), 0.4)
        strong = SmoothPgd(steps=100, restarts=50)
        least = float(strong(graph, region, AboveThreshold(0, 0.0), generator=seeded(1)).margins[0])
        for going_on in (True, False):
            attack = SmoothPgd(steps=12, restarts=0, step=(1.0, 0.05) if going_on else (1e-9, 1e-9))
            answer = prove(graph, region, AboveThreshold(0, least + 1e-4), Portfolio((Screen(), Milp(attack=attack))))
            assert answer.verdict is not Verdict.ROBUST
            settled[going_on] += answer.verdict is Verdict.VULNERABLE
    assert settled[True] > settled[False]
