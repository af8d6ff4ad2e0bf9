"""The stage that proves sets of rows tile by tile (see `tiles`), and attacks from where the tiles are weakest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linprog
from torch import Tensor

from aureole.bounds import Ascent, optimise
from aureole.bounds.linear import Parameters, cast, of_rows
from aureole.core import Why
from aureole.verify.divide import divide
from aureole.verify.encoding import encode, inexact
from aureole.verify.hints import Mix
from aureole.verify.known import Known
from aureole.verify.query import Query
from aureole.verify.shares import Share, Sum, grow
from aureole.verify.stages import Stage, judge
from aureole.verify.tiles import Head, Tiling, heads
from aureole.verify.tree import Growth, Tree
from aureole.verify.winners import settle

NEAR = 0.05
"""A row alone is preferred to a mix whose bound is better by no more than this share of it."""

HEADROOM, LATE = 0.1, 3
"""After so many turns a tile, ceilings that lie above zero by less than this share of what floors still have to rise
count as too low."""

AGREED = 1e-6
"""Worst images that disagree by less, in pixel units, are one."""


@dataclass(frozen=True)
class Blocks(Stage):
    """A lower bound of each open set's mixed row as a sum over tiles, each searched by branch and bound.

    The tiles with the most room between floor and ceiling grow first, a few at a time, until the floors add up to a
    proof or the ceilings show that they never will; then other mixing weights are tried. Then pixels that several tiles
    see are divided, if these are few, and tiles whose worst images disagree most are joined.

    growth:  of each tile's tree
    trial:   turns for each way to cut the network into tiles, where there are several
    turns:   how often tiles grow for a set; alone, a row has a tenth of that
    share:   of the time left, for rows alone
    weights: mixing weights tried per set, before pixels are divided
    few:     shared pixels are divided if there are no more of them
    halving: share of the time left, for that
    halves:  and so many turns
    joining: share of the time left, until when tiles are joined
    level:   share of the time left, before more tiles are joined
    small:   with so few binaries a MILP is faster than joined tiles, and this stage ends before it joins any
    single:  share of the time left, for a set where there is but one tile and the MILP is as small
    threads: tiles that grow at the same time
    most:    with more open sets than this, nothing is tried
    """

    growth: Growth = field(default_factory=Growth)
    trial: int = 30
    turns: int = 2000
    share: float = 0.4
    weights: int = 4
    few: int = 100
    halving: float = 0.8
    halves: int = 300
    joining: float = 0.8
    level: float = 0.3
    small: int = 200
    single: float = 0.3
    threads: int = 2
    most: int = 64
    finds: ClassVar[Why] = Why.BLOCKS
    name: str = "blocks"

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        cuts, mixes = heads(query.graph), known.open_mixes(query)
        if inexact(query.graph) or len(mixes) > self.most:
            return known
        if not mixes:
            return judge(query, known, Why.BLOCKS)
        tilings = [Tiling.of(query.region, known.bounds, known.relaxations, cut) for cut in cuts]
        tiling, begun = self._tiling(query, known, [tiling for tiling in tilings if tiling is not None])
        if tiling is None:
            return known
        known, grown = self._rows(query, known, tiling, begun)
        mixes = known.open_mixes(query)
        for rows in sorted(mixes, key=lambda rows: mixes[rows].value):
            if known.broken or query.budget.expired:
                break
            if rows not in known.open_mixes(query):
                continue  # closed by a row of its own that another set's search has proved
            known = self._set(query, known, tiling, rows, grown)
            if rows in known.open_mixes(query):
                break  # one open set leaves the question open
        return judge(query, known, Why.BLOCKS)

    def _tiling(self, query: Query, known: Known, ways: Sequence[Tiling]) -> tuple[Tiling | None, Mapping[int, Sum]]:
        """The tiles with which the weakest open set's row has the highest floor after a few turns.

        With what has grown of it, if it is one of the query's.
        """
        mixes = known.open_mixes(query)
        if len(ways) < 2 or not mixes:
            return next(iter(ways), None), {}
        rows, mix = min(mixes.items(), key=lambda item: item[1].value)
        weights = _start(known, rows, mix)
        sums = []
        for tiling in ways:
            sums.append(self._begin(query, known, tiling, weights @ query.rows[list(rows)], mix.parameters))
            self._grow(query, sums[-1], patient=True, most=self.trial)
        best = max(range(len(ways)), key=lambda n: sums[n].floor)
        alone = _alone(rows, weights)
        return ways[best], {} if alone is None else {alone: sums[best]}

    def _rows(
        self, query: Query, known: Known, tiling: Tiling, begun: Mapping[int, Sum]
    ) -> tuple[Known, Mapping[int, Sum]]:
        """Rows that stand in several open sets, alone and all at once: one proof closes all sets of a row.

        With what has grown of them, and what had `begun` to.
        """
        least = (query.graph(torch.stack(_images(query, known))) @ query.rows.T).amin(0)  # met so far
        budget = query.budget.at_most(self.share * query.budget.remaining)
        sums = dict(begun)
        shared = _shared(query, known)
        for row in shared:
            if row in sums or budget.expired or float(least[row]) <= query.slack:
                continue  # late, or some image brings the row to zero
            start = of_rows(known.parameters, slice(row, row + 1))
            sums[row] = self._begin(query, known, tiling, query.rows[row], start)
        growing = {row: total for row, total in sums.items() if row in shared}
        with ThreadPoolExecutor(self.threads) as pool:
            for _ in range(self.turns // 10):
                widest = [share for total in growing.values() for share in total.widest(self.threads)]
                grow(widest, pool, lambda: budget.expired)
                for row, total in list(growing.items()):
                    proved = total.floor > query.slack
                    if proved or total.ceiling <= query.slack or not total.widest(1) or budget.expired:
                        known = known.raised(row, total.floor)
                        del growing[row]
                growing = {row: growing[row] for row in _shared(query, known) if row in growing}
                if not growing:
                    break
        for row, total in growing.items():
            known = known.raised(row, total.floor)
        return known, sums

    def _set(
        self, query: Query, known: Known, tiling: Tiling, rows: tuple[int, ...], grown: Mapping[int, Sum]
    ) -> Known:
        """Try mixing weights for one set until it is proved; tiles are joined where no weights can do it.

        grown: rows alone, from which it goes on if it begins with one of them
        """
        assert known.mixes is not None
        mix, picked, cut = known.mixes[rows], query.rows[list(rows)], tiling.head
        weights, best = _start(known, rows, mix), mix.value
        joining = query.budget.at_most(self.joining * query.budget.remaining)
        here: list[np.ndarray] = []  # the rows' values where these tiles are least
        real = [(query.graph(image[None])[0] @ picked.T).numpy() for image in _images(query, known)]
        part, small, top = query, None, None
        if len(tiling.tiles) == 1 and (small := self._small(query, known)):
            part = replace(query, budget=query.budget.at_most(self.single * query.budget.remaining))
        few = 0 < tiling.shared <= self.few
        alone = _alone(rows, weights)
        begun = None if few or alone is None else grown.get(alone)
        while True:
            last = len(tiling.tiles) == 1 or joining.expired
            total = begun or self._begin(query, known, tiling, weights @ picked, mix.parameters, keep=few)
            begun = None
            self._grow(part, total, patient=last, most=len(total.shares) if few else self.turns)
            value, shares = total.floor, total.shares
            best = max(best, value)
            if top is None or value > top[0]:
                top = value, weights, total
            known = known.mixed(rows, replace(mix, value=best))
            if (alone := _alone(rows, weights)) is not None:
                known = known.raised(alone, value)
            if best > query.slack or query.budget.expired:
                return known
            guesses = [(share.part.tile.units, share.image) for share in shares]
            if not here:
                mixed = weights @ picked @ cut.weight
                guessed = settle(query.graph.to(torch.float32), query.region, picked, mixed, guesses)
                known = known.seen(query, guessed)
                real.append((query.graph(guessed[None])[0] @ picked.T).numpy())
            here.append(_fallen(cut, picked, guesses))
            if known.broken or _steepest(real)[0] <= query.slack:
                return known  # no weights would do
            _, following = _steepest([*real, *here])
            changed = float((following - weights).abs().max()) >= 1e-3
            if changed and len(here) < self.weights and not part.budget.expired:
                weights = following
                continue
            if few:
                few, (_, weights, total) = False, top
                value, known = self._divide(query, known, weights @ picked, total)
                best = max(best, value)
                known = known.mixed(rows, replace(mix, value=best))
                if known.broken or best > query.slack:
                    return known
            if small is None:
                small = self._small(query, known)
            closer = None if joining.expired or small else _joined(tiling, shares)
            if closer is None:
                return known
            tiling, here, part = closer, [], query
            if len(closer.tiles) > 1:
                part = replace(query, budget=query.budget.at_most(self.level * query.budget.remaining))
            weights = top[1]

    def _begin(
        self,
        query: Query,
        known: Known,
        tiling: Tiling,
        scores: Float[Tensor, "classes"],
        start: Parameters,
        keep: bool = False,
    ) -> Sum:
        """A row over the scores before any tile has grown."""
        images = _images(query, known)
        parts = tiling.parts(scores @ tiling.head.weight, _slopes(query, known, scores, start))
        points = [np.stack([part.tile.pixels.point(image) for image in images]) for part in parts]
        shares = [
            Share(part, Tree(part.row, at, self.growth, keep, part.tile.start))
            for part, at in zip(parts, points, strict=True)
        ]
        return Sum(float(scores @ tiling.head.bias), shares)

    def _grow(self, query: Query, total: Sum, patient: bool, most: int) -> None:
        """Until the floor is a proof or will hardly become one.

        patient: there is nothing better to do than to go on as long as a proof is possible
        most:    turns
        """
        with ThreadPoolExecutor(self.threads) as pool:
            for turn in range(most):
                floor, ceiling = total.floor, total.ceiling
                late = not patient and turn > LATE * len(total.shares)
                hopeless = ceiling <= query.slack + late * HEADROOM * (ceiling - floor)
                widest = total.widest(self.threads)
                if floor > query.slack or hopeless or not widest or query.budget.expired:
                    break
                grow(widest, pool, lambda: query.budget.expired)

    def _divide(self, query: Query, known: Known, scores: Float[Tensor, "classes"], total: Sum) -> tuple[float, Known]:
        """A lower bound of a row over the scores, and the worst image met."""
        budget = query.budget.at_most(self.halving * query.budget.remaining)

        def met(image: Float[Tensor, "*shape"]) -> bool:
            nonlocal known
            image, values = query.replayed(image)
            known = known.judged(query, image, values)
            return known.broken or float(scores @ query.graph(image[None])[0]) <= query.slack  # no bound will do

        floor = divide(total, query.slack, self.halves, self.threads, lambda: budget.expired, met)
        return floor, known

    def _small(self, query: Query, known: Known) -> bool:
        suspects = query.rows[known.suspects(query)]
        program = encode(query.graph, query.region, suspects, query.spec.order, known.bounds, query.slack).program
        return program.binaries <= self.small


def _shared(query: Query, known: Known) -> list[int]:
    """The rows that stand in several open sets."""
    counts = Counter(row for rows in known.open_mixes(query) for row in rows)
    return sorted(row for row, count in counts.items() if count > 1)


def _joined(tiling: Tiling, shares: Sequence[Share]) -> Tiling | None:
    """Tiles, pairs that disagree most as one; None where all agree or would be too large."""
    apart = {(n, m): shares[n].apart(shares[m]) for n, m in combinations(range(len(shares)), 2)}
    most, alone, pairs = max(apart.values(), default=0.0), set(range(len(shares))), []
    for n, m in sorted(apart, key=lambda pair: -apart[pair]):
        if {n, m} <= alone and apart[n, m] >= max(most / 2, AGREED):
            pairs.append((n, m))
            alone -= {n, m}
    return tiling.joined(pairs)


def _fallen(
    cut: Head, rows: Float[Tensor, "rows classes"], guesses: Sequence[tuple[Tensor, Tensor]]
) -> Float[np.ndarray, "rows"]:
    """The rows' values with each group of hidden units as it is at its own image."""
    values = rows @ cut.bias
    for units, image in guesses:
        values = values + rows @ cut.weight[:, units] @ cut.hidden(image[None])[0, units]
    return values.numpy()


def _images(query: Query, known: Known) -> list[Float[Tensor, "*shape"]]:
    """Images at which rows may be low."""
    return [query.region.center[0], *known.starts, *([] if known.image is None else [known.image])]


def _start(known: Known, rows: tuple[int, ...], mix: Mix) -> Float[Tensor, "rows"]:
    """The weights of the best linear bound, nearly: those of the mix, or one row alone, which may close other sets."""
    assert known.lower is not None
    alone = known.lower[list(rows)]
    if float(alone.max()) >= mix.value - NEAR * abs(mix.value):
        return torch.nn.functional.one_hot(alone.argmax(), len(rows)).to(alone)
    return mix.weights


def _alone(rows: tuple[int, ...], weights: Float[Tensor, "rows"]) -> int | None:
    """The row that has all of the weight, if one has."""
    return rows[int(weights.argmax())] if float(weights.max()) == 1 else None


def _slopes(query: Query, known: Known, scores: Float[Tensor, "classes"], start: Parameters) -> Parameters:
    """Good slopes for the planes of a row over the scores, from those of a row like it."""
    region = query.fast_region
    found = optimise(
        query.fast, region, scores.to(region.lower)[None, None], query.relaxed(known.bounds), Ascent(steps=20),
        start=cast(start, region.lower) or None,
    )  # fmt: skip
    return cast(found.parameters, scores)


def _steepest(met: Sequence[np.ndarray]) -> tuple[float, Float[Tensor, "rows"]]:
    """The weights that promise the largest bound, by the rows' values met so far (Kelley 1960), and that bound.

    With several tiles the values are of no single image, and a larger bound may still be had.
    """
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
