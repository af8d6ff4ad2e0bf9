"""Proved bounds of a network over regions: interval, linear and optimised linear."""

from aureole.bounds.choices import Choices, choice_bounds
from aureole.bounds.intermediate import intermediate_bounds
from aureole.bounds.interval import Bounds, Interval
from aureole.bounds.linear import backward, lower_bounds, minimizers, relax
from aureole.bounds.optimise import Ascent, Optimised, optimise
from aureole.bounds.simplex import simplex_bounds

__all__ = [
    "Ascent",
    "Bounds",
    "Choices",
    "Interval",
    "Optimised",
    "backward",
    "choice_bounds",
    "intermediate_bounds",
    "lower_bounds",
    "minimizers",
    "optimise",
    "relax",
    "simplex_bounds",
]
