"""The prover's stages: each looks at a query and returns what is known after it."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import comb
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aureole.attacks import SmoothPgd
from aureole.attacks.base import Attack
from aureole.bounds import Ascent, choice_bounds, intermediate_bounds, lower_bounds, minimizers, optimise, relax
from aureole.bounds.linear import Parameters, cast, lower_planes, of_rows
from aureole.core import Why
from aureole.core.graph import MaxPool, Relu
from aureole.verify.encoding import encode, inexact
from aureole.verify.hints import Mix
from aureole.verify.known import Known
from aureole.verify.query import Query
from aureole.verify.ranges import Reaching, reach, undecided
from aureole.verify.solver import Status, solver

PART = 128
"""Rows bounded, or images evaluated, at a time: more of them take memory and hear of the time limit late."""


class Stage(ABC):
    """One way to learn more about a query.

    needs_screen: whether it reads what `Screen` finds out
    finds:        what its witnesses are put down to
    """

    needs_screen: ClassVar[bool] = True
    finds: ClassVar[Why] = Why.ATTACK
    name: str

    @abstractmethod
    def __call__(self, query: Query, known: Known) -> Known:
        """What is known afterwards; never less than before.

        A stage that keeps what it knows after Ctrl-C says `open_because=Why.INTERRUPTED`; others may let it through.
        """


@dataclass(frozen=True)
class Screen(Stage):
    """Inner bounds and linear bounds with fixed slopes: which rows can fail at all?"""

    needs_screen: ClassVar[bool] = False
    name: str = "screen"

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        return self.looked(query, known)[0]

    def looked(self, query: Query, known: Known) -> tuple[Known, Float[Tensor, "rows *shape"]]:
        """What is known then, and the corner of the region where each row's linear bound is least.

        Many rows are bounded in parts, until the time is over; what is left has no bound then.
        """
        bounds = intermediate_bounds(query.graph, query.region, known.bounds)
        relaxations = relax(query.graph, bounds)
        lower = query.rows.new_full((len(query.rows),), -torch.inf)
        corners = query.region.center.expand(len(query.rows), *query.region.shape).clone()
        for n, chosen in enumerate(torch.arange(len(query.rows)).split(PART)):
            if n and query.budget.expired:
                break
            values, coefficients = lower_planes(query.graph, query.region, query.rows[None, chosen], relaxations)
            lower[chosen], corners[chosen] = values[0], minimizers(coefficients, query.region)[0]
        known = replace(known, bounds=bounds, relaxations=relaxations).with_lower(lower)
        weakest = lower.argsort()[: query.spec.order + 1]
        return judge(query, replace(known, starts=(*known.starts, *corners[weakest]))), corners


@dataclass(frozen=True)
class Break(Stage):
    """Attack; the images it starts from include the corners that the bounds find weakest."""

    attack: Attack = field(default_factory=SmoothPgd)
    needs_screen: ClassVar[bool] = False
    name: str = "attack"

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        starts = torch.stack(known.starts)[None] if known.starts else None
        found = self.attack(
            query.graph, query.region, query.inner, generator=query.generator, budget=query.budget, starts=starts,
            device=query.device,
        )  # fmt: skip
        return known.seen(query, found.images[0])


def _mixes(
    sets: list[tuple[int, ...]],
    values: Float[Tensor, "sets"],
    weights: Float[Tensor, "sets rows"] | None,
    parameters: Parameters,
) -> dict[tuple[int, ...], Mix]:
    assert weights is not None
    return {
        rows: Mix(
            float(values[n]),
            weights[n],
            of_rows(parameters, slice(n, n + 1)),
        )
        for n, rows in enumerate(sets)
    }


@dataclass(frozen=True)
class Climb(Stage):
    """Optimised bounds: first of each row left, then of every set of rows that could fail together."""

    ascent: Ascent = field(default_factory=lambda: Ascent(steps=40))
    most_sets: int = 64
    name: str = "bounds"

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        known = self.rows(query, known)
        return known if known.proved or query.budget.expired else self.sets(query, known)

    def rows(self, query: Query, known: Known) -> Known:
        """Climb the bound of every row left."""
        assert known.lower is not None
        left, order = known.left(query), query.spec.order
        goal = 2 * query.slack
        enough = len(query.rows) - order + 1  # so many rows proved positive, and the order-th smallest is

        def proved(best: torch.Tensor) -> bool:
            return len(query.rows) - len(left) + int((best > goal).sum()) >= enough

        every = every_parameter(query, known)
        values, _, found = self._optimise(query, known, query.rows[left], proved, of_rows(every, left))
        for i, named in found.items():
            for name, value in named.items():
                every[i][name][:, left] = value
        lower = known.lower.index_copy(0, left, torch.maximum(known.lower[left], values))
        known = replace(known.with_lower(lower), parameters=every)
        if order == 1:
            singles: list[tuple[int, ...]] = [(int(row),) for row in left]
            known = replace(known, mixes=_mixes(singles, lower[left], torch.ones(len(left), 1).to(values), found))
        return judge(query, known)

    def sets(self, query: Query, known: Known) -> Known:
        """Climb the bounds of all sets of rows left that could fail together, unless they are too many."""
        assert known.lower is not None
        left, order, goal = known.left(query), query.spec.order, 2 * query.slack
        if order == 1 or comb(len(left), order) > self.most_sets:
            return known
        earlier = known.mixes or {}
        combinations = list(known.open_mixes(query)) or list(itertools.combinations(left.tolist(), order))
        sets = torch.tensor(combinations)
        values, weights, found = self._optimise(query, known, query.rows[sets], lambda best: bool((best > goal).all()))
        alone = known.lower[sets].amax(-1)  # the largest row is at least that
        before = [earlier[rows].value if rows in earlier else -torch.inf for rows in combinations]
        values = torch.maximum(torch.maximum(values, alone), values.new_tensor(before))
        return judge(query, replace(known, mixes={**earlier, **_mixes(combinations, values, weights, found)}))

    def _optimise(
        self,
        query: Query,
        known: Known,
        rows: torch.Tensor,
        stop: Callable[[torch.Tensor], bool],
        start: Parameters | None = None,
    ) -> tuple[Float[Tensor, "sets"], Float[Tensor, "sets rows"] | None, Parameters]:
        """The bounds, the mixing weights if sets were mixed, and the relaxations' parameters.

        Searched in float32 on the query's device, then evaluated in float64: only that counts.
        """
        found = optimise(
            query.fast, query.fast_region, rows[None].to(query.fast_region.lower), query.relaxed(known.bounds),
            self.ascent, start=start and cast(start, query.fast_region.lower),
            stop=lambda best: query.budget.expired or stop(best),
        )  # fmt: skip
        parameters = cast(found.parameters, query.rows)
        weights = None
        if found.weights is not None:
            weights = found.weights[0].to(query.rows)
            weights = weights / weights.sum(-1, keepdim=True)
            rows = weights.unsqueeze(-1).mul(rows).sum(1)
        values = lower_bounds(query.graph, query.region, rows[None], known.relaxations, parameters or None)[0]
        short = (values <= query.slack).nonzero().squeeze(1)
        if len(short):
            chosen = choice_bounds(query.graph, query.region, rows[short], known.relaxations)
            if chosen is not None:
                values = values.index_copy(0, short, torch.maximum(values[short], chosen))
        return values, weights, parameters


def every_parameter(query: Query, known: Known) -> dict[int, dict[str, Tensor]]:
    """Parameters of every row of the spec: those known, else the default ones."""
    default = {i: relaxation.parameters(len(query.rows)) for i, relaxation in known.relaxations.items()}
    return {
        i: {name: known.parameters.get(i, named).get(name, v).to(v).clone() for name, v in named.items()}
        for i, named in default.items()
    }


@dataclass(frozen=True)
class Ranges(Stage):
    """Inner bounds by branch and bound (`ranges`), and then the rows' and sets' bounds with them.

    Nothing happens where no relus or pools follow the first relus.

    least: inputs of relus and pools that are undecided; with fewer the MILP is faster
    share: of the time that is left, for the inner bounds; large networks would take all of it
    """

    least: int = 100
    share: float = 0.6
    reaching: Reaching = field(default_factory=Reaching)
    climb: Climb = field(default_factory=lambda: Climb(Ascent(steps=20)))
    name: str = "ranges"

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        if not self.worthwhile(query, known):
            return known
        known = self.tightened(query, known)
        return known if query.budget.expired else self.climb(query, known)

    def worthwhile(self, query: Query, known: Known) -> bool:
        """Whether the network is of the kind and large enough."""
        layers = [node for node in query.graph.nodes if isinstance(node.op, Relu | MaxPool)]
        count = sum(len(undecided(node, known.bounds[node.inputs[0]])) for node in layers)
        return len(layers) > 1 and count >= self.least and not inexact(query.graph)

    def tightened(self, query: Query, known: Known) -> Known:
        """The same with tighter inner bounds."""
        budget = query.budget.at_most(self.share * query.budget.remaining)
        bounds = reach(query.graph, query.region, known.bounds, self.reaching, lambda: budget.expired)
        return replace(known, bounds=bounds, relaxations=relax(query.graph, bounds))


@dataclass(frozen=True)
class Milp(Stage):
    """The existence question to a solver. Infeasible with slack to spare is a proof; its images are replayed.

    solver: a name from `solver.SOLVERS`; InputError for another one or a package that is not installed
    attack: goes on from images that fail in the encoding but not when replayed, as where it is a relaxation
    """

    most_seconds: float = float("inf")
    finds: ClassVar[Why] = Why.MILP
    name: str = "milp"
    solver: str = "highs"
    attack: Attack = field(default_factory=lambda: SmoothPgd(steps=12, restarts=0))

    def __post_init__(self) -> None:
        solver(self.solver)

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        suspects = query.rows[known.suspects(query)]
        encoding = encode(query.graph, query.region, suspects, query.spec.order, known.bounds, query.slack)
        improved = [known]

        def enough(solution: np.ndarray) -> bool:
            improved.append(self._met(query, improved[-1], encoding.image(solution)))
            return improved[-1].broken

        outcome = solver(self.solver)(encoding.program, min(self.most_seconds, query.budget.remaining), enough)
        known = improved[-1]
        if outcome.solution is not None and not known.broken:
            known = self._met(query, known, encoding.image(outcome.solution))
        if known.broken:
            return known
        match outcome.status:
            case Status.INFEASIBLE:
                return replace(known.at_least(0.0), proved=Why.MILP)
            case Status.TIME:
                why, trouble = Why.DEADLINE, f"MILP with {encoding.program.binaries} binaries ran out of time"
                # the depth below zero is at most its dual bound; sets that were not asked about are proved positive
                if math.isfinite(outcome.bound) and outcome.bound > 0:
                    known = known.at_least(-outcome.bound - query.slack)
            case Status.SOLUTION if operator := inexact(query.graph):
                why = Why.INCOMPLETE
                trouble = f"{operator} has no exact encoding, and the MILP with its relaxation does not prove the spec"
            case Status.SOLUTION if known.least <= query.slack:
                why = Why.INCOMPLETE
                trouble = (
                    f"an image has a margin of {known.least:.2g}, and with less than {query.slack:.2g} to spare "
                    "nothing is proved, for rounding"
                )
            case Status.SOLUTION:
                why = Why.SOLVER
                trouble = "the MILP's solution does not fail the spec when replayed (within tolerance)"
            case Status.FAILED:
                why, trouble = Why.SOLVER, outcome.trouble or "the MILP solver failed"
            case Status.INTERRUPTED:
                why, trouble = Why.INTERRUPTED, "interrupted while the MILP ran"
        return replace(known, open_because=why, trouble=trouble)

    def _met(self, query: Query, known: Known, image: Float[Tensor, "*shape"]) -> Known:
        """An image of the solver's, and what an attack from there finds."""
        known = known.seen(query, image)
        if known.broken or query.budget.expired:
            return known
        attacked = Break(self.attack)(query, replace(known, starts=(image,)))
        return replace(attacked, starts=known.starts)


def judge(query: Query, known: Known, by: Why = Why.BOUNDS) -> Known:
    """Proved, if the best bound says so."""
    bound = known.margin_bound(query.spec.order)
    return replace(known, proved=by) if bound is not None and bound > query.slack else known
