"""Radii that cannot grow, on the network that is linear in its radii (2, 0.5 and 0.25 per ring)."""

from dataclasses import replace

import pytest
import torch
from prices import PRICES

from aureole.core import Budget, TopK, Verdict
from aureole.neighborhood.maximal import Maximal
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.uniform import certified_ball
from nets_zoo import F64


def run(problem, method=Maximal(used=1.0), asked=None, unknown=lambda radii: False):  # noqa: B008
    """The method's answer. The prover gives up where `unknown` says so; what it is asked goes into `asked`."""

    class Watched(Prover):
        def _ask(self, region, portfolio, hints):
            radii = self.problem.rings.peak((region.upper[0] - self.problem.image).amax(0))
            if asked is not None:
                asked.append(radii.tolist())
            answer = super()._ask(region, portfolio, hints)
            return replace(answer, verdict=Verdict.UNKNOWN, witness=None) if unknown(radii) else answer

    return method.run(Watched(problem, Budget.seconds(60.0), 0))


@pytest.mark.parametrize("objective", ["sum", "log", "min"])
def test_every_ring_is_stopped(linear_problem, objective):
    problem = linear_problem(objective=objective)
    found = run(problem)
    assert found.maximal is True
    assert set(found.witnesses) | set(found.capped) == {0, 1, 2}
    left = 1 - float(found.radii @ PRICES)
    assert 0 < left <= problem.delta * 0.25 + 1e-9  # the cheapest ring's delta is worth as much, at least


def test_rings_take_equal_shares_of_the_margin(linear_problem):
    problem = linear_problem()
    ball = certified_ball(Prover(problem, Budget(), 0))
    taken = ((run(problem, Maximal(free=0.0, used=1.0)).radii - ball) * PRICES).tolist()
    assert max(taken) < 1.3 * min(taken)


def test_rings_that_cost_little_go_to_their_caps(linear_problem):
    """Before anything else is tried; ring 2 costs 0.25 times its way there, the others far more than is left."""
    problem, asked = linear_problem(cap=torch.tensor([1.0, 1.0, 0.38], dtype=F64)), []
    ball = certified_ball(Prover(problem, Budget(), 0))
    freed = [float(ball[0]), float(ball[1]), 0.38]
    assert ball[2] < 0.38
    run(problem, Maximal(free=0.9, used=1.0), asked)
    assert pytest.approx(freed) in asked
    asked.clear()
    run(problem, Maximal(free=-1.0, used=1.0), asked)
    assert pytest.approx(freed) not in asked


def test_of_several_specs_the_strictest_stops_the_rings(linear_problem):
    """Label 2 stays among the two highest while score_1 = radii @ PRICES is below its 0.5."""
    found = run(linear_problem(also=(TopK(2, 2),)))
    assert found.maximal is True
    assert 0 < 0.5 - float(found.radii @ PRICES) <= 0.25e-3 + 1e-9


def test_where_the_prover_gives_up_rings_stay_open(linear_problem):
    """Nothing is called maximal that the prover has not got close enough to; what is proved stays."""
    found = run(linear_problem(), unknown=lambda radii: float(radii @ PRICES) > 0.9)
    assert found.verdict is Verdict.ROBUST
    assert found.maximal is False
    assert found.open_rings == (0, 1, 2)
    assert 0.8 < float(found.radii @ PRICES) <= 0.9


def test_one_ring_alone(linear_problem):
    """Found in review: where the prover gives up, the second-steepest of one ring was asked for."""
    found = run(linear_problem((1.0,), bands=(0,), delta=0.05), unknown=lambda radii: float(radii.max()) > 0.3)
    assert found.verdict is Verdict.ROBUST and found.maximal is False and 0.2 < float(found.radii[0]) <= 0.3


def test_rings_at_their_caps_take_no_margin_that_is_left(linear_problem):
    """Found in review: a step that the caps cut back to nothing was proved again and again, until the time was over."""
    problem, asked = linear_problem(cap=torch.tensor([1.0, 0.01, 0.01], dtype=F64), delta=0.15), []

    def unknown(radii) -> bool:
        assert len(asked) < 60
        return float(radii[0]) > 0.3

    found = run(problem, asked=asked, unknown=unknown)
    assert found.radii[1:].tolist() == [0.01, 0.01] and 0.2 < float(found.radii[0]) <= 0.3
