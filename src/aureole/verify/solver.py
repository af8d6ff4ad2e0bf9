"""What every solver of mixed-integer linear programs takes and gives, and how they are chosen by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import wraps
from importlib import import_module
from math import inf
from typing import Concatenate, ParamSpec, Protocol, runtime_checkable

import numpy as np
from scipy.sparse import csr_matrix, diags_array

from aureole.core import InputError

SOLVERS: Mapping[str, str] = {
    "highs": "aureole.verify.highs",
    "scip": "aureole.verify.scip",
    "gurobi": "aureole.verify.gurobi",
}
"""The file behind each name; SCIP and Gurobi are extras of the package."""


FAR = 1024.0
"""A variable whose numbers are larger than so many times its range is counted from its lower limit."""


class Status(Enum):
    """What the solver says; a claim, not yet a verdict."""

    INFEASIBLE = "infeasible"
    SOLUTION = "solution"
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

    def in_units(self) -> tuple["Program", Callable[[np.ndarray], np.ndarray]]:
        """The program in units in which its numbers are near one, and the way back from its solutions.

        The ranges of continuous variables lie in [1, 2) then, and so do the largest coefficients of rows; a variable
        that is far from zero for its range is counted from its lower limit. What stands in the objective keeps its
        unit, and so do the rows that it stands in: these say by how much a spec fails, and their slack is an absolute
        one. Factors are powers of two: this rounds nothing, but what was rounded before may be large in the new units,
        so limits and rows must have given way by that (`encoding._Builder.errors`).

        Tolerances of solvers are absolute. In the network's own units a neuron whose values differ by less than one
        counts as fixed, and one layer up large weights make much of the difference: HiGHS, SCIP and Gurobi called
        programs infeasible that were not (networks whose neurons were rescaled by 1e-6 to 1e6, which changes no score).
        """
        goal, width = self.objective != 0, self.upper - self.lower
        kept = self.integer | goal
        factors = np.where(kept, 1.0, _unit(width))
        far = np.maximum(np.abs(self.lower), np.abs(self.upper)) > FAR * width
        begins = np.where(far & ~kept, self.lower, 0.0)
        matrix = csr_matrix(self.matrix @ diags_array(factors))
        largest = abs(matrix).max(axis=1).toarray().ravel() if matrix.shape[0] else np.empty(0)
        shares = np.where(abs(self.matrix) @ goal.astype(float) > 0, 1.0, 1 / _unit(largest))
        scaled = replace(
            self,
            matrix=csr_matrix(diags_array(shares) @ matrix),
            row_lower=shares * (self.row_lower - self.matrix @ begins),
            row_upper=shares * (self.row_upper - self.matrix @ begins),
            lower=(self.lower - begins) / factors,
            upper=(self.upper - begins) / factors,
        )
        return scaled, lambda solution: begins + factors * solution


def _unit(sizes: np.ndarray) -> np.ndarray:
    """The largest power of two that is at most each number; 1 for 0."""
    return np.exp2(np.floor(np.log2(np.where(sizes > 0, sizes, 1.0))))


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


P = ParamSpec("P")


def in_units(
    solve: Callable[Concatenate[Program, float, Enough, P], Outcome],
) -> Callable[Concatenate[Program, float, Enough, P], Outcome]:
    """The solver, given every program in other units (`Program.in_units`); what is not finite fails."""

    @wraps(solve)
    def scaled(program: Program, seconds: float, enough: Enough, /, *args: P.args, **more: P.kwargs) -> Outcome:
        if not program.finite:
            return Outcome(Status.FAILED, None, inf)
        inner, back = program.in_units()
        outcome = solve(inner, seconds, lambda solution: enough(back(solution)), *args, **more)
        return outcome if outcome.solution is None else replace(outcome, solution=back(outcome.solution))

    return scaled


@runtime_checkable
class Solver(Protocol):
    """A way to solve programs."""

    def __call__(self, program: Program, seconds: float, enough: Enough, gap: float = 0.0) -> Outcome:
        """Search until done, until the time is over, or until `enough` accepts an improving solution.

        Done is also a bound within `gap` of the best solution.

        Infeasible means so beyond the solver's tolerances, which are at most 1e-7. After Ctrl-C the status is
        INTERRUPTED.
        """


def solver(name: str) -> Solver:
    """A solver by its name in `SOLVERS`; InputError for another name or a package that is not installed."""
    if name not in SOLVERS:
        raise InputError(f"solver {name!r} is unknown; pass one of {', '.join(SOLVERS)}")
    found: Solver = import_module(SOLVERS[name]).solve
    return found
