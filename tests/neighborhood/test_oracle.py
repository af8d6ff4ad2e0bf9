"""The proposal's method: its cutting weights, at rest and moving."""

import pytest
import torch

from aureole.attacks import SmoothPgd
from aureole.core import Budget, Rings, TopK, Verdict
from aureole.neighborhood import Problem
from aureole.neighborhood import oracle as oracle_module
from aureole.neighborhood.oracle import Oracle, cutting_weights
from aureole.neighborhood.prover import Prover
from nets_zoo import F64, Sketch, seeded


def test_cutting_weights_on_paper(linear_problem):
    """Prices 2, 0.5, 0.25 over 1, 3 and 5 pixels: sensitivities 2, 1/6 and 1/20."""
    problem = linear_problem()
    images = torch.full((1, 1, 3, 3), 0.3, dtype=F64)  # where the row with these prices is the lowest
    assert cutting_weights(problem, "fixed", images).tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    flipped = cutting_weights(problem, "flipped", images)
    kept = [2 / 3, 2 / 3 * (1 / 6 - 1 / 20) / (2 - 1 / 20), 0.0]
    assert flipped.tolist() == pytest.approx(kept)
    assert (cutting_weights(problem, "sensitivity", images) + flipped).tolist() == pytest.approx([2 / 3] * 3)


def pooled() -> Problem:
    """A small network whose rings are worth other prices elsewhere."""
    graph = Sketch((1, 5, 5), seeded(4)).conv(3, 3).relu().pool(2, 1).flat().linear(4).graph()
    image = torch.full((1, 5, 5), 0.5, dtype=F64)
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[0, 0] = True
    rings = Rings.around(mask)
    target = int(graph(image[None])[0].argmax())
    return Problem(graph, image, rings, TopK(target, 1), torch.ones(len(rings), dtype=F64))


@pytest.mark.parametrize("moving", [False, True])
def test_moving_weights_are_taken_at_the_weakest_points(moving, monkeypatch):
    problem, taken = pooled(), []

    def seen(problem, kind, images):
        taken.append(images)
        return cutting_weights(problem, kind, images)

    monkeypatch.setattr(oracle_module, "cutting_weights", seen)
    prover = Prover(problem, Budget.seconds(60.0), 0)
    oracle = Oracle(moving=moving, balance_end=0.6, attack=SmoothPgd(steps=4, restarts=1))
    found = oracle.run(prover)
    assert found.verdict is Verdict.ROBUST and found.size > 0
    assert torch.equal(taken[0], problem.image[None])
    assert len(taken) > 1 if moving else len(taken) == 1
    for images in taken[1:]:
        assert len(images) == oracle.points
        assert all(problem.region(found.radii).contains(image) for image in images)
