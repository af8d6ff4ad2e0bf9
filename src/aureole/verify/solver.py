"""What every solver of mixed-integer linear programs takes and gives, and how they are chosen by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from importlib import import_module
from math import inf
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.sparse import csr_matrix

from aureole.core import InputError

SOLVERS: Mapping[str, str] = {
    "highs": "aureole.verify.highs",
    "scip": "aureole.verify.scip",
    "gurobi": "aureole.verify.gurobi",
}
"""The file behind each name; SCIP and Gurobi are extras of the package."""


class Status(Enum):
    """What the solver says; a claim, not yet a verdict."""

    INFEASIBLE = "infeasible"
    SOLUTION = "solution"
    BOUND = "bound"  # the bound asked for is reached
    TIME = "time"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, eq=False)
class Program:
    """Maximise `objective @ x` with `row_lower <= A x <= row_upper`, `lower <= x <= upper`, some x integer."""

    objective: np.ndarray
    matrix: csr_matrix
    row_lower: np.ndarray
    row_upper: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    integer: np.ndarray

    @property
    def binaries(self) -> int:
        """How many variables are integer."""
        return int(self.integer.sum())

    @property
    def finite(self) -> bool:
        """Whether every coefficient and every limit of a variable is a finite number."""
        return all(bool(np.isfinite(part).all()) for part in (self.matrix.data, self.lower, self.upper))

    def without(self, smallest: float) -> "Program":
        """The program without coefficients below `smallest`, which a solver would drop without a word.

        The rows give way by as much as those could have added: what is infeasible then was so before.
        """
        tiny = np.abs(self.matrix.data) < smallest
        if not tiny.any():
            return self
        matrix = self.matrix.copy()
        largest = np.maximum(np.abs(self.lower), np.abs(self.upper))[matrix.indices]
        line = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        reach = np.bincount(line[tiny], (np.abs(matrix.data) * largest)[tiny], matrix.shape[0])
        matrix.data[tiny] = 0.0
        matrix.eliminate_zeros()
        return replace(self, matrix=matrix, row_lower=self.row_lower - reach, row_upper=self.row_upper + reach)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The solver's status, its best solution if it has one, and its bound on the objective.

    trouble: one line for people about a solver that failed, where it tells why
    """

    status: Status
    solution: np.ndarray | None
    bound: float
    trouble: str = ""


Enough = Callable[[np.ndarray], bool]
"""Whether a solution, in the order of the program's variables, ends the search."""


@runtime_checkable
class Solver(Protocol):
    """A way to solve programs."""

    def __call__(
        self, program: Program, seconds: float, enough: Enough, gap: float = 0.0, goal: float = -inf
    ) -> Outcome:
        """Search until done, until the time is over, or until `enough` accepts an improving solution.

        Done is also a bound within `gap` of the best solution. A bound of at most `goal` may end the search too, with
        status BOUND.

        Infeasible means so beyond the solver's tolerances, which are at most 1e-7. After Ctrl-C the status is
        INTERRUPTED.
        """


def solver(name: str) -> Solver:
    """A solver by its name in `SOLVERS`; InputError for another name or a package that is not installed."""
    if name not in SOLVERS:
        raise InputError(f"solver {name!r} is unknown; pass one of {', '.join(SOLVERS)}")
    found: Solver = import_module(SOLVERS[name]).solve
    return found
