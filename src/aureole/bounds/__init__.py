"""Proved bounds of a network over regions: interval, linear and optimised linear."""

from aureole.bounds.intermediate import intermediate_bounds
from aureole.bounds.interval import Bounds, Interval
from aureole.bounds.linear import backward, lower_bounds, minimizers, relax
from aureole.bounds.optimise import Ascent, Optimised, optimise

__all__ = [
    "Ascent",
    "Bounds",
    "Interval",
    "Optimised",
    "backward",
    "intermediate_bounds",
    "lower_bounds",
    "minimizers",
    "optimise",
    "relax",
]
