"""Proving that a spec holds on a region, or breaking it."""

from aureole.verify.hints import Hints
from aureole.verify.labels import LabelAnswer, Labels, Standing, classify_labels
from aureole.verify.portfolios import MILP, PORTFOLIOS, portfolio
from aureole.verify.properties import Decided, Decision, decide
from aureole.verify.prove import COMPLETE, INCOMPLETE, Portfolio, prove
from aureole.verify.solver import SOLVERS
from aureole.verify.together import prove_all
from aureole.verify.tree import prepare
from aureole.verify.vnnlib import Property, read_vnnlib

__all__ = [
    "COMPLETE",
    "INCOMPLETE",
    "MILP",
    "PORTFOLIOS",
    "SOLVERS",
    "Decided",
    "Decision",
    "Hints",
    "LabelAnswer",
    "Labels",
    "Portfolio",
    "Property",
    "Standing",
    "classify_labels",
    "decide",
    "portfolio",
    "prepare",
    "prove",
    "prove_all",
    "read_vnnlib",
]
