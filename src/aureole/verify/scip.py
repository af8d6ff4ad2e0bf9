"""The one door to SCIP (PySCIPOpt, the extra `scip`): a mixed-integer linear program in, an outcome out."""

from collections.abc import Callable
from contextlib import suppress
from threading import Event

import numpy as np

from aureole.core import InputError
from aureole.verify.attend import attend
from aureole.verify.solver import Enough, Outcome, Program, Status, in_units

try:
    import pyscipopt
except ImportError as missing:
    raise InputError("solver 'scip' needs the pyscipopt package; pip install 'aureole[scip]'") from missing

_EVENTS, _STAGES = pyscipopt.scip.PY_SCIP_EVENTTYPE, pyscipopt.scip.PY_SCIP_STAGE

FEASIBILITY = 1e-9
"""Feasibility tolerance given to SCIP, which uses it for integrality too; its own is 1e-6.

The dual one stays at SCIP's 1e-7: below that its LP solver, which goes a thousandth lower at times, complains on
standard output.
"""

SMALLEST = 1e-9
"""SCIP's epsilon: it takes smaller numbers for zero. A smaller epsilon makes it believe its own rounding errors."""


@in_units
def solve(program: Program, seconds: float, enough: Enough, gap: float = 0.0) -> Outcome:
    """`Solver` by SCIP on one thread."""
    return attend(_Search(program.without(2 * SMALLEST), seconds, gap), enough, seconds)


class _Search:
    def __init__(self, program: Program, seconds: float, gap: float) -> None:
        self._model = pyscipopt.Model()
        self._model.hideOutput()
        self._model.setParams(
            {
                "limits/time": min(seconds, 1e20),
                "limits/absgap": gap,
                "numerics/feastol": FEASIBILITY,
                "numerics/sumepsilon": FEASIBILITY,  # 1e-6 otherwise: as much as the slack of a proof
                "misc/catchctrlc": False,  # Python hears it
            }
        )
        self._variables = _build(self._model, program)
        self._stopped = Event()

    def stop(self) -> None:
        self._stopped.set()
        if self._model.getStage() in (_STAGES.PRESOLVING, _STAGES.SOLVING):
            # between the two SCIP refuses; then the next event stops it
            with suppress(Exception):
                self._model.interruptSolve()

    def run(self, report: Callable[[np.ndarray], None]) -> Outcome:
        model = self._model
        listener = _Listener(self._variables, report, self._stopped)
        model.includeEventhdlr(listener, "listener", "tells of improving solutions, stops the search")
        try:
            model.optimizeNogil()
        except Exception as error:  # its linear programs may get stuck in rounding; that is all it says
            return Outcome(Status.FAILED, None, np.inf, " ".join(str(error).split()))
        status = {
            "infeasible": Status.INFEASIBLE,
            "optimal": Status.SOLUTION,
            "gaplimit": Status.SOLUTION,
            "timelimit": Status.TIME,
            "userinterrupt": Status.INTERRUPTED,
        }.get(model.getStatus(), Status.FAILED)
        best = None
        if status is not Status.INFEASIBLE and model.getNSols() > 0:
            best = _values(model, self._variables)
        return Outcome(status, best, float(model.getDualbound()))


class _Listener(pyscipopt.Eventhdlr):
    pauses = _EVENTS.PRESOLVEROUND | _EVENTS.FIRSTLPSOLVED | _EVENTS.LPSOLVED | _EVENTS.NODEFOCUSED

    def __init__(
        self, variables: list[pyscipopt.Variable], report: Callable[[np.ndarray], None], stopped: Event
    ) -> None:
        self.variables, self.report, self.stopped = variables, report, stopped

    def eventinit(self) -> None:
        self.model.catchEvent(_EVENTS.BESTSOLFOUND | self.pauses, self)

    def eventexit(self) -> None:
        self.model.dropEvent(_EVENTS.BESTSOLFOUND | self.pauses, self)

    def eventexec(self, event: pyscipopt.scip.Event) -> None:
        if event.getType() == _EVENTS.BESTSOLFOUND:
            self.report(_values(self.model, self.variables))
        elif self.stopped.is_set():
            self.model.interruptSolve()


def _values(model: pyscipopt.Model, variables: list[pyscipopt.Variable]) -> np.ndarray:
    best = model.getBestSol()
    return np.array([model.getSolVal(best, variable) for variable in variables])


def _build(model: pyscipopt.Model, program: Program) -> list[pyscipopt.Variable]:
    variables = [
        model.addVar(vtype="I" if integer else "C", lb=lower, ub=upper, obj=gain)
        for lower, upper, gain, integer in zip(
            program.lower.tolist(), program.upper.tolist(), program.objective.tolist(), program.integer, strict=True
        )
    ]
    model.setMaximize()
    starts, columns, values = program.matrix.indptr, program.matrix.indices.tolist(), program.matrix.data.tolist()
    zero = model.addVar(vtype="C", lb=0.0, ub=0.0)  # a row is made with a first term, here one that says nothing
    for row, (low, high) in enumerate(zip(program.row_lower.tolist(), program.row_upper.tolist(), strict=True)):
        line = model.addCons(pyscipopt.scip.ExprCons(zero + 0.0, lhs=max(low, -1e20), rhs=min(high, 1e20)))
        for place in range(starts[row], starts[row + 1]):
            model.addCoefLinear(line, variables[columns[place]], values[place])
    return variables
