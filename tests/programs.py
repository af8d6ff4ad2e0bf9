"""Programs for solvers."""

import numpy as np
from scipy.sparse import csr_matrix

from aureole.verify.solver import Program


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


def knapsack(count: int = 60) -> Program:
    """Many rows, many optima: takes a while."""
    rng = np.random.default_rng(0)
    matrix = rng.integers(1, 100, size=(30, count))
    return program(rng.integers(1, 100, count), matrix, matrix.sum(1) / 2, [0] * count, [1] * count, [True] * count)
