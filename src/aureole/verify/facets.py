"""Facets of the hulls of relus and maxima over the box of the variables below them.

A relaxation that knows only the interval of z loses that z is a function of variables with limits of their own. The
hulls have too many facets to write down, but the one that a point violates most is found by sorting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

Facet = tuple[np.ndarray, np.ndarray, float]
"""Columns, values and limit of a row `values @ variables[columns] <= limit`."""

TINY = 1e-12
TOLERANCE = 1e-6


@runtime_checkable
class Hull(Protocol):
    """Something whose facets can be asked for."""

    def facet(self, point: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Facet | None:
        """The facet that a point violates most, for variables between `lower` and `upper`; None if it violates none."""


@dataclass(frozen=True, eq=False)
class Triangle:
    """A relu that has no choice variable: y between relu(z) and a chord, z = values @ variables[columns] + constant."""

    y: int
    columns: np.ndarray
    values: np.ndarray
    constant: float

    def facet(self, point: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Facet | None:
        """See `Hull`; Tjandraatmadja et al. 2020.

        With t_i the position of variable i between its end where z is low (0)
        and where it is high (1), and d_i what z gains from 0 to 1, the concave envelope of relu(z) is the least of
        sum over I of d_i t_i + (u - sum over I of d_i) t_h: the smallest t first, until d adds up to u = max z.
        """
        low, high = lower[self.columns], upper[self.columns]
        start = np.where(self.values > 0, low, high)
        gain = np.abs(self.values) * (high - low)
        top = self.constant + float(np.abs(self.values) @ np.where(self.values > 0, high, -low))
        moving = gain > TINY
        if not moving.any() or top <= 0:
            return None
        place = np.where(moving, (point[self.columns] - start) / np.where(self.values > 0, 1, -1), 0.0)
        place = place / np.where(moving, high - low, 1.0)
        order = np.argsort(place)
        order = order[moving[order]]
        before = np.cumsum(gain[order]) - gain[order]
        share = np.clip(top - before, 0.0, gain[order])  # how much of d_i counts
        base = max(top - float(gain.sum()), 0.0)
        if point[self.y] <= base + float(share @ place[order]) + TOLERANCE:
            return None
        # share_i t_i = share_i (v_i - start_i) / (end_i - start_i)
        slopes = share / gain[order] * self.values[order]
        kept = slopes != 0
        columns, slopes = self.columns[order][kept], slopes[kept]
        limit = base - float(slopes @ start[order][kept])
        return np.append(columns, self.y), np.append(-slopes, 1.0), limit


@dataclass(frozen=True, eq=False)
class Choice:
    """A maximum with choice variables: y = z_j where `wins[j]` is 1, z = slopes @ variables[columns] + constants.

    zero: whether the maximum is at least 0; then no choice at all stands for 0
    """

    y: int
    wins: np.ndarray
    columns: np.ndarray
    slopes: np.ndarray
    constants: np.ndarray
    zero: bool

    @classmethod
    def of(
        cls, y: int, wins: range, terms: Sequence[tuple[np.ndarray, np.ndarray]], constants: np.ndarray, zero: bool
    ) -> "Choice":
        """From the sparse expressions of the z_j."""
        columns = np.unique(np.concatenate([columns for columns, _ in terms]))
        slopes = np.zeros((len(terms), len(columns)))
        for line, (mine, values) in zip(slopes, terms, strict=True):
            np.add.at(line, np.searchsorted(columns, mine), values)
        return cls(y, np.array(wins), columns, slopes, np.asarray(constants, dtype=float), zero)

    def facet(self, point: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Facet | None:
        """See `Hull`; Anderson et al. 2020, "Strong mixed-integer programming formulations".

        For any a: y <= a v + sum_j wins_j max over v of (z_j - a v). At a point that is least, variable by variable,
        where the wins of the slopes above a_i add up to the position of v_i between its limits.
        """
        low, high = lower[self.columns], upper[self.columns]
        slopes, constants, wins = self.slopes, self.constants, np.clip(point[self.wins], 0.0, 1.0)
        if self.zero:
            slopes = np.vstack([slopes, np.zeros_like(low)])
            constants, wins = np.append(constants, 0.0), np.append(wins, max(1.0 - wins.sum(), 0.0))
        width = high - low
        place = np.where(width > TINY, (point[self.columns] - low) / np.where(width > TINY, width, 1.0), 0.0)
        order = np.argsort(-slopes, axis=0)
        above = np.cumsum(wins[order], axis=0)
        first = np.minimum((above < place - TINY).sum(0), len(slopes) - 1)
        best = np.take_along_axis(slopes, np.take_along_axis(order, first[None], 0), 0)[0]
        rest = slopes - best
        reach = constants + np.maximum(rest * low, rest * high).sum(1)
        if point[self.y] <= float(best @ point[self.columns] + wins @ reach) + TOLERANCE:
            return None
        base = float(reach[-1]) if self.zero else 0.0
        chosen = reach[: len(self.wins)] - base
        kept = best != 0
        columns = np.concatenate([self.columns[kept], self.wins, [self.y]])
        return columns, np.concatenate([-best[kept], -chosen, [1.0]]), base
