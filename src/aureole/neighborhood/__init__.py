"""Maximal ringed neighborhoods: the main job, several methods behind one call."""

from aureole.neighborhood.gap import bounded
from aureole.neighborhood.maximize import DEFAULT, METHODS, maximize
from aureole.neighborhood.method import Method
from aureole.neighborhood.objective import OBJECTIVES
from aureole.neighborhood.problem import Problem, named_weights
from aureole.neighborhood.recording import record
from aureole.neighborhood.result import Neighborhood

__all__ = [
    "DEFAULT",
    "METHODS",
    "OBJECTIVES",
    "Method",
    "Neighborhood",
    "Problem",
    "bounded",
    "maximize",
    "named_weights",
    "record",
]
