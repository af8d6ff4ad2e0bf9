"""Branch and bound over a sum of maxima: how low can it fall? Many cases are bounded at once, by gradient.

A case is divided where its bound gives away most at the point where it is least: into the candidates of one maximum
that the row wants high, or into halves of one pixel's range. Children begin with their parent's parameters and are
never bounded worse than it. float32 climbs, float64 bounds.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aureole.verify.cases import PIECES, Boxes, Cases, Pieces, Seen, bound
from aureole.verify.maxima import Layer, Maxima

RATES: Mapping[str, float] = MappingProxyType({"mixes": 0.4, "unit": 0.15, "prices": 0.25})
"""Learning rates of logits, of slopes and planes, and of prices in units of what the cells' relus can change."""

END = 0.1
"""Rates fall to this share of their first value."""

DECIDED = 1e-9
"""What a maximum that is still open counts at least, in score units, where the bound gives nothing away."""

NARROW = 1e-3
"""Ranges of pixels are not halved below this half width (1 is the region's)."""

LAZY = 3
"""The climb looks for the cells' least pieces anew in every so many steps."""

WORTH = 0.03
"""A division must be about so large a share of what the case gives away; else the climb has not arrived yet."""

AGAIN, FINISHED = -1, -2
"""In place of what to divide: climb on, or nothing is left to do."""


@dataclass(frozen=True)
class Growth:
    """How a tree grows.

    root, steps, again: steps of the climb at the root, in later cases, and where dividing is of no use yet
    batch: cases bounded at once, fewer (but four) where they hold more than so many `numbers` together
    rate:  of the climb in later cases, in units of the root's
    """

    root: int = 24
    steps: int = 6
    again: int = 60
    batch: int = 48
    numbers: int = 3_000_000
    rate: float = 0.3


@dataclass(frozen=True, eq=False)
class Leaves:
    """Cases with their proved bounds, and what to do with each: a maximum, a pixel (after these), AGAIN, FINISHED."""

    cases: Cases
    values: Float[Tensor, "cases"]
    divided: Int[Tensor, "cases"]


class Tree:
    """One search; grows by `grow` as long as its owner wants.

    points:  tried as minima at first
    floor:   a proved lower bound of the row
    ceiling: the row's value at `point`, the worst one met; no floor can be higher
    count:   cases bounded so far
    """

    def __init__(self, row: Maxima, points: Float[Tensor, "points pixels"], growth: Growth = Growth()) -> None:
        self._exact, self._row, self._growth = row, row.to(torch.float32), growth
        values = row.at(points)[0]
        self.point, self.ceiling = points[values.argmin()], float(values.min())
        self.count = 0
        self._heap: list[tuple[float, int, int, Leaves]] = []  # value, number (for ties), place among its leaves
        self._units = sum(len(layer.constants) for layer in row.layers)
        self._reach = torch.empty(0)
        held = row.cells.weight.numel() * 2**PIECES + sum(layer.slopes.numbers // 8 for layer in row.layers)
        self._batch = max(4, min(growth.batch, growth.numbers // max(held, 1)))

    @property
    def floor(self) -> float:
        """The least bound of an open case; cases that lie above the ceiling are gone."""
        if not self.count:
            return -inf
        return min(self._heap[0][0], self.ceiling) if self._heap else self.ceiling

    @property
    def done(self) -> bool:
        """Whether nothing is left to divide below the ceiling."""
        if not self.count:
            return False
        return not self._heap or self._heap[0][0] >= self.ceiling or self._due == FINISHED

    def grow(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Bound the whole, at first; later climb on or divide where the bound is lowest, as far as a batch goes.

        stop: ends the climb early; what it has by then counts
        """
        if not self.count:
            root = Cases.whole(self._row)
            self._reach = _reach(self._row, root)
            self._add(root, torch.full((1,), -torch.inf, dtype=torch.float64), self._growth.root, 1.0, stop)
            return
        parents: list[tuple[Cases, Tensor]] = []
        tired: list[tuple[Cases, Tensor]] = []
        room = self._batch
        while self._heap and room > 0 and self._due != FINISHED:
            value, _, place, leaves = heapq.heappop(self._heap)
            case, divided = leaves.cases[place], int(leaves.divided[place])
            cases = case if divided == AGAIN else self._children(case, divided)
            (tired if divided == AGAIN else parents).append(
                (cases, torch.full((len(cases),), value, dtype=torch.float64))
            )
            room -= len(cases)
        if parents:
            self._add(*_joined(parents), self._growth.steps, self._growth.rate, stop)
        if tired:
            self._add(*_joined(tired), self._growth.again, 1.0, stop, again=True)

    @property
    def _due(self) -> int:
        """What is to be done with the lowest case."""
        _, _, place, leaves = self._heap[0]
        return int(leaves.divided[place])

    def _add(
        self,
        cases: Cases,
        inherited: Float[Tensor, "cases"],
        steps: int,
        rate: float,
        stop: Callable[[], bool],
        again: bool = False,
    ) -> None:
        climbed = self._climb(cases, steps, rate, stop)
        with torch.no_grad():
            precise = climbed.to(torch.float64)
            proved = bound(self._exact, precise, Boxes.of(self._exact, precise)).nan_to_num(-torch.inf, -torch.inf)
        leaves = Leaves(climbed, torch.maximum(proved, inherited), self._next(climbed, again))
        for place, value in enumerate(leaves.values.tolist()):
            if value < self.ceiling:
                heapq.heappush(self._heap, (value, self.count + place, place, leaves))
        self.count += len(cases)

    def _climb(self, cases: Cases, steps: int, rate: float, stop: Callable[[], bool]) -> Cases:
        """The best parameters that a climb meets."""
        row, boxes = self._row, Boxes.of(self._row, cases)
        free = {
            "mixes": [t.clone().requires_grad_(True) for t in cases.mixes],
            "unit": [t.clone().requires_grad_(True) for t in (*cases.planes, cases.slopes)],
            "prices": [torch.zeros_like(cases.prices, requires_grad=True)],
        }
        adam = torch.optim.Adam([{"params": free[name]} for name in RATES], betas=(0.7, 0.95), foreach=True)
        best, kept = torch.full((len(cases),), -torch.inf), cases
        pieces: Pieces | None = None
        for step in range(steps + 1):
            now = replace(
                cases, mixes=tuple(free["mixes"]), planes=tuple(free["unit"][:-1]), slopes=free["unit"][-1],
                prices=cases.prices + free["prices"][0] * self._reach,
            )  # fmt: skip
            fresh, seen = pieces is None or (steps - step) % LAZY == 0, Seen()
            values = bound(row, now, boxes, seen=seen, pieces=None if fresh else pieces)
            pieces = next(iter(seen.pieces), None)
            if fresh:
                with torch.no_grad():
                    kept = _better(values > best, now, kept)
                    best = torch.maximum(best, values)
                if step == steps or not values.requires_grad or stop() or bool((best > self.ceiling).all()):
                    break
            adam.zero_grad(set_to_none=True)
            (-values.sum()).backward()
            for group, first in zip(adam.param_groups, RATES.values(), strict=True):
                group["lr"] = first * rate * END ** (step / steps)
            adam.step()
            with torch.no_grad():
                for values_in_unit in free["unit"]:
                    values_in_unit.clamp_(0, 1)
        return kept

    def _next(self, cases: Cases, again: bool) -> Int[Tensor, "cases"]:
        """What to do with each case. The points where the bounds are least are tried as the row's minimum, too."""
        row, boxes, seen = self._row, Boxes.of(self._row, cases), Seen()
        if not row.pixels:
            return torch.full((len(cases),), FINISHED)
        shift = torch.zeros_like(cases.lower, requires_grad=True)
        bounds = bound(row, cases, boxes, shift, seen)
        (points,) = torch.autograd.grad(bounds.sum(), shift)
        with torch.no_grad():
            points = torch.maximum(torch.minimum(points, cases.upper), cases.lower)
            values, candidates = row.at(points)
            self._try(points[values.argmin()].to(torch.float64))
            given = [
                _given_away(*falling, z, layer, allowed)
                for falling, z, layer, allowed in zip(
                    reversed(seen.falling), candidates, row.layers, cases.allowed, strict=True
                )
            ]
            most, divided = torch.cat([*given, self._by_pixel(points, boxes, seen)], 1).max(1)
            if not again:
                return torch.where(most > WORTH * (values - bounds), divided, AGAIN)
            return torch.where(most > 0, divided, FINISHED)

    def _try(self, point: Float[Tensor, "pixels"]) -> None:
        value = float(self._exact.at(point[None])[0])
        if value < self.ceiling:
            self.ceiling, self.point = value, point

    def _by_pixel(
        self, points: Float[Tensor, "cases pixels"], boxes: Boxes, seen: Seen
    ) -> Float[Tensor, "cases pixels"]:
        """What cells give away, laid to the pixels that it may come from; -1 for ranges that are narrow."""
        cells, given = self._row.cells, torch.zeros_like(points)
        if not seen.cells:
            return given - 1
        v, tilt, shares, lines, least = seen.cells[0]
        here, z = points[:, cells.pixels] * cells.real, self._row.inner(points)
        lost = ((v * z.relu()).sum(-1) + (shares * here).sum(-1) - least).clamp(min=0)
        copies = boxes.cell_middle * cells.real - boxes.cell_half * lines.sign()
        # copies that do not agree, and lines that are not at their relus
        off = (v * z.relu() - tilt * z).abs() * boxes.unstable
        apart = (lines * (copies - here)).abs()
        apart = apart + torch.einsum("nck,ckq->ncq", off, cells.weight.abs()) * boxes.cell_half
        apart = apart / apart.sum(-1, keepdim=True).clamp(min=1e-12) * lost.unsqueeze(-1)
        given = given.index_add(1, cells.pixels.flatten(), apart.flatten(1))
        return torch.where((boxes.half > NARROW) & (given > DECIDED), given, -1.0)

    def _children(self, parent: Cases, divided: int) -> Cases:
        if divided >= self._units:
            pixel = divided - self._units
            lower, upper = parent.lower.repeat(2, 1), parent.upper.repeat(2, 1)
            middle = (lower[0, pixel] + upper[0, pixel]) / 2
            upper[0, pixel], lower[1, pixel] = middle, middle
            return replace(parent.map(lambda t: t.expand(2, *t.shape[1:])), lower=lower, upper=upper)
        i, unit = 0, divided
        while unit >= len(self._row.layers[i].constants):
            unit -= len(self._row.layers[i].constants)
            i += 1
        winners = parent.allowed[i][0, unit].nonzero().squeeze(1)
        cases = parent.map(lambda t: t.expand(len(winners), *t.shape[1:]))
        one = torch.nn.functional.one_hot(winners, parent.allowed[i].shape[2])
        allowed, planes = list(cases.allowed), list(cases.planes)
        allowed[i], planes[i] = allowed[i].clone(), planes[i].clone()
        allowed[i][:, unit], planes[i][:, unit] = one > 0, one.to(planes[i])
        return replace(cases, allowed=tuple(allowed), planes=tuple(planes))


def _joined(parts: list[tuple[Cases, Tensor]]) -> tuple[Cases, Float[Tensor, "cases"]]:
    return Cases.cat([cases for cases, _ in parts]), torch.cat([values for _, values in parts])


def _given_away(
    falling: Tensor, plane: Tensor, rest: Tensor, z: Tensor, layer: Layer, allowed: Tensor
) -> Float[Tensor, "cases units"]:
    """What the planes above the maxima cost at points; -1 for maxima that are decided or not wanted high."""
    cost = -falling * ((plane * z).sum(-1) + rest - layer.largest(z))
    return torch.where((falling < 0) & (allowed.sum(-1) > 1), cost.clamp(min=0) + DECIDED, -1.0)


def _reach(row: Maxima, cases: Cases) -> Float[Tensor, "cells inputs"]:
    """By how much the cells' relus could change their pixels' coefficients, in a typical case: the prices' unit."""
    if not len(row.cells):
        return torch.zeros_like(row.cells.share)
    with torch.no_grad():
        seen = Seen()
        bound(row, cases, Boxes.of(row, cases), None, seen)
    return (seen.cells[0][0][0].unsqueeze(-1) * row.cells.weight).abs().sum(1)


def _better(better: Tensor, new: Cases, old: Cases) -> Cases:
    """The new parameters where they are better."""

    def pick(n: Tensor, o: Tensor) -> Tensor:
        return torch.where(better.reshape(-1, *(1,) * (n.ndim - 1)), n.detach(), o)

    def each(name: str) -> tuple[Tensor, ...]:
        return tuple(pick(n, o) for n, o in zip(getattr(new, name), getattr(old, name), strict=True))

    return replace(
        old, mixes=each("mixes"), planes=each("planes"), prices=pick(new.prices, old.prices),
        slopes=pick(new.slopes, old.slopes),
    )  # fmt: skip
