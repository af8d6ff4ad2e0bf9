"""The oracles' cases for the tests of this folder."""

from functools import cache

from tiny import Case, case


@cache
def cases() -> tuple[Case, ...]:
    """A few dozen whose answer is not too close to zero to be told at any scale."""
    return tuple(c for c in map(case, range(0, 80)) if abs(c.least) >= 3e-3)[:40]
