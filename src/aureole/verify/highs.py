"""The one door to HiGHS: a mixed-integer linear program in, an outcome out."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import highspy
import numpy as np
from scipy.sparse import csr_matrix

FEASIBILITY = 1e-7
"""Feasibility and integrality tolerance given to HiGHS, a tenth of the slack that proofs ask for."""

SMALLEST = 1e-12
"""The smallest coefficient that HiGHS is told to keep; a program must not hold smaller ones."""


class Status(Enum):
    """What the solver says; a claim, not yet a verdict."""

    INFEASIBLE = "infeasible"
    SOLUTION = "solution"
    TIME = "time"
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


@dataclass(frozen=True, eq=False)
class Outcome:
    """The solver's status, its best solution if it has one, and its bound on the objective."""

    status: Status
    solution: np.ndarray | None
    bound: float


def solve(program: Program, seconds: float, enough: Callable[[np.ndarray], bool], threads: int = 1) -> Outcome:
    """Run HiGHS until it is done, the time is over, or `enough(solution)` accepts an improving solution."""
    highs = highspy.Highs()
    options = {
        "output_flag": False,
        "threads": threads,
        "time_limit": seconds,
        "mip_feasibility_tolerance": FEASIBILITY,
        "primal_feasibility_tolerance": FEASIBILITY,
        "dual_feasibility_tolerance": FEASIBILITY,
        "mip_rel_gap": 0.0,
        "small_matrix_value": SMALLEST,  # the solver drops what is smaller without a word
        # our attacks find solutions faster than the solver's heuristics, which took half of its time
        "mip_heuristic_effort": 0.0,
        "mip_heuristic_run_feasibility_jump": False,
        "mip_heuristic_run_rins": False,
        "mip_heuristic_run_rens": False,
        "mip_heuristic_run_root_reduced_cost": False,
        "mip_allow_restart": False,
    }
    for name, value in options.items():
        if highs.setOptionValue(name, value) != highspy.HighsStatus.kOk:
            raise RuntimeError(f"this version of HiGHS does not take {name} = {value}")
    if highs.passModel(_model(program)) == highspy.HighsStatus.kError or not np.isfinite(program.matrix.data).all():
        return Outcome(Status.FAILED, None, np.inf)
    accepted: list[np.ndarray] = []

    def on_solution(event: highspy.HighsCallbackEvent) -> None:
        solution = np.array(event.data_out.mip_solution)
        if enough(solution):
            accepted.append(solution)

    def on_pause(event: highspy.HighsCallbackEvent) -> None:
        if accepted:  # only this callback may stop the search
            event.interrupt()

    highs.cbMipImprovingSolution += on_solution
    highs.cbMipInterrupt += on_pause
    highs.run()
    info = highs.getInfo()
    if accepted:
        return Outcome(Status.SOLUTION, accepted[-1], np.inf)
    solution = np.array(highs.getSolution().col_value) if np.isfinite(info.objective_function_value) else None
    solution = solution if solution is not None and len(solution) == len(program.lower) else None
    kinds = highspy.HighsModelStatus
    status = {
        kinds.kInfeasible: Status.INFEASIBLE,
        kinds.kOptimal: Status.SOLUTION,
        kinds.kTimeLimit: Status.TIME,
        kinds.kInterrupt: Status.TIME,
    }.get(highs.getModelStatus(), Status.FAILED)
    if status is Status.INFEASIBLE:  # HiGHS leaves a vector behind here too
        solution = None
    return Outcome(status, solution, float(info.mip_dual_bound))


def _model(program: Program) -> highspy.HighsLp:
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = program.matrix.shape
    lp.col_cost_ = program.objective
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_lower_, lp.col_upper_ = program.lower, program.upper
    lp.row_lower_, lp.row_upper_ = program.row_lower, program.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = program.matrix.indptr
    lp.a_matrix_.index_ = program.matrix.indices
    lp.a_matrix_.value_ = program.matrix.data
    kinds = highspy.HighsVarType
    lp.integrality_ = [kinds.kInteger if flag else kinds.kContinuous for flag in program.integer]
    return lp
