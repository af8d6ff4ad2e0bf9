"""maximize(): one call, several methods."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from aureole.core import Budget, InputError, Verdict
from aureole.core.device import usable
from aureole.neighborhood.bisection import Bisection
from aureole.neighborhood.certificate import Certificate
from aureole.neighborhood.maximal import Maximal
from aureole.neighborhood.method import Method
from aureole.neighborhood.optimum import Optimum
from aureole.neighborhood.oracle import Oracle
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.prover import Progress, Prover
from aureole.neighborhood.result import Neighborhood
from aureole.neighborhood.uniform import Uniform

METHODS: Mapping[str, Method] = {
    "certificate": Certificate(),
    "maximal": Maximal(),
    "optimum": Optimum(),
    "uniform": Uniform(),
    "bisection": Bisection(),
    "oracle": Oracle(),
    "oracle-fixed": Oracle(cutting="fixed"),
    "oracle-flipped": Oracle(cutting="flipped"),
}

DEFAULT = "certificate"


def maximize(
    problem: Problem,
    method: str | Method = DEFAULT,
    *,
    budget: Budget = Budget(),
    seed: int = 0,
    query_seconds: float = 10.0,
    device: torch.device | str = "cpu",
    on_progress: Progress | None = None,
) -> Neighborhood:
    """Large proved radii for the rings of a problem.

    method:        a name from `METHODS` or a method's value; InputError for another name
    budget:        when it ends, the best proved radii so far come back
    query_seconds: the longest a single call to the prover may take; it counts as not robust after that
    device:        where attacks and climbs run; proofs are judged on the CPU (`prove`)
    on_progress:   called with (seconds, best proved size)

    Ctrl-C ends the search, not the program: what is proved comes back with `interrupted` set.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise InputError(f"method {method!r} is unknown; pass one of {', '.join(METHODS)}")
        method = METHODS[method]
    if not query_seconds > 0:
        raise InputError(f"query_seconds is {query_seconds:g}; pass a number of seconds above 0")
    prover = Prover(problem, budget, seed, on_progress, query_seconds=query_seconds, device=usable(device))
    try:
        found = _below_floors(prover) or method.run(prover)
    except KeyboardInterrupt:
        found = replace(prover.finish(look=True), interrupted=True)
    if found.verdict is Verdict.UNKNOWN and not (found.detail or found.interrupted or budget.expired):
        found = replace(found, detail="none were found to be robust before the search ended by itself")
    return replace(found, bands=problem.rings.bands)


def _below_floors(prover: Prover) -> Neighborhood | None:
    """The answer when the floors asked for cannot be had; None when they are proved, or when there are none."""
    floors = prover.problem.floors
    if not bool(floors.any()):
        return None
    answer = prover.check(floors)
    match answer.verdict:
        case Verdict.ROBUST:
            return None
        case Verdict.VULNERABLE:
            detail = "the floors themselves let an image fail; pass smaller floors"
            return replace(
                prover.finish(look=False),
                verdict=Verdict.VULNERABLE,
                weakest=answer.witness,
                weakest_margin=answer.margin_seen,
                detail=detail,
            )
        case _:
            return replace(
                prover.finish(look=False), detail="the floors were not proved in time; pass smaller floors or more time"
            )
