"""Attacks: searches for images of a region on which a spec fails."""

from aureole.attacks.base import Attack, Found
from aureole.attacks.smooth import BRIEF, SmoothPgd, SmoothPool, between

__all__ = ["BRIEF", "Attack", "Found", "SmoothPgd", "SmoothPool", "between"]
