"""A wait that ends although the solver does not."""

import math
from threading import Event

import numpy as np
import pytest

from aureole.verify import attend as attend_module
from aureole.verify.attend import attend
from aureole.verify.solver import Outcome, Status


class Deaf:
    """A solver that reports one solution and then looks neither at the clock nor at anybody who wants it to stop."""

    def __init__(self) -> None:
        self.stopped, self.released = False, Event()

    def run(self, report) -> Outcome:
        report(np.ones(1))
        self.released.wait(60)
        return Outcome(Status.INFEASIBLE, None, 0.0)

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def deaf(monkeypatch):
    monkeypatch.setattr(attend_module, "PATIENCE", 0.05)
    search = Deaf()
    yield search
    search.released.set()


def test_a_solver_that_does_not_look_at_the_clock_is_left_alone(deaf):
    """What it says later counts for nothing; solutions until then were heard."""
    heard = []
    outcome = attend(deaf, lambda solution: bool(heard.append(solution)), 0.1)
    assert (outcome.status, outcome.solution, outcome.bound) == (Status.TIME, None, math.inf)
    assert deaf.stopped and len(heard) == 1 and not deaf.released.is_set()


def test_a_good_solution_ends_the_wait(deaf):
    outcome = attend(deaf, lambda solution: True, math.inf)
    assert outcome.status is Status.SOLUTION and deaf.stopped


def test_without_a_limit_it_waits_for_the_end(deaf):
    deaf.released.set()
    assert attend(deaf, lambda solution: False, math.inf).status is Status.INFEASIBLE
    assert not deaf.stopped
