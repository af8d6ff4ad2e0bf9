"""Which labels are among the k highest on all of a region, on none of it, or on some (the task of MuLLoC).

Every label asks two questions: does it stay in, does it stay out? An image answers one of them for every label, so half
are settled by the first image. The rest share their work (`together`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import torch

from aureole.core import Answer, Budget, Graph, OutOfTopK, Region, TopK, Verdict, Why
from aureole.verify.known import Known
from aureole.verify.prove import COMPLETE, Portfolio
from aureole.verify.together import EFFORT, Questions, settle


class Standing(StrEnum):
    """Where a label is on the images of a region: IN and OUT are proved, BOTH has an image of either kind."""

    IN = "in"
    OUT = "out"
    BOTH = "both"
    UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class LabelAnswer:
    """What is known of one label when the work ends.

    stays_in:  the answer to `TopK(label, k)`; its witness is an image on which the label is not in
    stays_out: the answer to `OutOfTopK(label, k)`; its witness is an image on which the label is in

    A tie for the last place breaks both: it counts as in and as out.
    """

    label: int
    stays_in: Answer
    stays_out: Answer

    @property
    def standing(self) -> Standing:
        """In, out, both, or unknown when one of the two questions is open."""
        match self.stays_in.verdict, self.stays_out.verdict:
            case Verdict.ROBUST, _:
                return Standing.IN
            case _, Verdict.ROBUST:
                return Standing.OUT
            case Verdict.VULNERABLE, Verdict.VULNERABLE:
                return Standing.BOTH
        return Standing.UNKNOWN

    @property
    def deciding(self) -> Answer:
        """The answer that says most: the proof, else the open question, else the change that was harder to find."""
        sides = (self.stays_in, self.stays_out)
        for verdict in (Verdict.ROBUST, Verdict.UNKNOWN):
            for side in sides:
                if side.verdict is verdict:
                    return side
        return max(sides, key=lambda side: sum(side.calls.values()))

    @property
    def question(self) -> str:
        """What is open about an unknown label, in a few words; else empty."""
        if self.standing is not Standing.UNKNOWN:
            return ""
        sides = (("leave", self.stays_in), ("enter", self.stays_out))
        return f"can it {' or '.join(word for word, side in sides if side.witness is None)}?"

    @property
    def detail(self) -> str:
        """One line for people when the label is unknown: what was seen of it and what is open."""
        if self.standing is not Standing.UNKNOWN:
            return ""
        seen = [word for word, side in (("in", self.stays_out), ("out", self.stays_in)) if side.witness is not None]
        return f"seen {' and '.join(seen) or 'on no image'}; {self.question} {self.deciding.detail}"


@dataclass(frozen=True, eq=False)
class Labels:
    """The standing of every label, in the order of the scores."""

    k: int
    answers: tuple[LabelAnswer, ...]
    seconds: float

    @property
    def settled(self) -> int:
        """How many labels are not unknown."""
        return sum(answer.standing is not Standing.UNKNOWN for answer in self.answers)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C left something open."""
        return any(
            side.why is Why.INTERRUPTED for answer in self.answers for side in (answer.stays_in, answer.stays_out)
        )


def classify_labels(
    graph: Graph,
    region: Region,
    k: int,
    method: Portfolio = COMPLETE,
    *,
    budget: Budget = Budget(),
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Labels:
    """Say of every label whether it is among the k highest scores on all images of `region`, on none, or on some.

    `region` is one box. IN and OUT as ROBUST in `prove`, BOTH by two replayed images. The budget is for all labels
    together. Where the proofs of some labels leave no other place for the rest, counting proves those (`counted`).
    InputError as `prove`.

    The task: Mour and Drachsler-Cohen, SAS 2024.
    """
    count = graph.classes
    specs = [TopK(label, k) for label in range(count)] + [OutOfTopK(label, k, count) for label in range(count)]
    questions = Questions.ask(graph, region, specs, budget, seed, device)
    answers = settle(questions, method, deduce=lambda known: counted(known, k))
    labels = tuple(LabelAnswer(label, answers[label], answers[count + label]) for label in range(count))
    return Labels(k, labels, budget.clock() - questions.whole.started)


def counted(known: Sequence[Known], k: int) -> Sequence[Known]:
    """What follows from proofs by counting; `known` holds "stays in" of every label, then "stays out" of every label.

    Let k labels stay in, each with a margin of at least m. The lowest of them has the k - 1 others above it, so fewer
    than k rows below m leave none for the labels outside: those lie m below all k, and stay out with margin m. If all
    but k labels stay out with margin m, the highest of them has k labels m above it, which are the rest: these stay in.
    """
    count = len(known) // 2
    ins, outs = list(known[:count]), list(known[count:])
    if sum(bool(side.proved) for side in ins) == k:
        outs = _rest(ins, outs, k)
    elif sum(bool(side.proved) for side in outs) == count - k:
        ins = _rest(outs, ins, count - k)
    return (*ins, *outs)


def _rest(proofs: list[Known], others: list[Known], order: int) -> list[Known]:
    """The other side of every label without a proof is proved by the proofs of the rest, of that order."""
    sources = [known for known in proofs if known.proved]
    why = max((known.proved for known in sources if known.proved), key=EFFORT.index)
    margin = min(known.margin_bound(order) or 0.0 for known in sources)
    return [
        replace(other.at_least(margin), proved=why) if not (source.proved or other.proved or other.broken) else other
        for source, other in zip(proofs, others, strict=True)
    ]
