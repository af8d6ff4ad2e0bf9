"""Branch and bound over a sum of maxima: how low can it fall?

A case is divided where its bound gives away most at the point where it is least: into the candidates of one maximum
that the row wants high, or into halves of one pixel's range. Children begin with their parent's parameters and are
never bounded worse than it.
"""

import heapq
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from math import inf

import numpy as np
from jaxtyping import Float

from aureole.verify.cases import AGAIN, FINISHED, Cases, Findings, Maxima, climb, evaluate
from aureole.verify.maxima import whole

ERROR = 1e-9
"""Score units by which a tree's floor is not believed (some thousand terms are added up in float64).

Absolute, whatever the scale of a row: that of an inner neuron in other units, and of scores in the thousands, is for
`rounding.slack`, which grows with the magnitudes.
"""


@dataclass(frozen=True)
class Growth:
    """How a tree grows.

    root, steps, again: steps of the climb at the root, in later cases, and where dividing is of no use yet
    work: a call to `grow` ends after so many steps times numbers that a step reads
    rate: of the climb in later cases, in units of the root's
    """

    root: int = 24
    steps: int = 8
    again: int = 60
    work: int = 3_000_000
    rate: float = 0.5


LONG = 20_000
"""A row that reads so many numbers in a step is worth a second thread."""

CHANGED = -3
"""In place of what to divide: the case's box has become smaller since it was bounded."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """A case and what to do with it: a maximum, a pixel (after these), AGAIN, FINISHED, CHANGED."""

    case: Cases
    divided: int


@dataclass(frozen=True, eq=False)
class _Task:
    """Cases to be climbed, in place, and the bound that they have already."""

    cases: Cases
    inherited: float
    steps: int
    rate: float
    again: bool


class Tree:
    """One search; grows by `grow` as long as its owner wants.

    points:  tried as minima at first
    floor:   a proved lower bound of the row
    ceiling: the row's value at `point`, the worst one met; no floor can be higher
    count:   cases bounded so far
    """

    def __init__(
        self,
        row: Maxima,
        points: Float[np.ndarray, "points pixels"],
        growth: Growth = Growth(),
        keep: bool = False,
        start: Cases | None = None,
    ) -> None:
        """With `keep`, cases above the ceiling are not thrown away, and `within` may be asked for.

        start: `whole(row)`, if it has been made already; the objective does not matter
        """
        self._row, self._growth, self._keep, self._start = row, growth, keep, start
        values = [self.value(point) for point in points]
        self.point, self.ceiling = points[int(np.argmin(values))], float(min(values))
        self.count = 0
        self._heap: list[tuple[float, int, Leaf]] = []  # value, number (for ties)
        self._cost = row.weight.size + len(row.slopes)

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
        return not self._heap or self._heap[0][0] >= self.ceiling or self._heap[0][2].divided == FINISHED

    def grow(self, stop: Callable[[], bool] = lambda: False, part: float = 1.0, pool: Executor | None = None) -> None:
        """Bound the whole, at first; later divide (or climb on) where the bound is lowest, for a while.

        stop: ends it early, between two cases
        part: of the usual while
        pool: has two threads free: the two lowest cases are divided at the same time, if the row is long
        """
        growth = self._growth
        if not self.count:
            start = whole(self._row) if self._start is None else self._start
            start = start._replace(parameters=start.parameters.copy())  # these are climbed in place
            self._add([_Task(start, -inf, growth.root, 1.0, False)])
            return
        together, left = 2 if pool is not None and self._cost >= LONG else 1, part * growth.work
        while left > 0 and not self.done and not stop():
            tasks: list[_Task] = []
            while len(tasks) < together and not self.done:
                value, _, leaf = heapq.heappop(self._heap)
                again = leaf.divided == AGAIN
                if again or leaf.divided == CHANGED:  # other trees may hold this leaf: what is climbed must be our own
                    cases = leaf.case._replace(parameters=leaf.case.parameters.copy())
                else:
                    cases = self._children(leaf)
                steps, rate = (growth.again, 1.0) if again else (growth.steps, growth.rate)
                tasks.append(_Task(cases, value, steps, rate, again))
            left -= self._add(tasks, pool)

    def value(self, point: Float[np.ndarray, "pixels"]) -> float:
        """The row's at a point."""
        return evaluate(self._row, point, np.empty_like(self._row.objective))

    def within(self, pixel: int, lower: float, upper: float) -> "Tree":
        """The same search where a pixel lies between two values, with all that is known; this one stays as it is.

        lower, upper: float32 numbers, as the cases' boxes are
        """
        assert self._keep  # a case thrown away for lying above this ceiling may hold the minimum of the part
        point = self.point.copy()
        point[pixel] = min(max(point[pixel], lower), upper)
        made = Tree(self._row, point[None], self._growth, keep=True)
        made.count = self.count
        for value, number, leaf in self._heap:
            low, high = float(leaf.case.lower[0, pixel]), float(leaf.case.upper[0, pixel])
            if lower <= low and high <= upper:
                made._heap.append((value, number, leaf))
            elif low <= upper and high >= lower:
                case = leaf.case._replace(lower=leaf.case.lower.copy(), upper=leaf.case.upper.copy())
                case.lower[0, pixel], case.upper[0, pixel] = max(low, lower), min(high, upper)
                made._heap.append((value, number, Leaf(case, CHANGED)))
        heapq.heapify(made._heap)
        return made

    def _add(self, tasks: Sequence[_Task], pool: Executor | None = None) -> float:
        """Bound cases; how much work that was."""
        bounded = map if pool is None or len(tasks) == 1 else pool.map
        work = 0.0
        for task, found in zip(tasks, list(bounded(self._climbed, tasks)), strict=True):
            count = len(found.bounds)
            lowest = int(found.values.argmin())
            if found.values[lowest] < self.ceiling:
                self.ceiling, self.point = float(found.values[lowest]), found.points[lowest]
            for n in range(count):
                value = max(float(found.bounds[n]), task.inherited)
                if value < (inf if self._keep else self.ceiling):
                    case = Cases(*(part[n : n + 1].copy() for part in task.cases))  # the others may soon be gone
                    heapq.heappush(self._heap, (value, self.count + n, Leaf(case, int(found.divided[n]))))
            self.count += count
            work += float(count * (task.steps + 1) * self._cost)
        return work

    def _climbed(self, task: _Task) -> Findings:
        count = len(task.cases.parameters)
        found = Findings(
            np.empty(count), np.empty((count, self._row.pixels)), np.empty(count), np.empty(count, np.int64)
        )
        climb(self._row, task.cases, task.steps, task.rate, self.ceiling, task.again, found)
        return found

    def _children(self, leaf: Leaf) -> Cases:
        row, parent = self._row, leaf.case
        maxima = len(row.starts) - 1
        if leaf.divided >= maxima:
            pixel = leaf.divided - maxima
            children = Cases(*(part.repeat(2, axis=0) for part in parent))
            middle = (parent.lower[0, pixel] + parent.upper[0, pixel]) / 2
            children.upper[0, pixel] = children.lower[1, pixel] = middle
            return children
        begin, end = row.starts[leaf.divided], row.starts[leaf.divided + 1]
        winners = begin + np.flatnonzero(parent.allowed[0, begin:end])
        children = Cases(*(part.repeat(len(winners), axis=0) for part in parent))
        children.allowed[:, begin:end] = False
        children.allowed[np.arange(len(winners)), winners] = True
        return children


def prepare() -> None:
    """Compile what branch and bound needs: some 15 s, once per installation; later processes read it from the disk.

    Else the first question that needs it waits.
    """
    none, no_rows, start = np.empty(0), np.empty(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    row = Maxima(
        np.ones(1), 0.0, start, start, no_rows, none, np.zeros(1, dtype=np.bool_), np.empty((0, 0)), none,
        start, start, no_rows, none, none, none, none,
    )  # fmt: skip
    Tree(row, np.zeros((1, 1))).grow()
