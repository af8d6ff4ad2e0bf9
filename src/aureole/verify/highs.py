"""The one door to HiGHS: a mixed-integer linear program in, an outcome out."""

from collections.abc import Callable
from threading import Event

import highspy
import numpy as np

from aureole.verify.attend import attend
from aureole.verify.solver import Enough, Outcome, Program, Status, in_units

FEASIBILITY = 1e-7
"""Feasibility and integrality tolerance given to HiGHS, a tenth of the slack that proofs ask for."""

SMALLEST = 1e-12
"""The smallest coefficient that HiGHS is told to keep (it takes no smaller one)."""


@in_units
def solve(program: Program, seconds: float, enough: Enough, gap: float = 0.0, stop: Event | None = None) -> Outcome:
    """`Solver` by HiGHS on one thread; `stop`, set by another one, ends the search, too."""
    return attend(_Search(program.without(2 * SMALLEST), seconds, gap, stop), enough, seconds)


class _Search:
    def __init__(self, program: Program, seconds: float, gap: float, stopped: Event | None) -> None:
        self.program, self.seconds, self.gap = program, seconds, gap
        self._stopped, self._outside = Event(), stopped or Event()

    def stop(self) -> None:
        self._stopped.set()

    def run(self, report: Callable[[np.ndarray], None]) -> Outcome:
        highs = highspy.Highs()
        for name, value in _options(self.seconds, self.gap).items():
            if highs.setOptionValue(name, value) != highspy.HighsStatus.kOk:
                raise RuntimeError(f"this version of HiGHS does not take {name} = {value}")
        if highs.passModel(_model(self.program)) == highspy.HighsStatus.kError:
            return Outcome(Status.FAILED, None, np.inf)

        def on_solution(event: highspy.HighsCallbackEvent) -> None:
            report(np.array(event.data_out.mip_solution))

        def on_pause(event: highspy.HighsCallbackEvent) -> None:
            if self._stopped.is_set() or self._outside.is_set():  # only these callbacks may stop the search
                event.interrupt()

        highs.cbMipImprovingSolution += on_solution
        highs.cbMipInterrupt += on_pause
        highs.cbSimplexInterrupt += on_pause
        highs.run()
        return self._outcome(highs)

    def _outcome(self, highs: highspy.Highs) -> Outcome:
        info = highs.getInfo()
        solution = np.array(highs.getSolution().col_value) if np.isfinite(info.objective_function_value) else None
        solution = solution if solution is not None and len(solution) == len(self.program.lower) else None
        kinds = highspy.HighsModelStatus
        status = {
            kinds.kInfeasible: Status.INFEASIBLE,
            kinds.kOptimal: Status.SOLUTION,
            kinds.kTimeLimit: Status.TIME,
            kinds.kInterrupt: Status.INTERRUPTED,
        }.get(highs.getModelStatus(), Status.FAILED)
        if status is Status.INFEASIBLE:  # HiGHS leaves a vector behind here too
            solution = None
        if self.program.binaries:
            bound = info.mip_dual_bound
        else:  # a linear program: HiGHS has no bound of its own before the end
            bound = info.objective_function_value if status is Status.SOLUTION else np.inf
        return Outcome(status, solution, float(bound))


def _options(seconds: float, gap: float) -> dict[str, bool | int | float]:
    return {
        "output_flag": False,
        "threads": 1,
        "time_limit": seconds,
        "mip_feasibility_tolerance": FEASIBILITY,
        "primal_feasibility_tolerance": FEASIBILITY,
        "dual_feasibility_tolerance": FEASIBILITY,
        "mip_rel_gap": 0.0,
        "mip_abs_gap": gap,
        "small_matrix_value": SMALLEST,  # the solver drops what is smaller without a word
        # our attacks find solutions faster than the solver's heuristics, which took half of its time
        "mip_heuristic_effort": 0.0,
        "mip_heuristic_run_feasibility_jump": False,
        "mip_heuristic_run_rins": False,
        "mip_heuristic_run_rens": False,
        "mip_heuristic_run_root_reduced_cost": False,
        "mip_allow_restart": False,
    }


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
