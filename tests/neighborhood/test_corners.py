"""Rings raised to their caps one by one, on the network that is linear in its radii (2, 0.5 and 0.25 per ring)."""

import torch

from aureole.core import Budget
from aureole.neighborhood.corners import Corners
from nets_zoo import F64


def asked(problem, corners=Corners(), refused=(), start=(0.0, 0.0, 0.0)):  # noqa: B008
    """What is found and every step that was to be proved."""
    steps = []

    def proved(radii: torch.Tensor) -> bool:
        steps.append(radii.tolist())
        return radii.tolist() not in list(refused)

    return corners(problem, torch.tensor(start, dtype=F64), proved, Budget(), 0).tolist(), steps


def test_rings_are_raised_until_the_attack_breaks_every_further_one(linear_problem):
    found, steps = asked(linear_problem())
    assert found == [0, 1, 1]
    assert [sum(step) for step in steps] == [1, 2]
    assert asked(linear_problem(weights=(1, 1, 0))) == ([0, 1, 0], [[0, 1, 0]])


def test_the_ring_that_gains_most_per_cost_comes_first(linear_problem):
    problem = linear_problem(weights=(1, 1, 3), cap=torch.tensor([0.4, 1.0, 1.0]))
    # scores: 1 - 2 a - b / 2 - c / 4 against the other label, whose margin is 0.5 at first
    assert asked(problem)[1] == [[0, 0, 1], [0, 1, 1]]
    assert asked(problem, start=(0.3, 0.0, 0.0))[1] == [[0.3, 0, 1]]  # 0.4 = 1 - 0.6, and then ring 1 breaks it


def test_a_step_that_is_not_proved_leaves_its_ring_out(linear_problem):
    assert asked(linear_problem(), refused=[[0, 1, 0], [0, 0, 1]])[0] == [0, 0, 0]
    first = asked(linear_problem())[1][0]
    found, steps = asked(linear_problem(), Corners(patience=2), refused=[first])
    assert found == [0, *(1 - value for value in first[1:])]
    assert len(steps) == 2


def test_floors_and_caps_are_kept(linear_problem):
    problem = linear_problem(floor=0.1, cap=0.5)
    found, _ = asked(problem, start=(0.1, 0.1, 0.1))
    assert found == [0.1, 0.5, 0.5]
