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


@dataclass(frozen=True)
class Effort:
    """How hard to try a tile.

    linear: rounds of facets for the relus without a choice, all choices relaxed
    whole:  rounds with the choices
    gap:    the share of what the proof is short of that the solver may leave open, all tiles together
    """

    linear: int
    whole: int
    gap: float


@dataclass(frozen=True)
class Blocks(Stage):
    """A lower bound of each open set's mixed row as a sum over tiles, each a small mixed-integer program.

    efforts: one pass over the tiles after the other, each going on from the last
    exact:   so many relus keep their choice, those that cost the planes most; pools always do
    weights: mixing weights tried per set
    seconds: the longest that a solver may look at a tile
    threads: tiles looked at at the same time
    most:    with more open sets than this, nothing is tried
    """

    efforts: tuple[Effort, ...] = (Effort(5, 1, 0.3), Effort(2, 2, 0.05))
    exact: int = 32
    weights: int = 4
    seconds: float = 2.0
    threads: int = 2
    most: int = 12
    solver: str = "highs"
    name: str = "blocks"

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        cut, mixes = head(query.graph), known.open_mixes(query)
        if cut is None or len(mixes) > self.most:
            return known
        for rows in sorted(mixes, key=lambda rows: mixes[rows].value):
            if known.broken or query.budget.expired:
                break
            known = self._set(query, known, cut, rows)
        return judge(query, known, Why.BLOCKS)

    def _set(self, query: Query, known: Known, cut: Head, rows: tuple[int, ...]) -> Known:
        """Try mixing weights for one set until it is proved or none can do it."""
        assert known.mixes is not None
        mix = known.mixes[rows]
        hidden, offsets = query.rows[list(rows)] @ cut.weight, query.rows[list(rows)] @ cut.bias
        weights, best = _start(known, rows, mix), mix.value
        met: list[np.ndarray] = []
        for _ in range(self.weights):
            parameters = _slopes(query, known, rows, weights, mix)
            split = parts(query, known, cut, weights @ hidden, parameters, self.exact)
            constant = float(weights @ offsets)
            for effort in self.efforts:
                split = self._pass(query, known, cut, split, weights @ hidden, constant, effort)
                best = max(best, constant + sum(part.floor for part in split))
                known = known.mixed(rows, replace(mix, value=best))
                if best > query.slack or query.budget.expired:
                    return known
                guesses = [(part.units, part.image) for part in split]
                known = known.seen(
                    query, settle(query.fast, query.region, query.rows[list(rows)], weights @ hidden, guesses)
                )
                if known.broken:
                    return known
                values = torch.stack([cut.hidden(part.image[None])[0, part.units] for part in split])
                reached = constant + sum(
                    float(value @ (weights @ hidden)[part.units]) + part.paid for value, part in zip(values, split)
                )
                if reached <= query.slack:  # the sum cannot exceed that, however hard we try
                    break
            fallen = offsets + sum(hidden[:, part.units] @ value for value, part in zip(values, split, strict=True))
            met.append(fallen.numpy())
            promised, following = _steepest(met)
            if promised <= query.slack or float((following - weights).abs().max()) < 1e-3:
                return known
            weights = following
        return known

    def _pass(
        self, query: Query, known: Known, cut: Head, split: Sequence[Part], row: Float[Tensor, "hidden"],
        constant: float, effort: Effort,
    ) -> list[Part]:  # fmt: skip
        """Better floors for the tiles; ends as soon as their sum is a proof."""
        split = list(split)
        short = max(query.slack - constant - sum(part.floor for part in split), 0.0)
        gap = max(effort.gap * short / len(split), 1e-5)
        # first the tiles whose floor is furthest below what they come to at the weakest image known
        image = known.image if known.image is not None else query.region.center[0]
        hidden, moved = cut.hidden(image[None])[0], (image - query.region.center[0]).flatten().numpy()
        room = [float(row[p.units] @ hidden[p.units]) + float(p.prices @ moved) - p.floor for p in split]
        with ThreadPoolExecutor(self.threads) as pool:
            running = {
                pool.submit(self._improved, query, split[b], effort, gap): b
                for b in sorted(range(len(split)), key=lambda b: -room[b])
            }
            for done in as_completed(running):
                split[running[done]] = done.result()
                if constant + sum(part.floor for part in split) > query.slack:
                    pool.shutdown(wait=False, cancel_futures=True)
                    break
        return split

    def _improved(self, query: Query, part: Part, effort: Effort, gap: float) -> Part:
        if not len(part.program.encoding.program.row_upper):  # linear in the pixels: its plane is exact
            return part
        find = solver(self.solver)
        for whole in [False] * effort.linear + [True] * effort.whole:
            if query.budget.expired:
                break
            program = part.program.priced(part.prices)
            if not whole:
                program = replace(program, integer=np.zeros_like(program.integer))
            limit = min(self.seconds, query.budget.remaining)
            outcome = find(program, limit, lambda _: False, gap if whole else 0.0)
            if outcome.status is not Status.FAILED and isfinite(outcome.bound):
                part = replace(part, floor=max(part.floor, part.program.constant - outcome.bound - ERROR))
            if outcome.solution is None:
                break
            part = replace(part, solution=outcome.solution)
            tighter = part.program.tightened(outcome.solution)
            if tighter is part.program and whole:
                break
            part = replace(part, program=tighter)
        return part


def _start(known: Known, rows: tuple[int, ...], mix: Mix) -> Float[Tensor, "rows"]:
    """The weights of the best linear bound: those of the mix, or one row alone."""
    assert known.lower is not None
    alone = known.lower[list(rows)]
    if float(alone.max()) >= mix.value:
        return torch.nn.functional.one_hot(alone.argmax(), len(rows)).to(alone)
    return mix.weights


def _slopes(query: Query, known: Known, rows: tuple[int, ...], weights: Tensor, mix: Mix) -> Parameters:
    """Good slopes for the planes of a mix, from those of the set's best one."""
    single = torch.float32
    row = (weights @ query.rows[list(rows)]).to(single)
    bounds = {i: interval.to(single) for i, interval in known.bounds.items()}
    start = {i: {n: v.to(single) for n, v in named.items()} for i, named in mix.parameters.items()}
    found = optimise(
        query.fast, query.region.to(single), row[None, None], relax(query.fast, bounds), Ascent(steps=20), start=start
    )
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
