"""Deciding a VNN-LIB property: several boxes, several ways to be unsafe."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.core import Budget, Graph, InputError, Region, Rows, Spec, Verdict, Why
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


def specs(case: Case) -> Iterator[Spec]:
    """Specs that hold exactly when no conjunction of the case does: lone rows together, every other on its own."""
    lone = [unsafe for unsafe in case.unsafe if len(unsafe.rows) == 1]
    if lone:
        yield Rows(torch.cat([u.rows for u in lone]), torch.cat([u.constants for u in lone]), 1)
    yield from (Rows(u.rows, u.constants, len(u.rows)) for u in case.unsafe if len(u.rows) > 1)


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
    First a short look at every query, then all the time for those left open. InputError when the property's inputs
    or outputs are not as many as the network's.
    """
    size = torch.Size(graph.input_shape).numel()
    if (question.inputs, question.outputs) != (size, graph.classes):
        raise InputError(
            f"the property has {question.inputs} inputs and {question.outputs} outputs but the network has {size} and "
            f"{graph.classes}; pass the property of this network"
        )
    queries = [
        (Region(image(low)[None], image(high)[None]), spec, beyond)
        for case in question.cases
        for low, high in [case.ends]
        for spec, beyond in zip(specs(case), specs(case.nudged(CLEARLY)), strict=True)
    ]
    why: Counter[str] = Counter()
    left, detail = list(range(len(queries))), ""
    for portfolio in (INCOMPLETE, method) if len(queries) > 1 else (method,):
        still = []
        for place, i in enumerate(left):
            share = budget.remaining / (len(left) - place)
            region, *asked = queries[i]
            for (
                spec
            ) in asked:  # a tie is no counterexample to a strict comparison; then what fails clearly is asked for
                answer = prove(graph, region, spec, portfolio, budget=budget.at_most(share), seed=seed, device=device)
                if answer.witness is None:
                    break
                scores = graph.replay(answer.witness)
                if question.violated(flat(answer.witness), scores):
                    why[str(answer.why)] += 1
                    return Decided(Decision.SAT, answer.witness, scores, budget.spent, dict(why), answer.detail)
            if spec is not asked[0] and answer.why is not Why.INTERRUPTED:
                still.append(i)
                detail = "a strict comparison was satisfied as a tie alone"
                continue
            if answer.verdict is Verdict.ROBUST:
                why[str(answer.why)] += 1
            else:
                still.append(i)
                detail = answer.detail
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
