"""Covers: against the optimum of a network that is linear in its radii, and against proofs and images elsewhere."""

from dataclasses import replace

import pytest
import torch
from prices import PRICES
from scipy.optimize import linprog

from aureole.core import AboveThreshold, Budget, Rings, TopK, Verdict
from aureole.neighborhood import Problem, cover, named_weights
from aureole.neighborhood.cover import Cell, Cover, Covering, Judged, Stuck, descend
from aureole.verify import prove
from nets_zoo import F64, Sketch, image_of, seeded

ONE = Covering(threads=1)


def best(problem: Problem) -> float:
    limits = list(zip(problem.floors.tolist(), problem.caps.tolist(), strict=True))
    return -linprog(-problem.weights.numpy(), PRICES.numpy()[None], [1.0], bounds=limits).fun


LIMITS = {"cap": torch.tensor([0.3, 1.0, 0.8], dtype=F64), "floor": torch.tensor([0.1, 0.0, 0.2], dtype=F64)}


@pytest.mark.parametrize("limits", [{}, LIMITS])
@pytest.mark.parametrize("weights", [(4.0, 2.0, 0.2), (1.0, 0.0, 0.3), (1.0, 0.0, 0.0)])
def test_it_comes_down_to_the_optimum_and_never_below(linear_problem, weights, limits):
    """Where weights are nearly prices every direction matters; the last has one ring with weight, so no edge."""
    problem = linear_problem(weights, **limits)
    found, truth = Cover(problem), best(problem)
    assert found.bound == torch.inf
    low = torch.where(problem.weights > 0, problem.caps, problem.floors)
    most = problem.size(low)
    descend(found, lambda: most, lambda: 1.02 * truth, lambda stuck: False, Budget.seconds(60.0))
    assert truth <= min(found.bound, most) <= 1.021 * truth


@pytest.mark.parametrize("n", range(4))
def test_no_proved_radii_are_beyond_it(n):
    """Small networks with pools and relus: the bound is an upper one for all that can be proved, and not far above."""
    g = seeded(200 + n)
    s = Sketch((1, 4, 4), g).conv(3, 2)
    s = s.relu().conv(2, 2).relu() if n % 2 else s.pool(2, 1, rectify=True)
    graph = s.flat().linear(4).graph()
    image = image_of(graph, g)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[n % 3, 0] = True
    rings = Rings.around(mask).banded((0, 1))
    scores = graph(image[None])[0]
    target = int(scores.argsort()[-1 - n % 2])
    specs = TopK(target, 1 + n % 2), AboveThreshold(target, float(scores[target]) - 0.5)
    problem = Problem(graph, image, rings, specs[0], named_weights("uniform", rings), also=specs[1:])
    found, most = Cover(problem, ONE), float(len(rings))
    descend(found, lambda: most, lambda: 0.0, lambda stuck: False, Budget.seconds(1.5))
    bound = min(found.bound, most)
    directions = torch.cat([torch.eye(2, dtype=F64), torch.rand(2, 2, generator=g, dtype=F64)])
    seen = 0.0
    for direction in directions / directions.sum(1, keepdim=True):
        low, high = 0.0, 1.5 * bound
        for _ in range(5):
            middle = (low + high) / 2
            answers = [prove(graph, problem.region(middle * direction), spec) for spec in specs]
            proved = all(answer.verdict is Verdict.ROBUST for answer in answers)
            low, high = (middle, high) if proved else (low, middle)
        seen = max(seen, problem.size(problem.within(low * direction)))
    assert seen <= bound
    assert bound <= 3 * seen  # and it says something


def test_facets_hold_images_that_fail(linear_problem):
    """Each cell's facet: mixtures of its corners fail, and lie in the neighborhoods of the mixed radii."""
    problem = linear_problem((2.0, 0.5, 0.25))
    found = Cover(problem, ONE)
    descend(found, lambda: 3.0, lambda: 1.05, lambda stuck: False, Budget.seconds(60.0))
    weights = torch.rand(20, 3, generator=seeded(1), dtype=F64)
    for cell in found._cells:
        assert cell.size <= 1.06
        radii = found._radii(cell, cell.size)
        if bool((radii.amin(0) > problem.caps).any()):
            continue  # nobody asks about these
        images = found._images(cell.changes, radii)
        for share in weights / weights.sum(1, keepdim=True):
            image = torch.einsum("c,c...->...", share, images)
            region = problem.region(share @ radii + 1e-12)
            assert region.contains(image)
            assert float(problem.margin(problem.graph.replay(image))) <= 0


def test_where_it_is_stuck_an_image_helps(linear_problem):
    """Without pushes and attacks nothing is found but what it is told."""
    problem = linear_problem((2.0, 0.5, 0.25))
    found = Cover(problem, replace(ONE, steps=0, anew=1000))
    told = []

    def ask(stuck: Stuck) -> bool:
        told.append(stuck)
        found.learn(stuck.radii, problem.image + problem.rings.spread(problem.within(stuck.radii)))
        return True

    descend(found, lambda: 3.0, lambda: 1.1, ask, Budget.seconds(60.0))
    assert found.bound <= 1.11
    assert 0 < len(told) < len(found)  # an image serves many directions


def test_where_nothing_known_fails_it_attacks(linear_problem):
    problem = linear_problem((2.0, 0.5, 0.25))
    found = Cover(problem, replace(ONE, steps=0))
    descend(found, lambda: 3.0, lambda: 1.1, lambda stuck: pytest.fail(f"stuck at {stuck.radii}"), Budget.seconds(60.0))
    assert found.bound <= 1.11


def test_images_of_a_tiny_facet_are_made_one_once(linear_problem):
    """Pushes may part them again; with no end to that a search stood still for a minute."""
    problem = linear_problem()
    found, middle = Cover(problem), torch.tensor([1.0, 1.0, 1.0], dtype=F64) / 3
    corners = middle + 1e-3 * (torch.eye(3, dtype=F64) - 1 / 3)
    changes = torch.stack([torch.full((1, 3, 3), value) for value in (0.5, 0.6, 0.7)])
    cell, fails_in_the_middle = Cell(corners, changes), Judged(0.1, 0.1, -0.1)
    (one,), _ = found._divided(cell, fails_in_the_middle, corners, 1.0)
    assert bool((one.changes == one.changes[0]).all())
    halves, stuck = found._divided(replace(one, changes=changes), fails_in_the_middle, corners, 1.0)
    assert len(halves) == 2
    assert not stuck


def test_a_size_that_is_refused_is_given_up(linear_problem):
    problem = linear_problem((2.0, 0.5, 0.25))
    found = Cover(problem, ONE)
    descend(found, lambda: 3.0, lambda: 0.5, lambda stuck: False, Budget.seconds(60.0))
    assert 1.0 <= found.bound <= 1.05  # the frontier is at 1


def test_floors_that_fail_end_it(linear_problem):
    problem = linear_problem((2.0, 0.5, 0.25), floor=torch.tensor([0.4, 0.3, 0.3], dtype=F64))
    found = Cover(problem, ONE)
    descend(found, lambda: 3.0, lambda: 0.0, lambda stuck: False, Budget.seconds(60.0))
    assert found.bound == pytest.approx(problem.size(problem.floors))
    problem = linear_problem((2.0, 0.5, 0.25), floor=torch.tensor([0.45, 0.0, 0.0], dtype=F64))
    assert Cover(problem, ONE).lower(0.1) is not None  # but these hold, and nothing below them is asked about


def test_an_interruption_loses_no_direction(linear_problem, monkeypatch):
    problem = linear_problem((2.0, 0.5, 0.25))
    found = Cover(problem, ONE)
    found.lower(2.0)
    calls = 0

    def interrupted(*arguments):
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        return real(*arguments)

    real = cover.simplex_bounds
    monkeypatch.setattr(cover, "simplex_bounds", interrupted)
    with pytest.raises(KeyboardInterrupt):
        found.lower(1.02)
    assert found.bound >= 1.0
    monkeypatch.setattr(cover, "simplex_bounds", real)
    assert found.lower(1.02) is None
    assert 1.0 <= found.bound <= 1.021


def test_what_it_is_for(linear_problem):
    problem = linear_problem()
    assert Cover.suits(problem)
    assert not Cover.suits(problem, Covering(most=2))
    assert not Cover.suits(linear_problem(objective="log"))
    assert not Cover.suits(replace(problem, graph=replace(problem.graph, precision=torch.float32)))
