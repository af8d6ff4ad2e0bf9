"""What is said about rings that might still grow."""

import pytest
import torch

from aureole.attacks import SmoothPgd
from aureole.core import Budget, Verdict
from aureole.neighborhood.prover import Prover
from nets_zoo import F64

ATTACK = SmoothPgd(steps=8, restarts=1)


def proved(problem, radii: list[float]) -> Prover:
    prover = Prover(problem, Budget(), 0)
    assert prover.check(torch.tensor(radii, dtype=F64)).verdict is Verdict.ROBUST
    return prover


def test_limits_come_down_to_where_a_ring_breaks_alone(linear_problem):
    """Prices 2, 0.5, 0.25 and a margin of 1: ring 0 may go to 0.425 where all are at 0.2; the others to their caps."""
    prover = proved(linear_problem(), [0.2, 0.2, 0.2])
    before = prover.finish(look=True)
    assert before.limits.tolist() == [1.0, 1.0, 1.0] and not before.witnesses
    prover.bracket(ATTACK, 8)
    found = prover.finish(look=True)
    assert float(found.limits[0]) == pytest.approx(0.425, rel=0.03)
    assert float(found.limits[0]) > 0.425
    assert found.limits[1:].tolist() == [1.0, 1.0] and set(found.witnesses) == {0}
    assert found.open_rings == (0, 1, 2) and found.maximal is False


def test_a_limit_within_delta_stops_the_ring(linear_problem):
    problem = linear_problem(delta=0.01)
    prover = proved(problem, [0.496, 0.0, 0.0])
    prover.look(ATTACK)
    found = prover.finish(look=True)
    assert found.open_rings == (1, 2)  # 0.01 in these is not enough
    assert 0.5 <= float(found.limits[0]) <= 0.506


def test_where_nothing_fails_with_all_rings_grown_none_is_attacked_alone(linear_problem, monkeypatch):
    prover, asked = proved(linear_problem(), [0.1, 0.1, 0.1]), []
    real = SmoothPgd.__call__

    def counted(attack, graph, region, *arguments, **more):
        asked.append(len(region))
        return real(attack, graph, region, *arguments, **more)

    monkeypatch.setattr(SmoothPgd, "__call__", counted)
    prover.look(ATTACK)
    assert asked == [1]
