"""The objectives, against their definitions and against the optimum of a network that is linear in its radii."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from prices import PRICES
from scipy.optimize import linprog

from aureole.core import Budget, InputError
from aureole.neighborhood import OBJECTIVES, maximize
from aureole.neighborhood.objective import LEAST, rises_with
from nets_zoo import F64

RADII = st.lists(st.floats(0, 1), min_size=4, max_size=4).map(lambda r: torch.tensor(r, dtype=F64))
WEIGHTS = torch.tensor([1.0, 0.0, 2.0, 0.5], dtype=F64)


@given(RADII)
def test_the_definitions(radii):
    values = {name: float(objective(radii, WEIGHTS)) for name, objective in OBJECTIVES.items()}
    assert values["sum"] == pytest.approx(float(radii[0] + 2 * radii[2] + radii[3] / 2))
    assert values["min"] == min(float(radii[0]), float(radii[2]) / 2, float(radii[3]) * 2)
    counted = radii.clamp(min=LEAST)
    assert values["log"] ** 3.5 == pytest.approx(float(counted[0] * counted[2] ** 2 * counted[3] ** 0.5))


@given(RADII, RADII, st.floats(0, 1), st.sampled_from(list(OBJECTIVES)))
def test_all_are_concave_and_rise(one, other, share, name):
    value = OBJECTIVES[name]
    middle = value(share * one + (1 - share) * other, WEIGHTS)
    assert float(middle) >= share * float(value(one, WEIGHTS)) + (1 - share) * float(value(other, WEIGHTS)) - 3 * LEAST
    assert float(value(torch.maximum(one, other), WEIGHTS)) >= float(value(one, WEIGHTS)) - 1e-15


@pytest.mark.parametrize("name", OBJECTIVES)
def test_batches_and_single_precision(name):
    radii = torch.rand(5, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    batch = OBJECTIVES[name](radii, WEIGHTS)
    for row, value in zip(radii, batch, strict=True):
        assert float(OBJECTIVES[name](row, WEIGHTS)) == pytest.approx(float(value))
    assert OBJECTIVES[name](radii.float(), WEIGHTS).dtype == torch.float32


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gradient_is_the_slope_and_finite_at_zero(name):
    radii = torch.tensor([0.3, 0.2, 0.1, 0.7], dtype=F64)
    gradient = rises_with(name, radii, WEIGHTS)
    for d in range(4):
        step = torch.zeros(4, dtype=F64)
        step[d] = 1e-6
        rise = OBJECTIVES[name](radii + step, WEIGHTS) - OBJECTIVES[name](radii - step, WEIGHTS)
        assert float(gradient[d]) == pytest.approx(float(rise) / 2e-6, abs=1e-5)
    at_zero = rises_with(name, torch.zeros(4, dtype=F64), WEIGHTS)
    assert bool(at_zero.isfinite().all()) and float(at_zero.norm()) > 0


def best(problem) -> float:
    """The optimum where `radii @ PRICES <= 1`: by a linear program, or by bisection of log's one multiplier."""
    low, high = problem.floors.numpy(), problem.caps.numpy()
    weights = problem.weights
    if problem.objective == "sum":
        return -linprog(-weights.numpy(), PRICES.numpy()[None], [1.0], bounds=list(zip(low, high, strict=True))).fun
    wanted = weights / PRICES if problem.objective == "log" else weights
    small, large = 0.0, 1e3
    for _ in range(100):  # the radii are `t * wanted` between floors and caps, for the t that uses up the margin
        t = (small + large) / 2
        small, large = (t, large) if float(problem.within(t * wanted) @ PRICES) <= 1 else (small, t)
    return problem.size(problem.within(small * wanted))


@pytest.mark.parametrize(
    ("weights", "limits"),
    [
        ((1.0, 1.0, 1.0), {}),
        ((4.0, 1.0, 0.5), {"cap": 0.3, "floor": torch.tensor([0.2, 0.0, 0.1], dtype=F64)}),
    ],
)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_best_answer_of_a_linear_network(linear_problem, objective, weights, limits):
    problem = linear_problem(weights, objective=objective, **limits)
    found = maximize(problem, "certificate", budget=Budget.seconds(20.0))
    assert found.size == problem.size(found.radii) <= best(problem) + 1e-9
    assert found.size >= 0.97 * best(problem)
    assert bool((found.radii >= problem.floors).all() and (found.radii <= problem.caps).all())
    assert float(found.radii @ PRICES) < 1


@pytest.mark.parametrize("method", ["uniform", "bisection", "oracle"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_method_keeps_floors_and_caps(linear_problem, objective, method):
    floor, cap = torch.tensor([0.1, 0.3, 0.0], dtype=F64), torch.tensor([0.2, 1.0, 0.5], dtype=F64)
    problem = linear_problem(objective=objective, floor=floor, cap=cap)
    found = maximize(problem, method, budget=Budget.seconds(2.0 if method == "oracle" else 10.0))
    assert bool((found.radii >= floor).all() and (found.radii <= cap).all())
    assert problem.size(floor) <= found.size <= best(problem) + 1e-9
    assert float(found.radii @ PRICES) < 1


def test_floors_that_fail_are_told_with_their_witness(linear_problem):
    problem = linear_problem(floor=torch.tensor([0.5, 0.1, 0.0], dtype=F64))
    found = maximize(problem, budget=Budget.seconds(10.0))
    assert (found.verdict, found.size, found.maximal) == ("VULNERABLE", 0.0, None)
    assert not bool(found.radii.any())
    assert "floors" in found.detail
    assert found.weakest is not None and problem.region(problem.floors).contains(found.weakest)
    assert float(problem.margin(problem.graph.replay(found.weakest))) == found.weakest_margin <= 0


def test_floors_that_are_not_proved_in_time_are_told(linear_problem):
    found = maximize(linear_problem(floor=0.1), budget=Budget.seconds(0.0))
    assert (found.verdict, bool(found.radii.any())) == ("UNKNOWN", False)
    assert "not proved in time" in found.detail


@pytest.mark.parametrize("name", OBJECTIVES)
def test_nothing_proved_has_no_size(linear_problem, name):
    assert maximize(linear_problem(objective=name), budget=Budget.seconds(0.0)).size == 0.0


def test_what_is_asked_is_checked(linear_problem):
    for more, words in (
        ({"objective": "max"}, "objective 'max' is unknown; pass one of sum, log, min"),
        ({"cap": 1.5}, "cap of ring 0 is 1.5"),
        ({"floor": float("nan")}, "floor of ring 0 is nan"),
        ({"weights": (1.0, 1e-38, 1e39)}, "weights are 1e-38, 1e.39"),
        ({"weights": (0.0, 0.0, 0.0)}, "weights are all 0"),
        ({"floor": 0.4, "cap": 0.3}, "floor 0.4 of ring 0 is above its cap 0.3"),
        ({"floor": torch.zeros(2, dtype=F64)}, "2 floors for 3 rings"),
    ):
        with pytest.raises(InputError, match=words.replace("[", r"\[")):
            linear_problem(**more)
