"""Witnesses by local search, on a network that is linear in its radii, where the least margin is known."""

import numpy as np
import pytest
import torch
from prices import PRICES

from aureole.attacks import SmoothPgd
from aureole.core import AboveThreshold, Budget
from aureole.neighborhood.witnesses import lowered
from aureole.verify import highs
from aureole.verify.solver import Outcome, Status
from nets_zoo import F64, seeded

HARDLY = SmoothPgd(steps=1, restarts=0, step=(1e-6, 1e-6))


@pytest.mark.parametrize("radii", [(0.6, 0.2, 0.1), (0.1, 0.9, 0.9), (0.4, 0.1, 0.1)])
def test_it_comes_to_the_least_margin(linear_problem, radii):
    """Gradients hardly take a step here, so what is found is found by the programs."""
    problem, radii = linear_problem(), torch.tensor(radii, dtype=F64)
    start = problem.image + 0.7 * problem.rings.spread(radii)  # there the row is lowest that can fall
    margin, image = lowered(problem, radii, start, HARDLY, seeded(0))
    assert margin == pytest.approx(1 - float(radii @ PRICES), abs=1e-6)
    assert problem.region(radii).contains(image)
    assert float(problem.margin(problem.graph.replay(image))) == margin


def test_the_spec_that_is_nearest_to_failing_is_broken(linear_problem):
    problem = linear_problem(spec=AboveThreshold(0, -5.0), also=(linear_problem().spec,))
    radii = torch.tensor([0.6, 0.0, 0.0], dtype=F64)
    start = problem.image + 0.7 * problem.rings.spread(radii)
    margin, image = lowered(problem, radii, start, HARDLY, seeded(0))
    assert margin < 0
    assert float(problem.specs[1].margin(problem.graph.replay(image))) == margin


def test_late_it_tells_what_it_began_with(linear_problem):
    problem = linear_problem()
    margin, image = lowered(problem, PRICES / 10, problem.image, HARDLY, seeded(0), Budget.seconds(0.0))
    assert margin == float(problem.margin(problem.graph.replay(image)))


def test_ctrl_c_ends_the_search_over_radii(linear_problem, monkeypatch):
    monkeypatch.setattr(highs, "solve", lambda *arguments, **more: Outcome(Status.INTERRUPTED, None, np.inf))
    with pytest.raises(KeyboardInterrupt):
        lowered(linear_problem(), PRICES / 10, linear_problem().image, HARDLY, seeded(0))


def test_ctrl_c_is_not_lost_where_another_start_follows(linear_problem, monkeypatch):
    """Only the first program is interrupted; the search from the next image must not go on as if nothing had been."""
    solve, calls = highs.solve, []

    def struck(*arguments, **more):
        calls.append(1)
        return Outcome(Status.INTERRUPTED, None, np.inf) if len(calls) == 1 else solve(*arguments, **more)

    monkeypatch.setattr(highs, "solve", struck)
    problem, radii = linear_problem(), torch.tensor([0.6, 0.2, 0.1], dtype=F64)
    with pytest.raises(KeyboardInterrupt):
        lowered(problem, radii, problem.image + 0.7 * problem.rings.spread(radii), HARDLY, seeded(0))
    assert len(calls) == 1
