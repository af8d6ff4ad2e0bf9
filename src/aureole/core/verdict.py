"""Verdicts and answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jaxtyping import Float
from torch import Tensor


class Verdict(StrEnum):
    """ROBUST only when proved, VULNERABLE only with a replayed witness, everything else UNKNOWN."""

    ROBUST = "ROBUST"
    VULNERABLE = "VULNERABLE"
    UNKNOWN = "UNKNOWN"


class Why(StrEnum):
    """What decided the verdict, or why nothing did; what says most about several answers comes last."""

    ATTACK = "attack"  # an attack found the witness, or the clean image is one
    BOUNDS = "bounds"  # linear bounds proved the spec
    SPLIT = "split"  # linear bounds of smaller and smaller boxes proved the spec, or found the witness
    BLOCKS = "blocks"  # branch and bound proved the spec, or found the witness
    LOCAL = "local"  # local search by small programs found the witness
    MILP = "milp"  # the solver proved infeasibility, or found the witness
    INCOMPLETE = "incomplete"  # every method asked for has ended, none decided
    SOLVER = "solver"  # the solver gave up or gave an answer that did not hold
    DEADLINE = "deadline"  # the time ran out
    INTERRUPTED = "interrupted"  # Ctrl-C


@dataclass(frozen=True, eq=False)
class Answer:
    """What is known about a spec on a region when the work ends.

    verdict:      see `Verdict`
    why:          what decided it
    margin_bound: a proved lower bound of the margin over the region, in score units; None when none was computed
    margin_seen:  the smallest margin met at an image inside the region (replayed); None when none was tried
    witness:      an image inside the region where the replayed margin is <= 0, with VULNERABLE only
    weakest:      the image where `margin_seen` was met
    slack:        what the deciding bound had to exceed, in score units
    seconds:      wall-clock time
    calls:        how often each stage ran
    stage_seconds: wall-clock time of each stage; of all questions, where several were asked together
    hints:        a value that `prove` takes for the next question about the same network
    detail:       one line for people: why the verdict is UNKNOWN, or what is to be known about the witness
    """

    verdict: Verdict
    why: Why
    margin_bound: float | None = None
    margin_seen: float | None = None
    witness: Float[Tensor, "*shape"] | None = None
    weakest: Float[Tensor, "*shape"] | None = None
    slack: float = 0.0
    seconds: float = 0.0
    calls: Mapping[str, int] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    detail: str = ""
    hints: Any = field(default=None, repr=False)
