from math import inf

from aureole.core import Budget


class Clock:
    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_time_passes_and_stops_at_zero():
    clock = Clock()
    budget = Budget.seconds(5.0, clock)
    assert (budget.remaining, budget.spent, budget.expired) == (5, 0, False)
    clock.now += 4.5
    assert (budget.remaining, budget.spent, budget.expired) == (0.5, 4.5, False)
    clock.now += 0.5
    assert budget.expired
    clock.now += 10
    assert (budget.remaining, budget.spent) == (0, 15)


def test_a_part_never_outlives_the_whole():
    clock = Clock()
    budget = Budget.seconds(5.0, clock)
    clock.now += 2
    part = budget.at_most(10.0)
    assert (part.remaining, part.spent) == (3, 0)
    short = budget.at_most(1.0)
    assert short.remaining == 1
    clock.now += 1
    assert short.expired
    assert not part.expired
    assert part.at_most(9.0).remaining == 2


def test_without_end():
    assert Budget().remaining == inf
    assert not Budget().expired
    assert Budget.seconds(clock=Clock()).remaining == inf
    assert Budget.seconds(inf, Clock()).at_most(3.0).remaining == 3


def test_no_time_at_all():
    assert Budget.seconds(0.0).expired
    assert Budget.seconds(-1.0, Clock()).remaining == 0
