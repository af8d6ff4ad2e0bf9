"""Deciding a VNN-LIB property: several boxes, several ways to be unsafe."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.core import Answer, Budget, Graph, InputError, Region, Rows, Spec, Verdict, Why
from aureole.verify.hints import Hints
from aureole.verify.prove import COMPLETE, INCOMPLETE, Portfolio, prove
from aureole.verify.vnnlib import Case, Property


class Decision(StrEnum):
    """The competition's words: unsat says that no counterexample exists, sat that one was found."""

    UNSAT = "unsat"
    SAT = "sat"
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"


@dataclass(frozen=True, eq=False)
class Decided:
    """What is known about a property when the work ends.

    witness: with SAT, an image of the graph inside a box that the original model finds unsafe
    scores:  what the original model gives for it
    why:     what decided each query (or left it open), counted
    detail:  one line about the queries left open, or what is to be known about the witness
    interrupted: Ctrl-C ended the work
    """

    decision: Decision
    witness: Float[Tensor, "*shape"] | None = None
    scores: Float[Tensor, "classes"] | None = None
    seconds: float = 0.0
    why: Mapping[str, int] = field(default_factory=dict)
    detail: str = ""
    interrupted: bool = False


CLEARLY = 1e-6
"""Score units: by so much strict comparisons hold where a tie was found first."""

TIE = "what was found satisfies the assertions only as a tie, or up to rounding"


def specs(case: Case) -> Iterator[Spec]:
    """Specs that hold exactly when no conjunction of the case does: lone rows together, every other on its own."""
    lone = [unsafe for unsafe in case.unsafe if len(unsafe.rows) == 1]
    if lone:
        yield Rows(torch.cat([u.rows for u in lone]), torch.cat([u.constants for u in lone]), 1)
    yield from (Rows(u.rows, u.constants, len(u.rows)) for u in case.unsafe if len(u.rows) > 1)


Query = tuple[Region, Spec]


def _queries(case: Case, image: Callable[[Tensor], Tensor]) -> Iterator[list[Query]]:
    """What to prove of a case, one after the other; each with what to look for where only a tie is found."""
    asked = [case]
    if case.strict and (within := case.within(CLEARLY)) is not None:
        asked.append(within)
    regions = [Region(image(part.lower)[None], image(part.upper)[None]) for part in asked]
    for same in zip(*map(specs, asked), strict=True):
        yield list(zip(regions, same, strict=True))


def decide(
    graph: Graph,
    question: Property,
    image: Callable[[Float[Tensor, "inputs"]], Float[Tensor, "*shape"]],
    flat: Callable[[Float[Tensor, "*shape"]], Float[Tensor, "inputs"]],
    *,
    budget: Budget,
    method: Portfolio = COMPLETE,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Decided:
    """Decide whether some input satisfies a property's assertions.

    image: the property's inputs, in its order, as an image of the graph; flat: the way back
    First a short look at every query, then all the time for those left open, from where that ended. InputError when the
    property's inputs or outputs are not as many as the network's.
    """
    size = torch.Size(graph.input_shape).numel()
    if (question.inputs, question.outputs) != (size, graph.classes):
        raise InputError(
            f"the property has {question.inputs} inputs and {question.outputs} outputs but the network has {size} and "
            f"{graph.classes}; pass the property of this network"
        )
    queries = [query for case in question.cases for query in _queries(case, image)]

    def answered(query: Sequence[Query], portfolio: Portfolio, part: Budget, hints: Hints | None) -> Answer:
        """A witness that satisfies strict comparisons as ties alone is none: then what holds clearly is asked for."""
        for n, (region, spec) in enumerate(query):
            answer = prove(graph, region, spec, portfolio, budget=part, seed=seed, hints=hints, device=device)
            if answer.witness is None and n == 0:
                return answer
            if answer.witness is None:
                break
            if question.violated(flat(answer.witness), graph.replay(answer.witness)):
                return answer
        why = answer.why if answer.why is Why.INTERRUPTED else Why.INCOMPLETE
        return replace(answer, verdict=Verdict.UNKNOWN, why=why, witness=None, detail=TIE)

    why: Counter[str] = Counter()
    left, detail = list(range(len(queries))), ""
    offered: dict[int, Hints] = {}
    for portfolio in (INCOMPLETE, method) if len(queries) > 1 else (method,):
        still = []
        for place, i in enumerate(left):
            share = budget.remaining / (len(left) - place)
            answer = answered(queries[i], portfolio, budget.at_most(share), offered.get(i))
            if answer.witness is not None:
                why[str(answer.why)] += 1
                scores = graph.replay(answer.witness)
                return Decided(Decision.SAT, answer.witness, scores, budget.spent, dict(why), answer.detail)
            if answer.verdict is Verdict.ROBUST:
                why[str(answer.why)] += 1
            else:
                still.append(i)
                offered[i], detail = answer.hints, answer.detail
            if answer.why is Why.INTERRUPTED:
                told = f"interrupted with {len(still) + len(left) - place - 1} of {len(queries)} open"
                return Decided(Decision.UNKNOWN, seconds=budget.spent, why=dict(why), detail=told, interrupted=True)
        left = still
    if not left:
        return Decided(Decision.UNSAT, seconds=budget.spent, why=dict(why))
    decision = Decision.TIMEOUT if budget.expired else Decision.UNKNOWN
    return Decided(
        decision, seconds=budget.spent, why=dict(why), detail=f"{len(left)} of {len(queries)} open: {detail}"
    )
