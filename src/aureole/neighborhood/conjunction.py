"""Several specs on one region: all must hold."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from aureole.core import Answer, Budget, Graph, Region, Spec, Verdict, Why
from aureole.verify import Portfolio, prove


def prove_all(
    graph: Graph,
    region: Region,
    specs: Sequence[Spec],
    portfolio: Portfolio,
    *,
    budget: Budget,
    query_seconds: float,
    seed: int,
) -> Answer:
    """One answer for the conjunction of the specs, each asked for at most `query_seconds`.

    ROBUST only when every spec is; VULNERABLE as soon as one fails, with its witness; else UNKNOWN for the first
    reason met. `margin_bound` and `margin_seen` are the smallest of the specs'; `why` is the costliest stage needed.
    """
    answers: list[Answer] = []
    for spec in specs:
        answers.append(prove(graph, region, spec, portfolio, budget=budget.at_most(query_seconds), seed=seed))
        if answers[-1].verdict is Verdict.VULNERABLE:
            break
    return answers[0] if len(answers) == 1 else _together(answers)


def _together(answers: Sequence[Answer]) -> Answer:
    last = answers[-1]
    deciding = next((a for a in answers if a.verdict is Verdict.UNKNOWN), None)
    if last.verdict is Verdict.VULNERABLE:
        deciding = last
    if deciding is None:  # all are proved
        deciding = max(answers, key=lambda answer: _COST.index(answer.why))
    bounds = [a.margin_bound for a in answers if a.margin_bound is not None]
    seen = [a for a in answers if a.margin_seen is not None]
    weakest = min(seen, key=lambda a: a.margin_seen or 0.0, default=None)
    calls: Counter[str] = Counter()
    for answer in answers:
        calls.update(answer.calls)
    return replace(
        deciding,
        margin_bound=min(bounds) if len(bounds) == len(answers) else None,
        margin_seen=None if weakest is None else weakest.margin_seen,
        weakest=None if weakest is None else weakest.weakest,
        slack=max(answer.slack for answer in answers),
        seconds=sum(answer.seconds for answer in answers),
        calls=dict(calls),
    )


_COST = tuple(Why)
"""The stages of a proof in the order of their cost: attack, bounds, split, milp."""
