"""Proving that a spec holds on a region, or breaking it."""

from aureole.verify.properties import Decided, Decision, decide
from aureole.verify.prove import COMPLETE, INCOMPLETE, Portfolio, prove
from aureole.verify.vnnlib import Property, read_vnnlib

__all__ = [
    "COMPLETE",
    "INCOMPLETE",
    "Decided",
    "Decision",
    "Portfolio",
    "Property",
    "decide",
    "prove",
    "read_vnnlib",
]
