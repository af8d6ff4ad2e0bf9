"""The one door to Gurobi (gurobipy, the extra `gurobi`): a mixed-integer linear program in, an outcome out."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aureole.core import InputError
from aureole.verify.attend import attend
from aureole.verify.solver import Enough, Outcome, Program, Status, in_units

try:
    import gurobipy
except ImportError as missing:
    raise InputError("solver 'gurobi' needs the gurobipy package; pip install 'aureole[gurobi]'") from missing

FEASIBILITY = 1e-9
"""Feasibility, integrality and optimality tolerance given to Gurobi: the smallest it takes."""

SMALLEST = 1e-13
"""Gurobi drops smaller coefficients without a word."""


@in_units
def solve(program: Program, seconds: float, enough: Enough, gap: float = 0.0) -> Outcome:
    """`Solver` by Gurobi on one thread."""
    try:
        return attend(_Search(program.without(2 * SMALLEST), seconds, gap), enough, seconds)
    except gurobipy.GurobiError as error:
        return Outcome(Status.FAILED, None, np.inf, _told(error, program))


def _told(error: gurobipy.GurobiError, program: Program) -> str:
    if error.errno == gurobipy.GRB.Error.SIZE_LIMIT_EXCEEDED:
        rows, columns = program.matrix.shape
        return (
            f"Gurobi's free licence stops at 2000 variables and 2000 rows, this program has {columns} and {rows}; "
            "use a full licence or another solver"
        )
    return f"Gurobi: {' '.join(str(error).split())}"


class _Search:
    def __init__(self, program: Program, seconds: float, gap: float) -> None:
        # freed with the search, not by `with`: its thread may go on for a while when `attend` no longer waits
        self._env = gurobipy.Env(params={"OutputFlag": 0})
        self._model = model = gurobipy.Model(env=self._env)
        options: dict[str, float] = {
            "TimeLimit": seconds,
            "Threads": 1,
            "FeasibilityTol": FEASIBILITY,
            "IntFeasTol": FEASIBILITY,
            "OptimalityTol": FEASIBILITY,
            "MIPGap": 0.0,
            "MIPGapAbs": gap,
        }
        for name, value in options.items():
            model.setParam(name, value)
        kinds = np.where(program.integer, gurobipy.GRB.INTEGER, gurobipy.GRB.CONTINUOUS)
        self._variables = model.addMVar(len(kinds), lb=program.lower, ub=program.upper, vtype=kinds)
        model.setObjective(program.objective @ self._variables, gurobipy.GRB.MAXIMIZE)
        for side, sense in ((program.row_upper, "<"), (program.row_lower, ">")):
            rows = np.flatnonzero(np.isfinite(side))
            if len(rows):
                model.addMConstr(program.matrix[rows], self._variables, sense, side[rows])

    def stop(self) -> None:
        self._model.terminate()

    def run(self, report: Callable[[np.ndarray], None]) -> Outcome:
        model, kinds = self._model, gurobipy.GRB

        def hear(_: Any, where: int) -> None:
            if where == kinds.Callback.MIPSOL:
                report(np.array(model.cbGetSolution(self._variables)))

        model.optimize(hear)
        status = {
            kinds.INFEASIBLE: Status.INFEASIBLE,
            kinds.INF_OR_UNBD: Status.INFEASIBLE,  # every variable is bounded
            kinds.OPTIMAL: Status.SOLUTION,
            kinds.TIME_LIMIT: Status.TIME,
            kinds.INTERRUPTED: Status.INTERRUPTED,
        }.get(model.Status, Status.FAILED)
        best = None
        if status is not Status.INFEASIBLE and model.SolCount > 0:
            best = np.array(self._variables.X)
        bound = float(model.ObjBound) if model.IsMIP or status is Status.SOLUTION else np.inf
        return Outcome(status, best, bound)
