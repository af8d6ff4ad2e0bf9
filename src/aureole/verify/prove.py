"""prove(): does a spec hold on a whole region?"""

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch

from aureole.attacks import BRIEF
from aureole.core import Answer, Budget, Graph, Region, Spec, Verdict, Why
from aureole.verify.blocks import Blocks
from aureole.verify.choose import Choose
from aureole.verify.hints import Hints
from aureole.verify.known import Known
from aureole.verify.local import Local
from aureole.verify.query import Query
from aureole.verify.split import Split
from aureole.verify.stages import Break, Climb, Milp, Ranges, Screen, Stage


@dataclass(frozen=True)
class Portfolio:
    """Stages in order; the first that decides ends the work."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        for stage in itertools.takewhile(lambda stage: not isinstance(stage, Screen), self.stages):
            if stage.needs_screen:
                raise ValueError(f"{type(stage).__name__} reads the bounds of Screen: put that before it")


COMPLETE = Portfolio(
    (
        Screen(), Break(BRIEF), Climb(), Break(), Ranges(), Choose(), Split(), Blocks(),
        Local(), Milp(),
    )
)  # fmt: skip
"""Cheap looks first, then the expensive ones. Given time, decides every query whose margin is clear of zero by more
than the slack; not all of networks with Sigmoid or Tanh and many inputs, where the MILP is a relaxation."""

INCOMPLETE = Portfolio(tuple(stage for stage in COMPLETE.stages if isinstance(stage, Screen | Break | Climb | Choose)))
"""Attack and bounds alone: fast, may leave queries open."""


def prove(
    graph: Graph,
    region: Region,
    spec: Spec,
    method: Portfolio = COMPLETE,
    *,
    budget: Budget = Budget(),
    seed: int = 0,
    hints: Hints | None = None,
    device: torch.device | str = "cpu",
) -> Answer:
    """Decide whether `spec` holds for every image of `region` (batch 1).

    ROBUST:     a float64 bound of the margin exceeds the slack (`rounding.slack` says why that covers rounding), or
                a solver finds the existence of a failure infeasible even with that slack granted.
    VULNERABLE: an image inside the region, to the last bit, whose margin is <= 0 when replayed through the original
                model (in float64; ONNX models in their own precision).
    UNKNOWN:    everything else, with the reason and the best bound and attack so far.

    Ctrl-C ends the work, not the program: what is known comes back, as UNKNOWN with `why` INTERRUPTED where it does not
    decide. A loop over queries has to look for that.

    hints: of an earlier answer about the same `graph` (`Answer.hints`). Where its region holds this one, what it proved
    holds here too: bounds of inner nodes and, for the same spec, of rows and of sets of rows, boxes that splitting has
    closed, the whole proof. Slopes are a start on any region, for the same rows; its worst image is replayed here, and
    attacks go on from it. A question that was left open goes on where it ended. The verdict cannot suffer.

    device: where attacks and climbs of bounds run, in float32. The search and everything that a verdict rests on run on
    the CPU.

    InputError for a region of another shape than the network's input, a spec that does not fit its classes, or weights
    that are not finite, and for a device that torch does not find.
    """
    query = Query.ask(graph, region, spec, budget, seed, hints, device)
    known = Known.told(query).seen(query, query.region.center[0])
    calls: Counter[str] = Counter()
    spent: dict[str, float] = {}
    why = Why.ATTACK
    for stage in method.stages:
        if known.broken or known.proved or known.open_because is Why.INTERRUPTED or budget.expired:
            break
        calls[stage.name] += 1
        began = budget.clock()
        try:
            known = stage(query, known)
        except KeyboardInterrupt:
            known = replace(known, open_because=Why.INTERRUPTED, trouble=f"interrupted in stage {stage.name}")
        spent[stage.name] = spent.get(stage.name, 0.0) + budget.clock() - began
        if known.broken:
            why = stage.finds
    return conclude(query, known, why, calls, spent)


def contradiction(query: Query, known: Known) -> str:
    """What is wrong with a proof that is refuted by the worst image known; empty where nothing is."""
    bound = known.margin_bound(query.spec.order)
    if bound is None or known.image is None:
        return ""
    met = float(query.inner.margin(query.graph(known.image[None])[0]))
    if bound <= met + query.slack:
        return ""
    return f"a proof says that the margin is at least {bound:g}, but an image has {met:g}; please report this network"


def conclude(
    query: Query, known: Known, why: Why, calls: Mapping[str, int], spent: Mapping[str, float] = MappingProxyType({})
) -> Answer:
    """The answer when the work ends; `why` is what broke the spec, if something did."""
    witness, detail = None, ""
    wrong = contradiction(query, known)
    if known.broken:
        verdict, witness, detail = Verdict.VULNERABLE, known.image, "; ".join(query.original.notes)
    elif known.proved and wrong:
        verdict, why, detail = Verdict.UNKNOWN, Why.INCOMPLETE, wrong
    elif known.proved:
        verdict, why = Verdict.ROBUST, known.proved
    else:
        late = query.budget.expired and known.open_because is not Why.INTERRUPTED
        verdict, why = Verdict.UNKNOWN, Why.DEADLINE if late else known.open_because
        detail = known.trouble or f"{len(known.left(query))} rows left open"
    return Answer(
        verdict,
        why,
        margin_bound=known.margin_bound(query.spec.order),
        margin_seen=known.margin,
        witness=witness,
        weakest=known.image,
        slack=query.slack,
        seconds=query.budget.clock() - query.started,
        calls=dict(calls),
        stage_seconds=dict(spent),
        hints=Known(image=known.image).hints(query) if wrong else known.hints(query),
        detail=detail,
    )
