"""The one exception a user meets when the input is at fault, and words for its messages."""

from collections.abc import Sequence


class InputError(ValueError):
    """Bad input, told in one line: what arrived, what was wanted, what to do next.

    The command line prints the message alone and exits with status 2.
    """


def first_line(error: BaseException) -> str:
    """What another package's exception says, in at most 160 characters; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def unforeseen(error: BaseException) -> str:
    """The type of an unforeseen exception and what it says, on one line, in at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def times(shape: Sequence[int]) -> str:
    """A shape as messages say it: `1x28x28`; no axes, "a single number"."""
    return "x".join(map(str, shape)) or "a single number"
