"""The stage that proves sets of rows tile by tile (see `tiles`), and attacks from where the tiles are weakest."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linprog
from torch import Tensor

from aureole.bounds import Ascent, optimise, relax
from aureole.bounds.linear import Parameters
from aureole.core import Why
from aureole.verify.query import Known, Mix, Query
from aureole.verify.solver import Status, solver
from aureole.verify.stages import Stage, judge
from aureole.verify.tiles import Head, Part, head, parts
from aureole.verify.winners import settle

ERROR = 1e-6
"""Score units by which a solver's bound on one tile is not believed."""

LINEAR = 0.5
"""Seconds for a linear program; nearly all take a few hundredths, and one that does not may be cycling."""

SPARE = 1.02
"""Tiles are asked for a little more than needed."""


@dataclass(frozen=True)
class Effort:
    """One pass over the tiles.

    linear:  rounds of facets with all choices relaxed
    whole:   rounds with the choices of pools and of some relus
    seconds: the longest that the solver may look at a tile with its choices
    gap:     what it may leave open then in all tiles together, as a share of what is short
    """

    linear: int
    whole: int
    seconds: float
    gap: float


@dataclass(frozen=True)
class Blocks(Stage):
    """A lower bound of each open set's mixed row as a sum over tiles, each a small mixed-integer program.

    What a proof is short of is shared among the tiles by their room. The search in a tile ends when its floor has risen
    by its share, or when it has found how low the tile really falls; then the others have to rise further.

    efforts: one pass over the tiles after the other
    exact:   so many relus keep their choice, those that cost the planes most; pools always do
    weights: mixing weights tried per set
    threads: tiles looked at at the same time
    most:    with more open sets than this, nothing is tried
    """

    efforts: tuple[Effort, ...] = (
        Effort(5, 0, 0.0, 0.0), Effort(2, 1, 1.0, 0.3), Effort(2, 2, 2.0, 0.05), Effort(0, 2, 10.0, 0.02),
    )  # fmt: skip
    exact: int = 32
    weights: int = 4
    threads: int = 2
    most: int = 16
    solver: str = "highs"
    name: str = "blocks"

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        cut, mixes = head(query.graph), known.open_mixes(query)
        if cut is None or len(mixes) > self.most:
            return known
        known = self._rows(query, known, cut)
        mixes = known.open_mixes(query)
        for rows in sorted(mixes, key=lambda rows: mixes[rows].value):
            if known.broken or query.budget.expired:
                break
            known = self._set(query, known, cut, rows)
            if rows in known.open_mixes(query):
                break  # one open set leaves the question open
        return judge(query, known, Why.BLOCKS)

    def _rows(self, query: Query, known: Known, cut: Head) -> Known:
        """Rows that stand in several open sets, alone: one proof closes all of them."""
        assert known.lower is not None
        for row in known.lower.argsort(descending=True).tolist():
            if sum(row in rows for rows in known.open_mixes(query)) < 2 or query.budget.expired:
                continue
            start = {i: {n: v[:, row : row + 1] for n, v in p.items()} for i, p in known.parameters.items()}
            value, _ = self._sum(query, known, cut, query.rows[row], start, self.efforts[:2])
            known = known.raised(row, value)
        return known

    def _set(self, query: Query, known: Known, cut: Head, rows: tuple[int, ...]) -> Known:
        """Try mixing weights for one set until it is proved or none can do it."""
        assert known.mixes is not None
        mix, picked = known.mixes[rows], query.rows[list(rows)]
        weights, best = _start(known, rows, mix), mix.value
        met: list[np.ndarray] = []
        for _ in range(self.weights):
            value, split = self._sum(query, known, cut, weights @ picked, mix.parameters, self.efforts)
            best = max(best, value)
            known = known.mixed(rows, replace(mix, value=best))
            if best > query.slack or query.budget.expired:
                return known
            guesses = [(part.units, part.image) for part in split]
            guessed = settle(query.fast, query.region, picked, weights @ picked @ cut.weight, guesses)
            known = known.seen(query, guessed)
            if known.broken:
                return known
            fallen = picked @ cut.bias
            for part in split:
                fallen = fallen + picked @ cut.weight[:, part.units] @ cut.hidden(part.image[None])[0, part.units]
            met.append(fallen.numpy())
            promised, following = _steepest(met)
            if promised <= query.slack or float((following - weights).abs().max()) < 1e-3:
                return known
            weights = following
        return known

    def _sum(
        self, query: Query, known: Known, cut: Head, scores: Float[Tensor, "classes"], start: Parameters,
        efforts: Sequence[Effort],
    ) -> tuple[float, Sequence[Part]]:  # fmt: skip
        """A lower bound of a row over the scores, and its parts."""
        row, constant = scores @ cut.weight, float(scores @ cut.bias)
        parameters = _slopes(query, known, scores, start)
        split: Sequence[Part] = parts(query, known, cut, row, parameters, self.exact)
        best = constant + sum(part.floor for part in split)
        for effort in efforts:
            split = self._pass(query, known, cut, split, row, constant, effort)
            best = max(best, constant + sum(part.floor for part in split))
            hopeless = constant + sum(part.ceiling for part in split) <= query.slack
            if best > query.slack or hopeless or query.budget.expired:
                break
        return best, split

    def _pass(
        self, query: Query, known: Known, cut: Head, split: Sequence[Part], row: Float[Tensor, "hidden"],
        constant: float, effort: Effort,
    ) -> list[Part]:  # fmt: skip
        """Better floors for the tiles; ends as soon as their sum is a proof."""
        image = known.image if known.image is not None else query.region.center[0]
        split = [replace(part, ceiling=min(part.ceiling, part.value(cut, row, image))) for part in split]
        if constant + sum(part.ceiling for part in split) <= query.slack:  # no floors can add up to a proof
            return split
        short = query.slack + len(split) * ERROR - constant - sum(part.floor for part in split)
        room = sum(part.room for part in split)
        share = min(SPARE * short / room, 1.0) if room > 0 else 1.0
        gap = max(effort.gap * short / len(split), 1e-5)
        with ThreadPoolExecutor(self.threads) as pool:
            running = {
                pool.submit(
                    self._raised, query, cut, split[b], row, split[b].floor + share * split[b].room, effort, gap
                ): b
                for b in sorted(range(len(split)), key=lambda b: -split[b].room)
                if split[b].room > ERROR
            }
            for done in as_completed(running):
                split[running[done]] = done.result()
                if constant + sum(part.floor for part in split) > query.slack:
                    pool.shutdown(wait=False, cancel_futures=True)
                    break
        return split

    def _raised(
        self,
        query: Query,
        cut: Head,
        part: Part,
        row: Float[Tensor, "hidden"],
        target: float,
        effort: Effort,
        gap: float,
    ) -> Part:
        """A tile with its floor at the target or, if it can fall below, with its ceiling there."""
        if not len(part.program.encoding.program.row_upper):  # linear in the pixels: its plane is exact
            return replace(part, ceiling=part.floor)
        for _ in range(effort.linear):
            part, tightened = self._solved(query, cut, part, row, target, LINEAR, None)
            if not tightened or part.floor >= target - ERROR:
                break
        for _ in range(effort.whole):
            if query.budget.expired or part.floor >= target - ERROR or part.room <= 2 * gap:
                break
            part, tightened = self._solved(query, cut, part, row, target, effort.seconds, gap)
            if not tightened:
                break
        return part

    def _solved(
        self, query: Query, cut: Head, part: Part, row: Float[Tensor, "hidden"], target: float, seconds: float,
        gap: float | None,
    ) -> tuple[Part, bool]:  # fmt: skip
        """A tile after one look of the solver, without choices if `gap` is None; and whether new facets were found."""
        program = part.program.priced(part.prices)
        if gap is None:
            program = replace(program, integer=np.zeros_like(program.integer))
        goal = part.program.constant - target - ERROR
        limit = min(seconds, query.budget.remaining)
        outcome = solver(self.solver)(program, limit, _never, gap or 0.0, goal)
        if outcome.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if outcome.status is not Status.FAILED and isfinite(outcome.bound):
            part = replace(part, floor=max(part.floor, part.program.constant - outcome.bound - ERROR))
        # a linear program that ran out of time leaves no point of its polytope behind
        if outcome.solution is None or (gap is None and outcome.status is not Status.SOLUTION):
            return part, False
        part = replace(part, solution=outcome.solution)
        tighter = part.program.tightened(outcome.solution)
        part = replace(part, ceiling=min(part.ceiling, part.value(cut, row, part.image)))
        return replace(part, program=tighter), tighter is not part.program


def _never(solution: np.ndarray) -> bool:
    return False


def _start(known: Known, rows: tuple[int, ...], mix: Mix) -> Float[Tensor, "rows"]:
    """The weights of the best linear bound: those of the mix, or one row alone."""
    assert known.lower is not None
    alone = known.lower[list(rows)]
    if float(alone.max()) >= mix.value:
        return torch.nn.functional.one_hot(alone.argmax(), len(rows)).to(alone)
    return mix.weights


def _slopes(query: Query, known: Known, scores: Float[Tensor, "classes"], start: Parameters) -> Parameters:
    """Good slopes for the planes of a row over the scores, from those of a row like it."""
    single = torch.float32
    bounds = {i: interval.to(single) for i, interval in known.bounds.items()}
    begin = {i: {n: v.to(single) for n, v in named.items()} for i, named in start.items()}
    found = optimise(
        query.fast, query.region.to(single), scores.to(single)[None, None], relax(query.fast, bounds),
        Ascent(steps=20), start=begin or None,
    )  # fmt: skip
    return {i: {n: v.to(torch.float64) for n, v in named.items()} for i, named in found.parameters.items()}


def _steepest(met: Sequence[np.ndarray]) -> tuple[float, Float[Tensor, "rows"]]:
    """The weights that could still give the largest bound, by the rows' values met so far (Kelley 1960)."""
    count = len(met[0])
    found = linprog(
        np.append(np.zeros(count), -1.0),
        A_ub=np.column_stack([-np.array(met), np.ones(len(met))]),
        b_ub=np.zeros(len(met)),
        A_eq=np.append(np.ones(count), 0.0)[None],
        b_eq=[1.0],
        bounds=[*[(0.0, 1.0)] * count, (None, None)],
    )
    weights = torch.from_numpy(found.x[:count]).clamp(min=0)
    return float(found.x[-1]), weights / weights.sum()
