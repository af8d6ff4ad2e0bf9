"""Every way to find radii, on networks so small that a second prover can check each answer.

A new method joins `METHODS` of the package; what its answer promises decides which tests apply to it.
"""

import itertools
from dataclasses import replace
from functools import cache

import pytest
import torch

from aureole.attacks import SmoothPgd
from aureole.core import Answer, Budget, Graph, InputError, Rings, TopK, Verdict
from aureole.core.graph import Linear
from aureole.neighborhood import METHODS, Neighborhood, Problem, maximize, named_weights
from aureole.neighborhood.ascent import JointAscent
from aureole.neighborhood.certificate import Certificate
from aureole.neighborhood.hunt import Hunt
from aureole.neighborhood.optimum import Optimum
from aureole.neighborhood.oracle import Oracle
from aureole.neighborhood.prover import Progress, Prover
from aureole.verify import COMPLETE, Hints, Portfolio, prove
from aureole.verify.stages import Break, Milp, Screen
from nets_zoo import F64, Sketch, image_of, points_in, seeded
from provers import MILP

every_method = pytest.mark.parametrize("name", METHODS)
every_problem = pytest.mark.parametrize("n", range(3))

LIGHT = Portfolio((Screen(), Break(SmoothPgd(steps=8, restarts=2)), Milp()))
"""Decides every query of these small networks, several times faster than the default."""


class LightProver(Prover):
    """Asks the light portfolio instead of the complete one, and that without the MILP instead of the incomplete one."""

    def check(self, radii: torch.Tensor, portfolio: Portfolio = COMPLETE, hints: Hints | None = None) -> Answer:
        complete = isinstance(portfolio.stages[-1], Milp)
        return super().check(radii, LIGHT if complete else Portfolio(LIGHT.stages[:-1]), hints)


def run(
    p: Problem, name: str, seconds: float = 60.0, seed: int = 0, on_progress: Progress | None = None
) -> Neighborhood:
    """As `maximize`, with a light prover and light attacks."""
    method = METHODS[name]
    if isinstance(method, Oracle):
        method = replace(method, attack=SmoothPgd(steps=5, restarts=1), points=2, decay=0.4)
    if isinstance(method, Certificate):
        method = replace(method, ascent=JointAscent(steps=20))
    if isinstance(method, Optimum):
        first = Certificate(ascent=JointAscent(steps=20))
        method = replace(method, gap=0.2, first=first, hunt=Hunt(*[SmoothPgd(steps=5, restarts=1)] * 2))
    return method.run(LightProver(p, Budget.seconds(seconds), seed, on_progress))


def net(n: int) -> Graph:
    g = seeded(80 + n)
    s = Sketch((1, 4, 4), g).conv(2, 2, stride=(2, 2) if n % 2 else (1, 1))
    s = s.relu() if n % 2 else s.pool(2, 1, rectify=True)
    return s.flat().linear(4).graph()


@cache
def problem(n: int) -> Problem:
    graph, g = net(n), seeded(90 + n)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[n % 3, 0] = True
    rings = Rings.around(mask)
    image = image_of(graph, g)
    spec = TopK(int(graph(image[None]).argsort()[0, -1 - n % 2]), 1 + n % 2)
    last = graph.nodes[-1].op
    assert isinstance(last, Linear)
    last.bias[spec.target] += 0.3 - float(spec.margin(graph(image[None]))[0])  # some room, not too much
    weights = named_weights(("uniform", "near", "far", "pixels", "uniform")[n], rings)
    return Problem(graph, image, rings, spec, weights, delta=0.02)


@cache
def answer(name: str, n: int) -> Neighborhood:
    return run(problem(n), name)


@every_method
@pytest.mark.slow
@pytest.mark.parametrize("n", range(5))
def test_maximize_at_length(name, n):
    p, found = problem(n), maximize(problem(n), name, budget=Budget.seconds(60.0))
    assert prove(p.graph, p.region(found.radii), p.spec, MILP).verdict is Verdict.ROBUST
    if name in ("uniform", "bisection"):  # decided queries leave no choice
        assert torch.equal(found.radii, answer(name, n).radii)


@every_method
@every_problem
def test_the_radii_are_proved_by_another_prover(name, n):
    p, found = problem(n), answer(name, n)
    assert found.verdict is Verdict.ROBUST
    assert found.radii.shape == (len(p.rings),)
    assert found.radii.dtype == F64
    assert bool((found.radii >= 0).all() and (found.radii <= p.cap).all())
    again = prove(p.graph, p.region(found.radii), p.spec, MILP)
    assert again.verdict is Verdict.ROBUST
    assert found.margin_bound is not None
    assert again.margin_seen is not None
    assert found.margin_bound <= again.margin_seen
    assert found.proof in ("bounds", "milp")


@every_method
@every_problem
def test_no_image_inside_fails(name, n):
    p, found = problem(n), answer(name, n)
    region = p.region(found.radii)
    margins = p.spec.margin(p.graph(points_in(region, 2000, seeded(n))))
    assert float(margins.min()) > 0
    assert found.margin_bound is not None
    assert float(margins.min()) >= found.margin_bound
    assert found.weakest is not None
    assert region.contains(found.weakest)
    assert found.weakest_margin == pytest.approx(float(p.spec.margin(p.graph.replay(found.weakest))), abs=1e-12)
    assert found.weakest_margin >= found.margin_bound


def witnesses_fail_at_the_limits(p: Problem, found: Neighborhood) -> None:
    """Each lies in its ring's neighborhood with that ring at its limit, outside the proved one, and fails."""
    if found.limits is None:
        assert not found.witnesses
        return
    assert bool((found.radii <= found.limits).all() and (found.limits <= p.caps + 1e-12).all())
    for ring, limit in enumerate(found.limits.tolist()):
        if ring not in found.witnesses:
            assert limit == float(p.caps[ring])
            continue
        grown = found.radii.clone()
        grown[ring] = limit
        assert p.region(grown).contains(found.witnesses[ring])
        assert not p.region(found.radii).contains(found.witnesses[ring])
        assert float(p.spec.margin(p.graph.replay(found.witnesses[ring]))) <= 0


@every_method
@every_problem
def test_witnesses_fail_just_outside(name, n):
    p, found = problem(n), answer(name, n)
    witnesses_fail_at_the_limits(p, found)
    assert set(found.capped) == {d for d, r in enumerate(found.radii.tolist()) if r >= p.cap}
    if found.maximal is None:
        assert found.open_rings is None
    else:
        assert found.open_rings is not None
        stopped = {d for d in found.witnesses if found.limits[d] <= found.radii[d] + p.delta}
        assert {*found.open_rings} == set(range(len(p.rings))) - stopped - {*found.capped}
        assert found.maximal == (not found.open_rings)


@every_problem
@pytest.mark.parametrize("name", ["bisection", "certificate", "maximal"])
def test_the_answer_is_maximal(name, n):
    """The prover decides every query here, so no ring may stay open."""
    p, found = problem(n), answer(name, n)
    assert found.maximal is True
    for ring in range(len(p.rings)):
        if ring not in found.capped:
            grown = found.radii.clone()
            grown[ring] += p.delta
            assert prove(p.graph, p.region(grown), p.spec, MILP).verdict is Verdict.VULNERABLE


@every_problem
def test_uniform_is_the_largest_ball(n):
    p, found = problem(n), answer("uniform", n)
    assert len(set(found.radii.tolist())) == 1
    radius = float(found.radii[0])
    if radius < p.cap:
        larger = torch.full_like(found.radii, radius + p.delta)
        assert prove(p.graph, p.region(larger.clamp(max=1.0)), p.spec, MILP).verdict is Verdict.VULNERABLE


@every_method
@every_problem
def test_the_log_is_consistent(name, n):
    p, found = problem(n), answer(name, n)
    assert found.size == pytest.approx(float(p.weights @ found.radii))
    assert found.ring_pixels == p.rings.pixels
    assert found.timeline
    for (t0, s0), (t1, s1) in itertools.pairwise(found.timeline):
        assert t0 <= t1
        assert s0 < s1
    assert found.timeline[-1][1] == pytest.approx(found.size)
    assert found.timeline[-1][0] <= found.seconds
    assert sum(v for k, v in found.calls.items() if k.startswith("ROBUST")) >= len(found.timeline)
    if name in ("uniform", "bisection"):  # others ask without the MILP first, or where the margin vanishes
        assert not any("UNKNOWN" in k for k in found.calls)
    summary = found.summary()
    assert summary["radii"] == found.radii.tolist()
    assert summary["witness_rings"] == sorted(found.witnesses)


@every_method
def test_the_seed_decides_and_nothing_global(name):
    first = answer(name, 1)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = run(problem(1), name)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.radii, again.radii)
    assert first.calls == again.calls
    assert first.witnesses.keys() == again.witnesses.keys()


@every_method
def test_a_budget_that_ends_at_once(name):
    p = problem(0)
    found = maximize(p, name, budget=Budget.seconds(0.0))
    assert found.verdict is Verdict.UNKNOWN
    assert torch.equal(found.radii, torch.zeros(len(p.rings), dtype=F64))
    assert (found.size, found.proof, found.margin_bound, found.weakest) == (0.0, "", None, None)
    assert found.timeline == ()
    assert not found.maximal
    assert not any("earlier witness" in k for k in found.calls)
    found.summary()


class Ticking:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


@every_method
@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.5])
def test_a_budget_that_ends_in_the_middle(name, seconds):
    p = problem(2)
    found = maximize(p, name, budget=Budget.seconds(seconds, Ticking()))
    if found.verdict is Verdict.ROBUST:
        assert prove(p.graph, p.region(found.radii), p.spec, MILP).verdict is Verdict.ROBUST
    else:
        assert not bool(found.radii.any())


@every_method
def test_progress_is_told(name):
    told: list[tuple[float, float]] = []
    found = run(problem(2), name, seconds=1.0, on_progress=lambda t, s: told.append((t, s)))
    assert len(told) == sum(found.calls.values())
    assert [s for _, s in told] == sorted(s for _, s in told)
    assert told[-1][1] == found.size


def affine_problem(names: str = "uniform", **more: float) -> Problem:
    """score_0 - score_1 = 1 - 2 x_00 - (rest of row 0): the bottom rows do not matter at all."""
    s = Sketch((1, 3, 3), seeded(1)).flat().linear(2)
    op = s.nodes[-1].op
    op.weight.zero_()
    op.bias.copy_(torch.tensor([1.0, 0.0]))
    op.weight[1, :3] = torch.tensor([2.0, 0.5, 0.25], dtype=F64)
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[0, 0] = True
    rings = Rings.around(mask)
    return Problem(s.graph(), torch.zeros(1, 3, 3, dtype=F64), rings, TopK(0, 1), named_weights(names, rings), **more)


@every_method
def test_an_image_at_the_end_of_the_pixel_range(name):
    """Black everywhere: the box's middle is not the image, and may fail before anything has been tried."""
    p = affine_problem()
    found = maximize(p, name, budget=Budget.seconds(60.0))
    assert found.verdict is Verdict.ROBUST
    assert float(p.region(found.radii).upper.flatten()[:3] @ torch.tensor([2.0, 0.5, 0.25], dtype=F64)) < 1
    if name == "bisection":  # ring 0 first, then nothing is left for ring 1, then nothing for ring 2
        assert float(found.radii[0]) == pytest.approx(0.5, abs=2e-3)
        assert found.maximal is True
        assert set(found.witnesses) == {0, 1, 2}


@every_method
def test_a_network_that_nothing_can_break_is_capped(name):
    p = affine_problem()
    p.graph.nodes[-1].op.weight.zero_()
    found = run(p, name)
    assert found.verdict is Verdict.ROBUST
    if not name.startswith("oracle"):
        assert found.capped == (0, 1, 2)
        assert torch.equal(found.radii, torch.ones(3, dtype=F64))
        assert found.witnesses == {}
    assert bool((found.radii <= 1).all())


@every_method
def test_a_smaller_cap_is_kept(name):
    p = affine_problem(cap=0.05)
    found = run(p, name)
    assert bool((found.radii <= 0.05).all())
    assert set(found.capped) == {d for d, r in enumerate(found.radii.tolist()) if r >= 0.05}
    if not name.startswith("oracle"):
        assert found.capped == (0, 1, 2)


@every_method
@pytest.mark.parametrize("weights", ["object", "pixels"])
def test_weights_that_leave_rings_out(name, weights):
    p = affine_problem(weights)
    found = run(p, name, seconds=5.0)
    assert prove(p.graph, p.region(found.radii), p.spec, MILP).verdict is Verdict.ROBUST
    assert found.size > 0
    assert found.seconds < 30


@every_method
def test_an_object_that_fills_the_image(name):
    """One ring only."""
    p = affine_problem()
    one = Problem(p.graph, p.image, Rings.around(torch.ones(3, 3, dtype=torch.bool)), p.spec, torch.ones(1, dtype=F64))
    found = run(one, name, seconds=2.0)  # enough for a proof; the oracle's steps are small here
    assert found.verdict is Verdict.ROBUST
    assert float(found.radii[0]) <= 1 / 2.75


@every_method
@pytest.mark.parametrize("margin", [2e-5, 1e-9, 1e-15])
def test_no_room_at_all(name, margin):
    """A margin that a tiny change already undoes: radii below delta, and no crash."""
    p = affine_problem()
    p.graph.nodes[-1].op.bias[:] = torch.tensor([1.0 + margin, 1.0], dtype=F64)
    assert float(p.spec.margin(p.graph(p.image[None]))[0]) > 0
    found = run(p, name)
    assert float(found.radii[0]) <= 1e-5
    if found.maximal is not None:
        assert {0, 1} <= set(found.witnesses)


def test_what_is_asked_is_checked():
    p = affine_problem()
    with pytest.raises(InputError, match="bisection"):
        maximize(p, "newton")
    with pytest.raises(InputError, match="already fails"):
        Problem(p.graph, p.image, p.rings, TopK(1, 1), p.weights)
    with pytest.raises(InputError, match="2 weights for 3 rings"):
        Problem(p.graph, p.image, p.rings, p.spec, torch.ones(2, dtype=F64))
    for bad in ([0.0, 0, 0], [1.0, -1, 1], [1.0, torch.nan, 1], [1.0, torch.inf, 1]):
        with pytest.raises(InputError, match="weights"):
            Problem(p.graph, p.image, p.rings, p.spec, torch.tensor(bad, dtype=F64))
    for delta in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="delta"):
            Problem(p.graph, p.image, p.rings, p.spec, p.weights, delta=delta)
    with pytest.raises(InputError, match="1x2x2"):
        Problem(p.graph, torch.zeros(1, 2, 2, dtype=F64), p.rings, p.spec, p.weights)
    with pytest.raises(InputError, match=r"\[0,1\]"):
        Problem(p.graph, p.image + 2, p.rings, p.spec, p.weights)
    with pytest.raises(InputError, match="near"):
        named_weights("heavy", p.rings)


@pytest.mark.parametrize("name", ["uniform", "object", "near", "far", "pixels"])
def test_weights_by_name(name):
    rings = affine_problem().rings
    weights = named_weights(name, rings)
    assert weights.shape == (3,)
    assert weights.dtype == F64
    expected = {
        "uniform": [1, 1, 1], "object": [1, 0, 0], "near": [1, 1 / 2, 1 / 3], "far": [1 / 3, 2 / 3, 1],
        "pixels": [1 / 3, 1, 5 / 3],
    }  # fmt: skip
    assert weights.tolist() == pytest.approx(expected[name])


@pytest.mark.parametrize("name", ["uniform", "certificate"])
def test_networks_that_the_milp_cannot_encode(name):
    """Sigmoids and tanhs: proofs come from bounds, and gradients of the ascent through their lines."""
    g = seeded(91)
    graph = Sketch((1, 4, 4), g).conv(2, 2).tanh().flat().linear(6).sigmoid().linear(4).graph()
    image = image_of(graph, g)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[1, 1] = True
    rings = Rings.around(mask)
    p = Problem(graph, image, rings, TopK(int(graph(image[None]).argmax()), 1), named_weights("uniform", rings), 0.01)
    found = run(p, name, 4.0)
    assert found.verdict is Verdict.ROBUST and found.size > 0
    region = p.region(found.radii)
    assert float(p.spec.margin(graph(points_in(region, 500, g))).min()) > 0
    witnesses_fail_at_the_limits(p, found)
