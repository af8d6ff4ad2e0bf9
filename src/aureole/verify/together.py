"""Several questions about one region, settled together: what one of them costs serves the others.

The inner bounds and relaxations are made once, every row that some question needs is bounded once, in one batch, and
every replayed image is shown to all questions. What is then left goes through the method's other stages, question by
question, the time shared fairly.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aureole.bounds.linear import of_rows
from aureole.core import Answer, Budget, Graph, InputError, Region, Rows, Spec, Verdict, Why
from aureole.verify.hints import Hints, Mix, table
from aureole.verify.known import Known
from aureole.verify.prove import COMPLETE, Portfolio, conclude, contradiction
from aureole.verify.query import Query
from aureole.verify.stages import PART, Climb, Ranges, Screen, Stage, every_parameter, judge


@dataclass(frozen=True, eq=False)
class Questions:
    """One query per spec over one shared graph.

    whole:   the query about every row of every spec; its own verdict means nothing
    members: the rows of each spec among them
    """

    whole: Query
    each: tuple[Query, ...]
    members: tuple[Int[Tensor, "..."], ...]

    @classmethod
    def ask(
        cls,
        graph: Graph,
        region: Region,
        specs: Sequence[Spec],
        budget: Budget,
        seed: int,
        device: torch.device | str = "cpu",
        hints: Hints | None = None,
    ) -> "Questions":
        """InputError in one line for what `Query.ask` refuses, and without any spec.

        hints: about the rows of all specs, one spec after the other, and in `each` about every spec
        """
        if not specs:
            raise InputError("no specs were given; pass at least one")
        rows = [table(spec, graph.classes) for spec in specs]
        merged, place = torch.unique(torch.cat(rows), dim=0, return_inverse=True)
        members = place.split([len(r) for r in rows])
        told = None
        if hints is not None:
            first = place.new_full((len(merged),), len(place))
            first = first.scatter_reduce(0, place, torch.arange(len(place)), "amin")
            told = hints.about(merged[place], first)
        whole = Query.ask(graph, region, Rows(merged[:, :-1], merged[:, -1], 1), budget, seed, told, device)
        constants = torch.zeros(len(merged), dtype=torch.float64)  # Query.ask has put them into the graph
        own = hints.each if hints is not None and len(hints.each) == len(specs) else [None] * len(specs)
        each = tuple(
            replace(
                whole, spec=s, inner=Rows(whole.rows[m], constants[m], s.order), rows=whole.rows[m], table=merged[m],
                hints=mine,
            )
            for s, m, mine in zip(specs, members, own, strict=True)
        )  # fmt: skip
        return cls(whole, each, members)


EFFORT = tuple(Why)
"""Reasons, the one that says most about a conjunction last."""

Deduce = Callable[[Sequence[Known]], Sequence[Known]]
"""What follows for all questions from what is known of each."""


class Work:
    """What is known of every question so far; lives for one call of `settle`."""

    def __init__(self, questions: Questions, deduce: Deduce) -> None:
        self.questions = questions
        self.whole = Known.told(questions.whole)
        self.each = [replace(Known.told(query), starts=self.whole.starts) for query in questions.each]
        self.why = [Why.ATTACK for _ in questions.each]
        self.calls: list[Counter[str]] = [Counter() for _ in questions.each]
        self.spent: dict[str, float] = {}  # seconds of each stage, on all questions
        self.alone: dict[int, Mix] = {}  # the best bound of single rows
        self.lowest = torch.full((len(questions.whole.rows),), torch.inf, dtype=torch.float64)
        self._deduce = deduce

    @classmethod
    def until(
        cls,
        questions: Questions,
        method: Portfolio,
        deduce: Deduce = lambda known: known,
        enough: Callable[["Work"], bool] = lambda work: False,
    ) -> "Work":
        """The method's stages on all questions, until these are settled, or it is `enough`, or Ctrl-C."""
        work = cls(questions, deduce)
        for image in (questions.whole.region.center[0], *work.whole.starts):
            work.show(image, range(len(work.each)))
        try:
            for stage in method.stages:
                if not work.open or questions.whole.budget.expired or enough(work):
                    break
                work.run(stage)
        except KeyboardInterrupt:
            work.interrupted()
        return work

    @property
    def open(self) -> list[int]:
        """The questions without a verdict."""
        return [i for i, known in enumerate(self.each) if not known.broken and not known.proved]

    def show(self, image: Float[Tensor, "*shape"], judges: Sequence[int], why: Why = Why.ATTACK) -> None:
        """Replay an image once and let questions judge it.

        judges: their numbers; those that hints have proved must see an image, too
        """
        clipped, scores = self.questions.whole.replayed(image)
        self.lowest = torch.minimum(self.lowest, self.questions.whole.spec.values(scores))
        for i in judges:
            self.each[i] = self.each[i].judged(self.questions.each[i], clipped, scores)
            if self.each[i].broken:
                self.why[i] = why

    def run(self, stage: Stage) -> None:
        """One stage for every open question."""
        clock = self.questions.whole.budget.clock
        began = clock()
        try:
            self._run(stage)
        finally:
            self.spent[stage.name] = self.spent.get(stage.name, 0.0) + clock() - began

    def _run(self, stage: Stage) -> None:
        if isinstance(stage, Screen):
            self._screen(stage)
        elif isinstance(stage, Climb):
            self._climb(stage)
        elif isinstance(stage, Ranges):
            if stage.worthwhile(self.questions.whole, self.whole):
                self.whole = stage.tightened(self.questions.whole, self.whole)
                self._climb(replace(stage.climb, name=stage.name))
        else:
            self._one_by_one(stage, stage)

    def _screen(self, stage: Screen) -> None:
        query = self.questions.whole
        self.whole, corners = stage.looked(query, self.whole)
        self._inherit(stage.name)
        if not self.open or query.budget.expired:
            return
        with torch.no_grad():
            scores = torch.cat([query.graph(part) for part in corners.split(PART)])
        self.lowest = torch.minimum(self.lowest, query.inner.values(scores).amin(0))
        for i in self.open:
            worst = self.questions.each[i].inner.margin(scores).argsort()
            self.each[i] = replace(self.each[i], starts=(*self.each[i].starts, *corners[worst[:2]]))
            self.show(corners[worst[0]], self.open)

    def _climb(self, stage: Climb) -> None:
        assert self.whole.lower is not None
        query = self.questions.whole
        wanted = torch.zeros(len(query.rows), dtype=torch.bool)
        for i in self.open:
            wanted[self.questions.members[i]] = True
        # a row that some image brings to zero cannot be proved
        rows = (wanted & (self.lowest > query.slack) & (self.whole.lower <= query.slack)).nonzero().squeeze(1)
        if len(rows):
            part = replace(query, rows=query.rows[rows], table=query.table[rows])
            every = every_parameter(query, self.whole)
            begun = replace(self.whole, lower=self.whole.lower[rows], parameters=of_rows(every, rows), proved=None)
            found = stage.rows(part, begun)
            assert found.lower is not None
            self.alone = {int(rows[n]): mix for (n,), mix in (found.mixes or {}).items()}
            for i, named in found.parameters.items():
                for name, value in named.items():
                    every[i][name][:, rows] = value
            self.whole = replace(self.whole, lower=self.whole.lower.index_copy(0, rows, found.lower), parameters=every)
        self._inherit(stage.name)  # inner bounds may be new though no row was climbed
        self._one_by_one(stage, stage.sets)

    def _inherit(self, name: str) -> None:
        """Every question takes over the bounds of its rows."""
        assert self.whole.lower is not None
        for i in self.open:
            query, members = self.questions.each[i], self.questions.members[i]
            known = replace(
                self.each[i].with_lower(self.whole.lower[members]), bounds=self.whole.bounds,
                relaxations=self.whole.relaxations, parameters=of_rows(self.whole.parameters, members),
            )  # fmt: skip
            if query.spec.order == 1:
                mixes: dict[tuple[int, ...], Mix] = {
                    (n,): self.alone[int(members[n])]
                    for n in known.left(query).tolist()
                    if int(members[n]) in self.alone
                }
                known = known.with_sets(query, mixes)
            self.each[i] = judge(query, known)
            self.calls[i][name] += 1
        self.each = list(self._deduce(self.each))

    def _one_by_one(self, stage: Stage, act: Callable[[Query, Known], Known]) -> None:
        """The questions nearest to a proof first; each has its share of the time that is left."""
        queue = sorted(self.open, key=self._distance)
        for done, i in enumerate(queue):
            budget = self.questions.whole.budget
            if i not in self.open or budget.expired:
                continue
            waiting = sum(j in self.open for j in queue[done:])
            query = replace(self.questions.each[i], budget=budget.at_most(budget.remaining / waiting))
            before = self.each[i].image
            self.each[i] = act(query, self.each[i])
            if act == stage:
                self.calls[i][stage.name] += 1
            if self.each[i].broken:
                self.why[i] = stage.finds
            image = self.each[i].image
            if image is not None and image is not before:
                self.show(image, self.open, stage.finds)
            if self.each[i].proved:
                self.each = list(self._deduce(self.each))
            if self.each[i].open_because is Why.INTERRUPTED:  # the stage kept what it knew; no other question is asked
                raise KeyboardInterrupt

    def interrupted(self) -> None:
        """What is open stays so because of Ctrl-C."""
        for i in self.open:
            self.each[i] = replace(self.each[i], open_because=Why.INTERRUPTED, trouble="interrupted")

    def _distance(self, i: int) -> float:
        """How far below zero the bound of a question lies."""
        bound = self.each[i].margin_bound(self.questions.each[i].spec.order)
        return torch.inf if bound is None else -bound

    @property
    def hints(self) -> Hints:
        """About the rows of all questions, one question after the other, and about each question."""
        query, place = self.questions.whole, torch.cat(self.questions.members)
        wrong = any(contradiction(own, known) for own, known in zip(self.questions.each, self.each, strict=True))
        each = tuple(known.hints(own) for own, known in zip(self.questions.each, self.each, strict=True))
        images = {id(image): image for hints in each for image in hints.images}
        if wrong:
            return Hints(query.original, images=tuple(images.values()))
        return replace(
            self.whole.hints(query).about(query.table, place),
            images=tuple(images.values()),
            each=tuple(replace(hints, images=()) for hints in each),
        )

    def answers(self) -> tuple[Answer, ...]:
        """One per question."""
        return tuple(
            conclude(query, known, why, dict(calls), dict(self.spent))
            for query, known, why, calls in zip(self.questions.each, self.each, self.why, self.calls, strict=True)
        )


def settle(
    questions: Questions, method: Portfolio = COMPLETE, deduce: Deduce = lambda known: known
) -> tuple[Answer, ...]:
    """Run the method's stages on all questions; Ctrl-C ends the work as in `prove`."""
    return Work.until(questions, method, deduce).answers()


def prove_all(
    graph: Graph,
    region: Region,
    specs: Sequence[Spec],
    method: Portfolio = COMPLETE,
    *,
    budget: Budget = Budget(),
    seed: int = 0,
    hints: Hints | None = None,
    device: torch.device | str = "cpu",
) -> Answer:
    """Decide whether all specs hold for every image of `region` (batch 1), as `prove` does for one.

    The margin is the smallest of theirs. VULNERABLE with the first spec found to fail, whose `claim` stands in
    `detail`; ROBUST when all are proved; else UNKNOWN, `detail` naming those left open. InputError as `prove`.

    hints: of an earlier answer about the same graph and the same specs in the same order, used as by `prove`
    """
    questions = Questions.ask(graph, region, specs, budget, seed, device, hints)
    work = Work.until(questions, method, enough=lambda work: any(known.broken for known in work.each))
    answers = work.answers()
    seconds = budget.clock() - questions.whole.started
    calls = dict(sum((Counter(a.calls) for a in answers), Counter()))
    broken = [(s, a) for s, a in zip(specs, answers, strict=True) if a.verdict is Verdict.VULNERABLE]
    if broken:
        spec, worst = min(broken, key=lambda pair: pair[1].margin_seen or 0.0)
        return replace(
            worst,
            hints=work.hints,
            margin_bound=None,
            seconds=seconds,
            calls=calls,
            detail="; ".join(filter(None, [f"fails: {spec.claim}", worst.detail])),
        )
    undecided = [(s, a) for s, a in zip(specs, answers, strict=True) if a.verdict is Verdict.UNKNOWN]
    weakest = min(answers, key=lambda a: torch.inf if a.margin_seen is None else a.margin_seen)
    bounds = [a.margin_bound for a in answers if a.margin_bound is not None]
    hardest = max((a for _, a in undecided) if undecided else answers, key=lambda a: EFFORT.index(a.why))
    return replace(
        weakest,
        hints=work.hints,
        verdict=Verdict.UNKNOWN if undecided else Verdict.ROBUST,
        why=hardest.why,
        margin_bound=min(bounds) if len(bounds) == len(answers) else None,
        seconds=seconds,
        calls=calls,
        detail="; ".join(f"open: {s.claim} ({a.detail})" for s, a in undecided),
    )
