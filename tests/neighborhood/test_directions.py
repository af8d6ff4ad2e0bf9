"""Mixtures of single rings, on the network that is linear in its radii (2, 0.5 and 0.25 per ring)."""

from math import comb

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prices import PRICES

from aureole.core import Budget
from aureole.neighborhood.directions import Directions, mixtures
from nets_zoo import F64

EXACT = Directions(kept=1e-6)
"""For the attack, which is exact on this network."""


def asked(problem, prices=PRICES):
    """All radii asked about and which were proved, by a prover to whom the rings cost so much."""
    steps, sizes = [], [0.0]

    def proved(radii: torch.Tensor) -> bool:
        robust = bool(radii @ prices < 1)
        steps.append((radii, robust))
        if robust:
            sizes.append(max(sizes[-1], problem.size(radii)))
        return robust

    EXACT(problem, lambda: sizes[-1], proved, Budget(), 0)
    return steps, sizes


@pytest.mark.parametrize("weights, best", [((1, 1, 1), 1.5), ((1, 0, 0.0), 0.5), ((8, 1, 1), 4), ((0, 1, 0), 1)])
def test_the_best_mixture_is_found_where_attack_and_prover_agree(linear_problem, weights, best):
    problem = linear_problem(weights=tuple(map(float, weights)))
    steps, sizes = asked(problem)
    assert sizes[-1] >= 0.9 * best
    assert all(robust for _, robust in steps)


def test_only_larger_sizes_are_asked_about_and_less_after_each_refusal(linear_problem):
    problem = linear_problem()
    refused, _ = asked(problem, prices=torch.full((3,), torch.inf, dtype=F64))
    sizes = [problem.size(radii) for radii, _ in refused]
    assert 1 < len(sizes) < 100
    assert sizes == sorted(sizes, reverse=True)
    proved, largest = asked(problem, prices=4 * PRICES)
    assert largest == sorted(set(largest))
    assert {robust for _, robust in proved} == {True, False}


def test_where_attacks_are_too_optimistic_about_one_ring_others_are_tried(linear_problem):
    prices = torch.tensor([2.0, 0.5, 5.0], dtype=F64)
    steps, sizes = asked(linear_problem(), prices=prices)
    assert not steps[0][1]
    assert sizes[-1] >= 0.9  # the second ring alone


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    st.lists(st.floats(0, 0.1), min_size=3, max_size=3),
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.lists(st.just(0.0) | st.floats(1e-9, 1e9), min_size=3, max_size=3),
)
@example([0.0, 0.0, 0.0], [1e-9, 1e-9, 0.0], [1.0, 1.0, 1.0])
@example([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1e-9, 1e-9, 0.0])
def test_floors_and_caps_are_kept(linear_problem, floors, more, weights):
    floors = torch.tensor(floors, dtype=F64)
    caps = (floors + torch.tensor(more, dtype=F64)).clamp(max=1)
    if sum(weights) == 0:
        weights = [1.0, 0.0, 0.0]
    problem = linear_problem(weights=tuple(weights), floor=floors, cap=caps)
    if EXACT.suits(problem):
        steps, _ = asked(problem)
        assert all(bool((radii >= floors).all() and (radii <= caps + 1e-12).all()) for radii, _ in steps)


def test_it_suits_sums_of_few_rings_that_may_grow(linear_problem):
    assert Directions().suits(linear_problem())
    assert not Directions(most=2).suits(linear_problem())
    assert not Directions().suits(linear_problem(objective="log"))
    assert not Directions().suits(linear_problem(weights=(0.0, 1.0, 0.0)))
    fixed = torch.tensor([0.0, 1.0, 0.0], dtype=F64)
    assert not Directions().suits(linear_problem(cap=fixed))


@given(st.integers(1, 6), st.integers(1, 4))
def test_mixtures_are_all_ways_to_share(count, parts):
    found = mixtures(count, parts)
    assert found.shape == (comb(count + parts - 1, parts), count)
    assert torch.allclose(found.sum(1), torch.ones(len(found), dtype=F64))
    assert len({tuple(row) for row in (found * parts).round().tolist()}) == len(found)
    assert torch.allclose(found * parts, (found * parts).round())
