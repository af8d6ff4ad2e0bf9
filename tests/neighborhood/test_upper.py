"""Upper bounds from witnesses: against brute force, a MILP, and radii that a prover accepts."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

from aureole.core import Budget, Rings, TopK, Verdict
from aureole.neighborhood import OBJECTIVES, Problem
from aureole.neighborhood.upper import Left, upper_bound, ways_out
from aureole.verify import prove
from nets_zoo import F64, Sketch, seeded
from provers import MILP


@pytest.fixture
def make(linear_problem):
    """Three rings of an image between black and white; which network is all the same here."""

    def made(objective: str, weights: tuple[float, ...], floor: float = 0.0, cap: float = 1.0) -> Problem:
        problem = linear_problem(weights, objective=objective, floor=floor, cap=cap)
        generator = seeded(5)
        image = 0.15 * torch.rand(1, 3, 3, generator=generator, dtype=F64)
        return Problem(
            problem.graph, image, problem.rings, problem.spec, problem.weights, floor=floor, cap=cap,
            objective=objective,
        )  # fmt: skip

    return made


def witnesses(problem: Problem, count: int, seed: int) -> list[torch.Tensor]:
    """Images that move some rings; whether the network minds is no matter to the bound."""
    generator = seeded(seed)
    images = []
    for _ in range(count):
        reach = torch.rand(3, generator=generator, dtype=F64) * torch.randint(0, 2, (3,), generator=generator)
        if not bool(reach.any()):
            reach[0] = 0.5
        change = problem.rings.spread(reach) * torch.rand(3, 3, generator=generator, dtype=F64)
        images.append((problem.image + change).clamp(0, 1))
    return images


def brute(problem: Problem, images: list[torch.Tensor]) -> float:
    """Every way of choosing one ring per image, its radius then held at the image's reach."""
    ways = [ways_out(problem, image) for image in images]
    best = 0.0
    for choice in itertools.product(range(3), repeat=len(images)):
        radii = problem.caps.clone()
        for ring, way in zip(choice, ways, strict=True):
            radii[ring] = torch.minimum(radii[ring], way[ring])
        if bool((radii >= problem.floors).all()):
            best = max(best, problem.size(radii))
    return best


LIMITS = [(0.0, 1.0), (0.05, 0.6)]
SHARES = [(1.0, 1.0, 1.0), (3.0, 0.0, 0.5)]


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("weights", SHARES)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(2))
def test_the_maximum_is_that_of_all_choices(make, objective, weights, limits, seed):
    problem = make(objective, weights, *limits)
    images = witnesses(problem, 5, seed)
    found = upper_bound(problem, images)
    assert found.tight
    assert found.value == pytest.approx(brute(problem, images), rel=1e-9)
    if found.value > 0:
        assert problem.size(found.radii) == pytest.approx(found.value, rel=1e-9)
        assert bool((found.radii >= problem.floors).all() and (found.radii <= problem.caps).all())
        for image in images:
            assert bool((found.radii <= ways_out(problem, image) + 1e-12).any())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_image_more_never_raises_it_and_the_order_is_nothing(make, objective):
    problem = make(objective, (1.0, 2.0, 0.5))
    images = witnesses(problem, 15, 9)
    left, last = Left(problem), float("inf")
    for image in images:
        left.without(image)
        now = left.best().value
        assert now <= last
        last = now
    assert last == pytest.approx(upper_bound(problem, images[::-1]).value, rel=1e-9)
    assert last == pytest.approx(upper_bound(problem, images + images).value, rel=1e-9)
    assert len(left) <= len(images)


def test_the_same_as_a_milp(make):
    problem = make("sum", (1.0, 2.0, 0.5), 0.02, 0.7)
    images = [i for i in witnesses(problem, 60, 2) if not problem.region(problem.floors).contains(i)]
    found = upper_bound(problem, images)
    assert found.value == pytest.approx(by_milp(problem, images), rel=1e-6)


def by_milp(problem: Problem, images: list[torch.Tensor]) -> float:
    """One binary per image and ring: 1 when the ring's radius keeps the image out."""
    ways = torch.stack([ways_out(problem, image) for image in images]).numpy()
    caps, floors, count = problem.caps.numpy(), problem.floors.numpy(), ways.size
    rows, low, high = [], [], []
    for j, way in enumerate(ways):
        some = np.zeros(3 + count)
        for d in range(3):
            some[3 + 3 * j + d] = 1
            held = np.zeros(3 + count)
            held[d], held[3 + 3 * j + d] = 1, max(caps[d] - way[d], 0) if way[d] > 0 else 0
            rows.append(held), low.append(-np.inf), high.append(caps[d])
        rows.append(some), low.append(1), high.append(np.inf)
    limits = Bounds(np.r_[floors, np.zeros(count)], np.r_[caps, (ways > -np.inf).ravel()])
    integer = np.r_[np.zeros(3), np.ones(count)]
    cost = -np.r_[problem.weights.numpy(), np.zeros(count)]
    return -milp(cost, integrality=integer, bounds=limits, constraints=LinearConstraint(rows, low, high)).fun


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_without_witnesses_the_caps_bound(make, objective):
    problem = make(objective, (1.0, 2.0, 0.0), cap=0.5)
    assert upper_bound(problem, []).value == pytest.approx(problem.size(problem.caps))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_witness_within_the_floors_leaves_nothing(make, objective):
    problem = make(objective, (1.0, 1.0, 1.0), floor=0.1)
    inside = problem.region(problem.floors).upper[0]
    found = upper_bound(problem, [inside])
    assert (found.value, found.tight) == (0.0, True)
    assert torch.equal(found.radii, problem.floors)


def test_when_the_time_is_over_the_bound_is_only_looser(make):
    problem = make("sum", (1.0, 2.0, 0.5))
    images = witnesses(problem, 40, 3)
    best = upper_bound(problem, images)
    early = upper_bound(problem, images, Budget.seconds(0.0))
    assert not early.tight
    assert early.value >= best.value


def test_radii_beyond_every_way_out_reach_the_image(make):
    """The bound's claim itself, to the last bit: `Region.ringed` rounds its sides inwards."""
    problem = make("sum", (1.0, 1.0, 1.0))
    for image in witnesses(problem, 60, 4):
        ways = ways_out(problem, image)
        beyond = torch.where(ways == -torch.inf, 0.0, torch.nextafter(ways, torch.ones_like(ways)))
        assert problem.region(beyond).contains(image)


def grids(n: int, steps: int) -> list[torch.Tensor]:
    ends = torch.linspace(0, 1, steps, dtype=F64).tolist()
    return [torch.tensor(radii, dtype=F64) for radii in itertools.product(ends, repeat=n)]


@pytest.mark.parametrize("seed", range(2))
def test_no_robust_radii_exceed_it(seed):
    """All radii of a grid, asked of the MILP: witnesses of the broken ones bound the proved ones."""
    generator = seeded(200 + seed)
    graph = Sketch((1, 3, 3), generator).conv(2, 2).relu().flat().linear(3).graph()
    image = torch.rand(1, 3, 3, generator=generator, dtype=F64)
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[0, 0] = True
    weights = torch.tensor([2.0, 1.0, 0.5], dtype=F64)
    spec = TopK(int(graph(image[None]).argmax()), 1)
    problem = Problem(graph, image, Rings.around(mask), spec, weights)
    proved, images = [], []
    for radii in grids(3, 3):
        answer = prove(graph, problem.region(radii), problem.spec, MILP)
        if answer.verdict is Verdict.ROBUST:
            proved.append(radii)
        else:
            assert answer.witness is not None
            images.append(answer.witness)
    assert images and proved
    for objective, count in itertools.product(OBJECTIVES, (1, 2, 5, len(images))):
        asked = replace(problem, objective=objective)
        bound = upper_bound(asked, images[:count])
        assert bound.value >= max(asked.size(radii) for radii in proved)
        for radii in proved:  # not even one by one: what is proved reaches none of the witnesses
            assert all(bool((radii <= ways_out(problem, image)).any()) for image in images)


def test_what_fails_by_the_model_s_rounding_alone_rules_out_nothing(linear_problem):
    """Radii around it may be proved, in exact arithmetic."""
    problem = linear_problem()
    left = Left(replace(problem, graph=replace(problem.graph, precision=torch.float32)))
    held, failing = problem.image.clone(), torch.ones_like(problem.image)
    held[0, 0, 0] += 0.01
    assert problem.margin(problem.graph.replay(held)) > 0 >= problem.margin(problem.graph.replay(failing))
    left.without(held)
    assert len(left) == 0
    left.without(failing)
    assert len(left) == 1
