"""The stage that proves sets of rows tile by tile (see `tiles`), and attacks from where the tiles are weakest."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linprog
from torch import Tensor

from aureole.attacks.winners import settle
from aureole.bounds import Ascent, optimise, relax
from aureole.bounds.linear import Parameters
from aureole.core import Why
from aureole.verify.query import Known, Mix, Query
from aureole.verify.solver import Status, solver
from aureole.verify.stages import Stage, judge
from aureole.verify.tiles import Head, Part, head, parts

ERROR = 1e-6
"""Score units by which a solver's bound on one tile is not believed."""


@dataclass(frozen=True)
class Blocks(Stage):
    """A lower bound of each open set's mixed row as a sum over tiles, each a small mixed-integer program.

    exact:   how many relus keep their choice, in one attempt after the other; pools always do
    rounds:  mixing weights tried per set and attempt
    seconds: the longest that one tile may take
    before, with_choices...
    gap:     the share of what a proof is short of that the solver may leave open, all tiles together
    threads: tiles solved at the same time
    most:    with more open sets than this, nothing is tried
    """

    exact: tuple[int, ...] = (100, 600)
    rounds: int = 4
    seconds: float = 2.0
    rounds_without: int = 4
    rounds_with: int = 2
    gap: float = 0.1
    threads: int = 2
    most: int = 12
    solver: str = "highs"
    name: str = "blocks"

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        cut, mixes = head(query.graph), known.open_mixes(query)
        if cut is None or not mixes or len(mixes) > self.most:
            return known
        for exact in self.exact:
            for rows, mix in mixes.items():
                if mix.value <= query.slack and not (known.broken or query.budget.expired):
                    known = self._set(query, known, cut, rows, exact)
            mixes = known.open_mixes(query)
            if known.broken or not mixes or query.budget.expired:
                break
        return judge(query, known, Why.BLOCKS)

    def _set(self, query: Query, known: Known, cut: Head, rows: tuple[int, ...], exact: int) -> Known:
        """Try mixing weights for one set until it is proved or none can do it."""
        mix = known.mixes[rows]
        hidden = query.rows[list(rows)] @ cut.weight
        offsets = query.rows[list(rows)] @ cut.bias
        weights = _start(known, rows, mix)
        met: list[np.ndarray] = []
        for _ in range(self.rounds):
            parameters = _slopes(query, known, rows, weights, mix)
            split = parts(query, known, cut, weights @ hidden, parameters, exact)
            value, images = self._sum(query, split, float(weights @ offsets))
            known = known.mixed(rows, replace(mix, value=max(value, known.mixes[rows].value)))
            if value > query.slack or query.budget.expired:
                return known
            known = known.seen(
                query, settle(query.fast, query.region, query.rows[list(rows)], weights @ hidden, images)
            )
            if known.broken:
                return known
            fallen = sum((cut.hidden(image[None])[0, units] @ hidden[:, units].T for units, image in images), offsets)
            met.append(fallen.numpy())
            best, following = _steepest(met)
            if best <= query.slack or float((following - weights).abs().max()) < 1e-3:
                return known
            weights = following
        return known

    def _sum(
        self, query: Query, split: Sequence[Part], constant: float
    ) -> tuple[float, list[tuple[Tensor, Float[Tensor, "*shape"]]]]:
        """The sum of the tiles' minima, and where each tile takes it; ends as soon as the sum is a proof."""
        floors = [part.floor for part in split]
        short = max(query.slack - constant - sum(floors), 0.0)
        gap = max(self.gap * short / len(split), 1e-5)
        images: list[tuple[Tensor, Tensor]] = []
        for b, bound, image in self._solved(query, split, gap):
            floors[b] = max(floors[b], bound)
            images.append((split[b].units, image))
            if constant + sum(floors) > query.slack:
                break
        return constant + sum(floors), images

    def _solved(
        self, query: Query, split: Sequence[Part], gap: float
    ) -> Iterator[tuple[int, float, Float[Tensor, "*shape"]]]:
        find = solver(self.solver)
        limit = min(self.seconds, query.budget.remaining)

        def minimum(b: int) -> tuple[int, float, Tensor]:
            part, pixels = split[b], split[b].program.encoding.pixels
            if query.budget.expired:
                return b, part.floor, torch.from_numpy(pixels.middle).reshape(pixels.shape)
            program, bound, point = part.program.tightened(part.corner), part.floor, np.zeros(len(pixels.moved))
            for choices in [False] * self.rounds_without + [True] * self.rounds_with:
                asked = program.priced(part.prices)
                asked = asked if choices else replace(asked, integer=np.zeros_like(asked.integer))
                outcome = find(asked, limit, lambda _: False, gap if choices else 0.0)
                if outcome.status is not Status.FAILED and isfinite(outcome.bound):
                    bound = max(bound, program.constant - outcome.bound - ERROR)
                if outcome.solution is None or query.budget.expired:
                    break
                point = outcome.solution
                tighter = program.tightened(point)
                if tighter is program and choices:
                    break
                program = tighter
            return b, bound, pixels.image(point)

        with ThreadPoolExecutor(self.threads) as pool:
            running: list[Future[tuple[int, float, Tensor]]] = [pool.submit(minimum, b) for b in range(len(split))]
            try:
                for done in as_completed(running):
                    yield done.result()
            finally:
                for future in running:
                    future.cancel()


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
