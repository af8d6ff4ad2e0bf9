"""How large can robust radii be at most? What the known witnesses leave, maximised exactly.

A witness x' lies in N(radii) when every radius reaches it, so robust radii must stay short of it somewhere: of a ring
d whose pixels x' moves, `radii[d] < max over ring d of |x' - x|`. The rings that x' leaves alone (within the floors)
are no way out. Maximising the objective over these disjunctions bounds it for all robust radii; every witness more
lowers the bound, and the fewer rings it moves the more so.

The maximum is found by best-first search over boxes of radii. A small MILP with a binary per witness and ring says the
same (the tests compare them), but the boxes are exact, need no tolerance, carry over when a witness joins, and their
best value is a bound at any moment.
"""

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aureole.core import Budget
from aureole.neighborhood.objective import LEAST
from aureole.neighborhood.problem import Problem

ROUNDING = 8
"""In units of the image's last bit at 1: what a reach is raised by. `Region.ringed` rounds its sides inwards, by less
than two such bits, so N(radii) may miss an image that the radii reach only just; a bound must not count on it."""

SPARE = 1e-12
"""Relative: what a bound is raised by, since sums and logarithms are rounded too."""


@dataclass(frozen=True, eq=False)
class UpperBound:
    """No robust radii between the floors and the caps have a larger objective than `value` (pixel units).

    radii: where the objective has that value and no known witness stands in the way strictly; as a rule not robust.
           The value is 0 and the radii are the floors when a witness shows that no radii will do.
    tight: whether `value` is the maximum over what the witnesses leave; False when the time ended before
    """

    value: float
    radii: Float[Tensor, "rings"]
    tight: bool = True

    def met(self, size: float, gap: float) -> bool:
        """Whether a size is within `gap` (a share of the bound) of it."""
        return size >= (1 - gap) * self.value


def upper_bound(problem: Problem, witnesses: Iterable[Tensor], budget: Budget = Budget()) -> UpperBound:
    """The bound from witnesses: images of [0,1] on which one of the specs fails when replayed (this is not checked)."""
    left = Left(problem)
    for image in witnesses:
        left.without(image)
    return left.best(budget)


def ways_out(
    problem: Problem, image: Float[Tensor, "channels height width"], inside: Float[Tensor, "rings"] | None = None
) -> Float[Tensor, "rings"]:
    """How far each radius may go at most if it is the one that keeps the image out; -inf where it cannot.

    inside: radii that are not asked about, the floors when None. A ring is no way out where the image lies inside these
            radii, and so inside every region asked about

    That is the image's reach in the ring, raised by the rounding of `Region.ringed`.
    """
    inside = problem.floors if inside is None else inside
    reach = problem.rings.peak((image - problem.image).abs().amax(0))
    box = problem.region(inside)
    outside = ((image < box.lower[0]) | (image > box.upper[0])).any(0)
    open_ = problem.rings.peak(outside.to(reach)) > 0
    raised = reach.double() + ROUNDING * torch.finfo(problem.image.dtype).eps
    return torch.where(open_, torch.maximum(raised, inside), -torch.inf)


def only_way_out(
    problem: Problem, image: Float[Tensor, "channels height width"], inside: Float[Tensor, "rings"]
) -> tuple[int, float] | None:
    """The ring in which alone the image leaves N(inside), and how far it goes there; None where there are several."""
    ways = ways_out(problem, image, inside)
    out = (ways > -torch.inf).nonzero().flatten().tolist()
    return (out[0], float(ways[out[0]])) if len(out) == 1 else None


class Left:
    """The radii that the witnesses so far leave, as a search that goes on when a witness is added.

    images: the witnesses that ruled out something
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.images: list[Tensor] = []
        single = problem.graph.precision != torch.float64
        self._exact = problem.graph.to(torch.float64) if single else None
        self._rows = np.empty((0, len(problem.rings)))
        self._order = itertools.count()  # of equal boxes the older comes first
        self._heap: list[tuple[float, int, np.ndarray, np.ndarray]] = []
        floors, caps = problem.floors.numpy(), problem.caps.numpy()
        shares = problem.weights.numpy()
        self._shares = shares / shares.sum() if problem.objective == "log" else shares
        # a ring without weight gains nothing by growing, and at its floor it is out of every witness's way
        most = np.where(shares > 0, caps, floors)
        self._push(np.inf, most, np.nextafter(floors, -np.inf))

    def __len__(self) -> int:
        return len(self._rows)

    def without(self, image: Float[Tensor, "channels height width"]) -> None:
        """Rule out all radii that reach the image, on which a spec fails.

        An image that fails by the rounding of a model in float32 alone rules out nothing: radii around it may be
        proved, for the model's weights in exact arithmetic.
        """
        if self._exact is not None and float(self.problem.margin(self._exact(image.double()[None])[0])) > 0:
            return
        row = ways_out(self.problem, image).numpy()
        if (self._rows <= row).all(1).any():
            return  # another witness rules out as much
        self._rows = np.vstack([self._rows[~(row <= self._rows).all(1)], row])
        self.images.append(image)

    def has(self, radii: Float[Tensor, "rings"]) -> bool:
        """Whether no witness so far rules the radii out."""
        return not bool((self._rows < radii.numpy()).all(1).any())

    def best(self, budget: Budget = Budget()) -> UpperBound:
        """The largest objective that is left; when the time ends, a bound of it."""
        if self.problem.objective == "min":
            return self._best_least()
        while self._heap:
            least, _, most, above = self._heap[0]
            bound = -least
            splits, now = self._look(most, above)
            if budget.expired or splits is None:
                tight = splits is None
                value = self._total(most) if tight else max(min(bound, now), -self._following)
                if value == -np.inf:
                    break
                return UpperBound(self._size(value), torch.from_numpy(most.copy()), tight)
            heapq.heappop(self._heap)
            if now < bound and self._heap and now < -self._heap[0][0]:
                self._push(now, most, above)  # others come first now
                continue
            for ring, reach in splits:
                smaller = most.copy()
                smaller[ring] = reach
                self._push(now, smaller, above)
                above = above.copy()
                above[ring] = reach  # the boxes after this one are about radii beyond
        return UpperBound(0.0, self.problem.floors.clone())

    @property
    def _following(self) -> float:
        """The key of the box after the first one."""
        return min((key for key, *_ in self._heap[1:3]), default=np.inf)

    def _look(self, most: np.ndarray, above: np.ndarray) -> tuple[list[tuple[int, float]] | None, float]:
        """How to split the box `above < radii <= most`, and a bound of its objective.

        None for a box that no witness covers. Otherwise the ways out of the witness that costs most, cheapest first.
        The bound: each covering witness costs at least its cheapest way out, and such costs add up over witnesses that
        share no ring.
        """
        rows = self._rows[((self._rows < most) | (self._rows == -np.inf)).all(1)]
        if not len(rows):
            return None, self._total(most)
        open_ = rows > above
        loss = np.where(open_, self._worth(most) - self._worth(np.where(open_, rows, most)), np.inf)
        least = loss.min(1)
        dearest = np.lexsort((open_.sum(1), -least))
        taken, cost = np.zeros(len(most), bool), 0.0
        for row in dearest:
            if np.isinf(least[row]):
                return [], -np.inf
            if not (taken & open_[row]).any():
                taken |= open_[row]
                cost += float(least[row])
                if taken.all():
                    break
        first = dearest[0]
        ways = sorted(open_[first].nonzero()[0], key=lambda ring: loss[first, ring])
        return [(int(ring), float(rows[first, ring])) for ring in ways], self._total(most) - cost

    def _push(self, bound: float, most: np.ndarray, above: np.ndarray) -> None:
        bound = min(bound, self._total(most))
        heapq.heappush(self._heap, (-bound, next(self._order), most, above))

    def _worth(self, radii: np.ndarray) -> np.ndarray:
        """What each ring adds to the objective: weighted radii, or weighted logarithms."""
        if self.problem.objective == "log":
            radii = np.log(np.maximum(radii, LEAST))
        return self._shares * radii

    def _total(self, radii: np.ndarray) -> float:
        return float(self._worth(radii).sum())

    def _size(self, total: float) -> float:
        return (float(np.exp(total)) if self.problem.objective == "log" else total) * (1 + SPARE)

    def _best_least(self) -> UpperBound:
        """For `min`, t is the smallest of what each witness allows: its ways out at their largest share."""
        problem, weights = self.problem, self.problem.weights.numpy()
        counted = weights > 0
        shares = np.where(counted, self._rows / np.where(counted, weights, 1.0), self._rows)
        shares = np.where(~counted & (self._rows > -np.inf), np.inf, shares)  # a way out that costs nothing
        t = float(np.append(shares.max(1), (problem.caps.numpy()[counted] / weights[counted]).min()).min())
        if t == -np.inf:
            return UpperBound(0.0, problem.floors.clone())
        return UpperBound(t * (1 + SPARE), problem.within(t * problem.weights))
