import numpy as np
import pytest
from scipy.optimize import linprog, milp
from scipy.sparse import csr_matrix

from aureole.verify.highs import solve
from aureole.verify.solver import Outcome, Program, Status


def program(goal, matrix, upper, lows, highs, integer) -> Program:
    upper = np.array(upper, dtype=float)
    return Program(
        np.array(goal, dtype=float),
        csr_matrix(np.array(matrix, dtype=float).reshape(len(upper), len(goal))),
        np.full_like(upper, -np.inf),
        upper,
        np.array(lows, dtype=float),
        np.array(highs, dtype=float),
        np.array(integer, dtype=bool),
    )


def never(solution: np.ndarray) -> bool:
    return False


def random_program(seed: int, count: int = 8) -> Program:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(5, count))
    return program(
        rng.normal(size=count), matrix, rng.uniform(-0.5, 2, 5), [-1] * count, [1] * count, rng.random(count) < 0.5
    )


@pytest.mark.parametrize("seed", range(20))
def test_optima_and_infeasibility_agree_with_scipy(seed):
    p = random_program(seed)
    from scipy.optimize import Bounds, LinearConstraint

    reference = milp(
        -p.objective,
        integrality=p.integer.astype(int),
        bounds=Bounds(p.lower, p.upper),
        constraints=LinearConstraint(p.matrix.toarray(), p.row_lower, p.row_upper),
    )
    found = solve(p, 10.0, never)
    if reference.status == 2:
        assert found.status is Status.INFEASIBLE
        assert found.solution is None
    else:
        assert found.status is Status.SOLUTION
        assert found.solution is not None
        assert float(p.objective @ found.solution) == pytest.approx(-reference.fun, abs=1e-6)
        assert (p.matrix @ found.solution <= p.row_upper + 1e-6).all()
        if p.binaries:
            assert found.bound == pytest.approx(-reference.fun, abs=1e-5)


def test_without_integers_it_is_an_lp():
    p = program([1, 1], [[1, 2]], [1], [0, 0], [1, 1], [False, False])
    found = solve(p, 10.0, never)
    reference = linprog([-1, -1], A_ub=[[1, 2]], b_ub=[1], bounds=[(0, 1), (0, 1)])
    assert found.status is Status.SOLUTION
    assert float(p.objective @ found.solution) == pytest.approx(-reference.fun)
    assert p.binaries == 0


def test_an_infeasible_lp_and_milp():
    for flags in ([False, False], [True, True]):
        found = solve(program([1, 0], [[1, 1]], [-1], [0, 0], [1, 1], flags), 10.0, never)
        assert found.status is Status.INFEASIBLE
        assert found.solution is None


def knapsack(count: int = 60) -> Program:
    """Many rows, many optima: takes a while."""
    rng = np.random.default_rng(0)
    matrix = rng.integers(1, 100, size=(30, count))
    return program(rng.integers(1, 100, count), matrix, matrix.sum(1) / 2, [0] * count, [1] * count, [True] * count)


def test_no_time_is_no_claim():
    found = solve(knapsack(), 0.0, never)
    assert found.status is Status.TIME
    assert found.status is not Status.INFEASIBLE
    # an infeasible program whose infeasibility takes a search
    p = knapsack()
    hard = Program(p.objective, p.matrix, p.row_upper - 0.5, p.row_upper - 0.5, p.lower, p.upper, p.integer)
    assert solve(hard, 0.0, never).status in (Status.TIME, Status.INFEASIBLE)


def test_enough_stops_the_search():
    seen: list[float] = []
    p = knapsack()

    def enough(solution: np.ndarray) -> bool:
        assert len(solution) == len(p.lower)
        seen.append(float(p.objective @ solution))
        return True

    found = solve(p, 20.0, enough)
    assert found.status is Status.SOLUTION
    assert found.solution is not None
    assert float(p.objective @ found.solution) in seen
    assert (p.matrix @ found.solution <= p.row_upper + 1e-6).all()


def test_time_runs_out_with_a_solution_at_hand():
    found = solve(knapsack(), 0.3, never)
    assert found.status in (Status.TIME, Status.SOLUTION)
    assert isinstance(found, Outcome)
    if found.solution is not None:
        assert float(knapsack().objective @ found.solution) <= found.bound + 1e-6
