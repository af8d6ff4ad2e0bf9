"""Loops as machine code, by numba."""

from collections.abc import Callable
from inspect import unwrap
from typing import ParamSpec, TypeVar

import numba

Given = ParamSpec("Given")
Made = TypeVar("Made")

RELAXED = frozenset({"reassoc", "contract", "nsz"})
"""Sums may be taken in any order; infinities and NaN keep their meaning."""


def compiled(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """Compiled at its first call and kept on disk for later processes; runs without the interpreter's lock.

    numba notices changes of the function's own file only: what it calls and the tuples it takes belong there, too.
    """
    return _jit(function, kept=True)


def inner(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """Compiled into the `compiled` functions that call it."""
    return _jit(function, kept=False)


def _jit(function: Callable[Given, Made], kept: bool) -> Callable[Given, Made]:
    # without what checks annotations while tests run: machine code has no room for it
    made: Callable[Given, Made] = numba.njit(cache=kept, nogil=True, error_model="numpy", fastmath=set(RELAXED))(
        unwrap(function)
    )
    return made
