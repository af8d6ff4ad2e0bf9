"""Proving that a spec holds on a region, or breaking it."""

from aureole.verify.portfolios import MILP, PORTFOLIOS, portfolio
from aureole.verify.properties import Decided, Decision, decide
from aureole.verify.prove import COMPLETE, INCOMPLETE, Portfolio, prove
from aureole.verify.solver import SOLVERS
from aureole.verify.vnnlib import Property, read_vnnlib

__all__ = [
    "COMPLETE",
    "INCOMPLETE",
    "MILP",
    "PORTFOLIOS",
    "SOLVERS",
    "Decided",
    "Decision",
    "Portfolio",
    "Property",
    "decide",
    "portfolio",
    "prove",
    "read_vnnlib",
]
