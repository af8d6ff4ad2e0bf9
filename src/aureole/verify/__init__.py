"""Proving that a spec holds on a region, or breaking it."""

from aureole.verify.prove import COMPLETE, INCOMPLETE, Portfolio, prove

__all__ = ["COMPLETE", "INCOMPLETE", "Portfolio", "prove"]
