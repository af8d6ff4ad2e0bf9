"""The best radii of all: against the optimum of a network that is linear in its radii, where it is known."""

import itertools

import pytest
import torch
from prices import PRICES
from scipy.optimize import linprog

from aureole.attacks import SmoothPgd
from aureole.core import AboveThreshold, Answer, Budget, Verdict, Why
from aureole.neighborhood import OBJECTIVES, bounded, maximize, upper
from aureole.neighborhood.ascent import JointAscent
from aureole.neighborhood.certificate import Certificate
from aureole.neighborhood.hunt import Hunt, inner, retreat
from aureole.neighborhood.optimum import Optimum
from aureole.neighborhood.patterns import Patterns
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.uniform import Uniform
from aureole.neighborhood.upper import UpperBound, ways_out
from aureole.verify import COMPLETE
from nets_zoo import F64, seeded

LIGHT = Hunt(*[SmoothPgd(steps=6, restarts=1)] * 2)
METHOD = Optimum(gap=0.1, first=Certificate(ascent=JointAscent(steps=20)), hunt=LIGHT)


def best(problem) -> float:
    """The largest objective with `radii @ PRICES <= 1`, between floors and caps."""
    low, high, weights = problem.floors, problem.caps, problem.weights
    if problem.objective == "sum":
        limits = list(zip(low.tolist(), high.tolist(), strict=True))
        return -linprog(-weights.numpy(), PRICES.numpy()[None], [1.0], bounds=limits).fun
    wanted = weights / PRICES if problem.objective == "log" else weights
    small, large = 0.0, 1e3
    for _ in range(100):
        t = (small + large) / 2
        small, large = (t, large) if float(problem.within(t * wanted) @ PRICES) <= 1 else (small, t)
    return problem.size(problem.within(small * wanted))


@pytest.mark.parametrize("limits", [{}, {"cap": 0.6, "floor": torch.tensor([0.1, 0.0, 0.2], dtype=F64)}])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_closes_in_on_the_optimum(linear_problem, objective, limits):
    problem = linear_problem((4.0, 2.0, 0.2), objective=objective, **limits)
    found = maximize(problem, METHOD, budget=Budget.seconds(60.0))
    assert found.upper_bound is not None and found.gap is not None
    assert found.size <= best(problem) + 1e-9 <= found.upper_bound + 2e-9
    assert found.gap == pytest.approx(1 - found.size / found.upper_bound)
    assert found.gap <= METHOD.gap
    assert float(found.radii @ PRICES) < 1


def test_a_bound_may_be_asked_of_any_result(linear_problem):
    problem = linear_problem((1.0, 1.0, 1.0))
    prover = Prover(problem, Budget.seconds(10.0), 0)
    found = Uniform().run(prover)
    assert (found.upper_bound, found.gap) == (None, None)
    quick = bounded(found, problem, prover.witnesses, Budget.seconds(0.0), hunt=LIGHT)
    longer = bounded(found, problem, prover.witnesses, Budget.seconds(3.0), hunt=LIGHT)
    assert torch.equal(longer.radii, found.radii) and longer.size == found.size
    assert quick.upper_bound >= longer.upper_bound >= best(problem) - 1e-9
    assert 0 < longer.gap <= quick.gap < 1
    assert longer.upper_bound < 1.2 * best(problem)


def test_a_witness_is_made_to_move_few_rings(linear_problem):
    """Ring 0 alone breaks the spec; an image that moves all of them loses the rest."""
    problem = linear_problem()
    everywhere = torch.full((1, 3, 3), 0.6, dtype=F64)
    radii = torch.full((3,), 0.6, dtype=F64)
    image = LIGHT.trimmed(problem, everywhere, radii)
    assert float(problem.margin(problem.graph.replay(image))) <= 0
    assert problem.region(radii).contains(image)
    assert int((ways_out(problem, image) > -torch.inf).sum()) == 1


def test_what_is_found_inside_is_a_witness_inside(linear_problem):
    problem = linear_problem((1.0, 2.0, 0.0), spec=AboveThreshold(0, 0.5), also=(linear_problem().spec,))
    radii = torch.tensor([0.45, 0.9, 0.0], dtype=F64)
    patterns = Patterns(problem)
    image = LIGHT.inside(problem, radii, patterns, seeded(0))
    assert image is not None and problem.region(radii).contains(image)
    assert float(problem.margin(problem.graph.replay(image))) <= 0
    assert LIGHT.inside(problem, 0.1 * radii, patterns, seeded(0)) is None


def test_alone_each_ring_goes_to_where_it_breaks(linear_problem):
    """1 / price for ring 0; the others break the spec for no radius up to the cap, so no witness is theirs."""
    problem = linear_problem()
    found = LIGHT.alone(problem, seeded(0))
    assert len(found) == 1
    assert float(ways_out(problem, found[0])[0]) == pytest.approx(0.5, rel=0.05)


def test_the_rings_that_stop_are_those_that_witnesses_show(linear_problem):
    """Each ring has an image that fails inside the region with that ring grown, or is at its cap."""
    problem = linear_problem((4.0, 2.0, 0.2))
    found = maximize(problem, METHOD, budget=Budget.seconds(60.0))
    assert found.maximal and not found.open_rings
    for ring, image in found.witnesses.items():
        grown = found.radii.clone()
        grown[ring] = min(float(grown[ring]) + problem.delta, float(problem.caps[ring]))
        assert problem.region(grown).contains(image)
        assert float(problem.margin(problem.graph.replay(image))) <= 0


@pytest.mark.parametrize("pushes", [1, 3, 5])
def test_ctrl_c_in_the_middle_of_a_step_loses_no_part_of_the_bound(linear_problem, monkeypatch, pushes):
    """The search over what is left takes a box and puts its parts back; whatever is lost, the bound stays one."""
    problem = linear_problem((4.0, 2.0, 0.2))
    push, count = upper.heapq.heappush, itertools.count()

    def struck(heap, item):
        if next(count) == pushes:
            raise KeyboardInterrupt
        push(heap, item)

    monkeypatch.setattr(upper.heapq, "heappush", struck)
    found = maximize(problem, METHOD, budget=Budget.seconds(60.0))
    assert found.interrupted
    assert found.upper_bound >= best(problem) - 1e-9
    assert found.size <= best(problem) + 1e-9


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_retreats_stay_between_floors_and_radii(linear_problem, objective):
    problem = linear_problem((4.0, 1.0, 0.2), objective=objective, floor=0.05)
    radii = torch.tensor([0.3, 0.06, 0.9], dtype=F64)
    last = problem.size(radii)
    for part in (0.0, 0.2, 0.5, 0.9, 1.0):
        less = retreat(problem, radii, part)
        assert bool((less <= radii).all() and (less >= problem.floors).all())
        assert problem.size(less) <= last + 1e-12
        last = problem.size(less)
    assert torch.equal(retreat(problem, radii, 0.0), radii)
    value = problem.size(radii)
    kept = problem.size(inner(problem, UpperBound(value, radii), 0.1))
    assert 0.9 * value <= kept <= 0.92 * value


def test_no_time_no_gap_closed(linear_problem):
    problem = linear_problem()
    found = maximize(problem, METHOD, budget=Budget.seconds(0.0))
    assert found.verdict is Verdict.UNKNOWN
    assert (found.size, found.gap) == (0.0, 1.0)
    assert found.upper_bound >= best(problem)


class Reluctant(Prover):
    """Gives up on whatever lies near the limit, unless it gets the time."""

    needed = 20.0

    def check(self, radii, portfolio=COMPLETE, hints=None):
        if self.query_seconds < self.needed and 0.7 < float(radii @ PRICES) < 1:
            return Answer(Verdict.UNKNOWN, Why.DEADLINE)
        return super().check(radii, portfolio, hints)


def test_what_stays_open_is_asked_again_with_more_time(linear_problem):
    problem = linear_problem((4.0, 2.0, 0.2))
    prover = Reluctant(problem, Budget.seconds(100.0), 0, query_seconds=5.0)
    found = METHOD.run(prover)
    assert found.gap is not None and found.gap <= METHOD.gap
    assert prover.query_seconds == 5.0
    hopeless = Reluctant(problem, Budget.seconds(15.0), 0, query_seconds=5.0)
    hopeless.needed = 1e9
    open_ = METHOD.run(hopeless)
    assert open_.upper_bound is not None and open_.upper_bound >= best(problem)
    assert 0.6 < float(open_.radii @ PRICES) <= 0.7


class Interrupting(Prover):
    def check(self, radii, portfolio=COMPLETE, hints=None):
        if len(self.witnesses) or self.size:
            raise KeyboardInterrupt
        return super().check(radii, portfolio, hints)


def test_interrupted_it_still_states_its_bound(linear_problem):
    found = METHOD.run(Interrupting(linear_problem(), Budget.seconds(20.0), 0))
    assert found.interrupted
    assert found.upper_bound is not None and found.gap is not None
