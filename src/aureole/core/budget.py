"""Budgets: how long a computation may take, passed as a value."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, isnan

from aureole.core.errors import InputError


@dataclass(frozen=True)
class Budget:
    """A deadline on a clock. Work looks at `remaining` and stops with what it has when nothing is left."""

    deadline: float = inf
    start: float = field(default_factory=time.monotonic)
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def seconds(cls, seconds: float = inf, clock: Callable[[], float] = time.monotonic) -> "Budget":
        """A budget that starts now; InputError for NaN."""
        if isnan(seconds):
            raise InputError("a budget of NaN seconds has no end; pass a number")
        now = clock()
        return cls(now + seconds, now, clock)

    @property
    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.deadline - self.clock())

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.start

    @property
    def expired(self) -> bool:
        """Whether nothing is left."""
        return self.remaining <= 0

    def at_most(self, seconds: float) -> "Budget":
        """A budget for a part: it starts now, lasts at most so long and never beyond this one."""
        now = self.clock()
        return Budget(min(self.deadline, now + seconds), now, self.clock)
