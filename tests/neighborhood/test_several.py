"""Bands of rings, several objects and several targets."""

import pytest
import torch

from aureole.core import Budget, InputError, Rings, TopK, Verdict
from aureole.neighborhood import METHODS, Problem, maximize, named_weights
from nets_zoo import F64, Sketch, points_in, seeded


@pytest.mark.parametrize("method", ["uniform", "bisection", "certificate"])
def test_bands_have_one_radius_each(linear_problem, method):
    problem = linear_problem((1.0, 1.0), bands=(0, 1))
    found = maximize(problem, method, budget=Budget.seconds(10.0))
    assert found.bands == ((0, 0), (1, 2))
    assert found.summary()["bands"] == [[0, 0], [1, 2]]
    assert found.radii.shape == (2,)
    assert sum(found.ring_pixels) == 9
    assert float(found.radii @ torch.tensor([2.0, 0.75], dtype=F64)) < 1  # a band costs what its rings cost together
    if method == "bisection":
        assert float(found.radii[0]) == pytest.approx(0.5, abs=2e-3)


def test_weights_of_bands():
    mask = torch.zeros(1, 9, dtype=torch.bool)
    mask[0, 0] = True
    rings = Rings.around(mask).banded([0, 1, 5])  # distances 0; 1-4; 5-8
    expected = {
        "uniform": [1, 1, 1],
        "object": [1, 0, 0],
        "near": [1, 1 / 3.5, 1 / 7.5],
        "far": [1 / 7.5, 3.5 / 7.5, 1],
        "pixels": [1 / 3, 4 / 3, 4 / 3],
    }
    for name, weights in expected.items():
        assert named_weights(name, rings).tolist() == pytest.approx(weights)


@pytest.mark.parametrize("method", ["uniform", "bisection", "certificate", "oracle"])
def test_all_targets_survive(linear_problem, method):
    """Label 0 must stay first (1 - prices @ radii > 0), and label 2 among two (label 1 is not above it: 0.5 - ...)."""
    problem = linear_problem(also=(TopK(2, 2),))
    found = maximize(problem, method, budget=Budget.seconds(2.0 if method == "oracle" else 10.0))
    prices = torch.tensor([2.0, 0.5, 0.25], dtype=F64)
    assert found.verdict is Verdict.ROBUST
    assert 0 < float(found.radii @ prices) < 0.5
    scores = problem.graph(points_in(problem.region(found.radii), 500, seeded(0)))
    assert float(problem.margin(scores).min()) > 0
    for witness in found.witnesses.values():
        values = [float(spec.margin(problem.graph.replay(witness))) for spec in problem.specs]
        assert min(values) <= 0
    assert found.margin_bound is not None and found.weakest_margin is not None
    assert found.margin_bound <= found.weakest_margin


@pytest.mark.parametrize("method", METHODS)
def test_all_targets_survive_in_a_network_with_relus(method):
    """Whose relaxations have parameters, one set per row of every target."""
    graph = Sketch((1, 3, 3), seeded(3)).flat().linear(6).relu().linear(3).graph()
    image = torch.rand(1, 3, 3, generator=seeded(0), dtype=F64)
    first, second, _ = graph(image[None])[0].argsort(descending=True).tolist()
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[0, 0] = True
    rings = Rings.around(mask)
    problem = Problem(graph, image, rings, TopK(first, 1), torch.ones(3), also=(TopK(second, 2),))
    found = maximize(problem, method, budget=Budget.seconds(2.0))
    assert found.verdict is Verdict.ROBUST and found.size > 0
    scores = graph(points_in(problem.region(found.radii), 500, seeded(0)))
    assert float(problem.margin(scores).min()) > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cap", [0.0, 1e-7])
def test_caps_that_allow_next_to_nothing(linear_problem, method, cap):
    found = maximize(linear_problem(cap=cap), method, budget=Budget.seconds(5.0))
    assert found.verdict is Verdict.ROBUST
    assert float(found.radii.max()) <= cap


def test_every_target_must_be_predicted(linear_problem):
    with pytest.raises(InputError, match=r"TopK\(target=1, k=2\) already fails"):
        linear_problem(also=(TopK(1, 2),))


def test_an_undecided_target_is_not_a_proof(linear_problem):
    found = maximize(linear_problem(also=(TopK(2, 2),)), "uniform", budget=Budget.seconds(0.0))
    assert found.verdict is Verdict.UNKNOWN
