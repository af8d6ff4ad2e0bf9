"""Portfolios by name: what a user may ask `prove` to do."""

from collections.abc import Mapping
from dataclasses import replace

from aureole.core import InputError
from aureole.verify.prove import COMPLETE, INCOMPLETE, Portfolio
from aureole.verify.stages import Milp, Screen

MILP = Portfolio((Screen(), Milp()))
"""Bounds with fixed slopes, then the MILP: a second opinion that shares little with the other ways."""

PORTFOLIOS: Mapping[str, Portfolio] = {"complete": COMPLETE, "incomplete": INCOMPLETE, "milp": MILP}


def portfolio(name: str, solver: str = "highs") -> Portfolio:
    """A portfolio from `PORTFOLIOS` whose MILP goes to a solver from `solver.SOLVERS`.

    InputError for a name that is unknown, a solver whose package is not installed, or one that would not be asked.
    """
    if name not in PORTFOLIOS:
        raise InputError(f"method {name!r} is unknown; pass one of {', '.join(PORTFOLIOS)}")
    found = PORTFOLIOS[name]
    if solver == Milp().solver:
        return found
    if not any(isinstance(stage, Milp) for stage in found.stages):
        raise InputError(f"method {name!r} asks no solver; leave solver {solver!r} away or choose another method")
    stages = (replace(stage, solver=solver) if isinstance(stage, Milp) else stage for stage in found.stages)
    return Portfolio(tuple(stages))
