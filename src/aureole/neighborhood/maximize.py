"""maximize(): one call, several methods."""

from collections.abc import Mapping
from dataclasses import replace

from aureole.core import Budget, InputError
from aureole.neighborhood.bisection import Bisection
from aureole.neighborhood.certificate import Certificate
from aureole.neighborhood.method import Method
from aureole.neighborhood.oracle import Oracle
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.prover import Progress, Prover
from aureole.neighborhood.result import Neighborhood
from aureole.neighborhood.uniform import Uniform

METHODS: Mapping[str, Method] = {
    "certificate": Certificate(),
    "uniform": Uniform(),
    "bisection": Bisection(),
    "oracle": Oracle(),
    "oracle-fixed": Oracle(cutting="fixed"),
    "oracle-flipped": Oracle(cutting="flipped"),
}


def maximize(
    problem: Problem,
    method: str | Method = "certificate",
    *,
    budget: Budget = Budget(),  # noqa: B008  (frozen, without end)
    seed: int = 0,
    query_seconds: float = 10.0,
    on_progress: Progress | None = None,
) -> Neighborhood:
    """Large proved radii for the rings of a problem.

    method:        a name from `METHODS` or a method's value; InputError for another name
    budget:        when it ends, the best proved radii so far come back
    query_seconds: the longest a single call to the prover may take; it counts as not robust after that
    on_progress:   called with (seconds, best proved size)

    Ctrl-C ends the search, not the program: what is proved comes back with `interrupted` set.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise InputError(f"method {method!r} is unknown; pass one of {', '.join(METHODS)}")
        method = METHODS[method]
    prover = Prover(problem, budget, seed, on_progress, query_seconds=query_seconds)
    try:
        return method.run(prover)
    except KeyboardInterrupt:
        return replace(prover.finish(look=True), interrupted=True)
