"""An upper bound of the best weighted sum, from whole families of images that fail.

A witness rules out the radii that reach it, so witnesses bound a sum by steps, which must be as fine as they are many.
But let x_1..x_n be images of N(r_1)..N(r_n). Then every mixture of them is an image of N(the same mixture of r_1..r_n):
if the network is wrong on the whole simplex of the images, which `simplex_bounds` proves, no mixture of the radii is
robust. Nor are radii beyond, since robust ones can be shrunk along the ray from the floors. Such facets over all
directions bound every sum: a surface just above the frontier of what is robust, as smooth as the frontier is.

Directions are simplices, halved where no facet of the wanted size fails. Where no image fails in the middle of a tiny
one attacks are at their end, and it is for the prover to say what is true there.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, combinations
from math import inf, sqrt

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.attacks import SmoothPool, between
from aureole.attacks.base import Attack
from aureole.bounds import simplex_bounds
from aureole.core import Budget, Graph, Region
from aureole.core.graph import Linear, merge_rectified_pools
from aureole.neighborhood.patterns import Patterns, in_radii
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.upper import SPARE
from aureole.neighborhood.witnesses import LIGHT, attacked
from aureole.verify.rounding import slack

EASE = 0.5
"""A bound is lowered to this share of itself at a time: facets for one size are a good start for the next."""

NEARLY = 1.02
"""From this ratio to the wanted bound on the way there is not halved any more."""

CLOSE = 1.01
"""Sizes this near to one that was given up are not tried."""

PATIENCE, ASKED = 0.4, 40
"""A size that takes more than this share of the time, or that many images, is too near the frontier: it is given up."""

ENOUGH = 32
"""A tiny facet is not halved to less than this part: what fails there does so by less than rounding asks for."""

LITTLE = 1e-3
"""Score units: a push that gains less has come to its end."""


@dataclass(frozen=True)
class Covering:
    """How a cover is searched for.

    most:      with more rings than this, of those with weight, directions are too many
    batch:     facets at a time
    threads:   batches at the same time
    again:     halvings after which a facet's images are pushed again, while its corners fail and it does not
    near:      ... and at once where the margin at a corner is above this (score units)
    tiny:      a facet no longer than this share of its size is not halved where its middle does not fail
    kept:      so many of the changes that it is told are remembered
    tried:     ... and so many, the newest, tried before each push (all of them where the last push gained nothing)
    anew:      halvings after which a middle where nothing known fails is attacked again
    attack:    that does so
    steps:     of sign gradients, on the corners and the middle of a facet, all of which must fail
    step:      length of the first and of the last, in radii
    sharpness: of the smoothed pools, at the first step and at the last
    weighing:  of the worst of the margins, in units of the inverse margin
    """

    most: int = 6
    batch: int = 16
    threads: int = 2
    again: int = 2
    near: float = -0.05
    tiny: float = 0.02
    kept: int = 64
    tried: int = 8
    anew: int = 3
    attack: Attack = LIGHT
    steps: int = 3
    step: tuple[float, float] = (0.3, 0.05)
    sharpness: tuple[float, float] = (30.0, 400.0)
    weighing: float = 8.0


@dataclass(frozen=True, eq=False)
class Cell:
    """A simplex of directions, and images for the facet over it.

    corners: directions, all of the same weighted sum 1
    changes: an image's change at each corner, in units of the radii there (float32, in [-1,1])
    size:    of a facet that fails as a whole; infinite when none is known
    since:   halvings since its images were pushed
    cold:    halvings since its middle was attacked
    stalled: pushes in a row that gained nothing
    mixed:   whether its images were made one: once, for pushes may part them again
    """

    corners: Float[Tensor, "corners rings"]
    changes: Float[Tensor, "corners channels height width"]
    size: float = inf
    since: int = 99
    cold: int = 99
    stalled: int = 0
    mixed: bool = False


@dataclass(frozen=True)
class Judged:
    """Of a facet (float32): a bound of the margin on it, the largest margin at its corners, the one in its middle."""

    highest: float
    corner: float
    middle: float


@dataclass(frozen=True, eq=False)
class Stuck:
    """Radii of some size, maybe beyond their caps, and the worst image known there."""

    radii: Float[Tensor, "rings"]
    image: Float[Tensor, "channels height width"]


class Cover:
    """Facets over all directions, finer and lower the longer `lower` goes on; `bound` is one at any moment."""

    def __init__(self, problem: Problem, covering: Covering = Covering()) -> None:
        self._problem, self._how = problem, covering
        self._graph = graph = _of_rows(problem)
        self._fast, self._image = graph.to(torch.float32), problem.image.float()
        everywhere = Region(torch.zeros_like(problem.image)[None], torch.ones_like(problem.image)[None])
        # also covers that N(radii), rounded inwards, may hold an image's neighbour a few bits away instead of it
        self._slack = slack(graph, everywhere, torch.eye(graph.classes, dtype=torch.float64))
        rings = (problem.weights > 0).nonzero().flatten()
        corners = torch.diag(1 / problem.weights.clamp(min=1e-300))[rings]
        self._cells: tuple[Cell, ...] = (Cell(corners, torch.zeros(len(rings), *problem.image.shape)),)
        self._learnt = Patterns(problem, most=covering.kept)

    @staticmethod
    def suits(problem: Problem, covering: Covering = Covering()) -> bool:
        """Whether there is one: for weighted sums of few radii, of networks that read images in float64."""
        few = int((problem.weights > 0).sum()) <= covering.most
        return problem.objective == "sum" and few and problem.graph.precision == torch.float64

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def bound(self) -> float:
        """No robust radii between the floors and the caps have a larger weighted sum."""
        return max(cell.size for cell in self._cells) * (1 + SPARE)

    def lower(self, size: float, budget: Budget = Budget()) -> Stuck | None:
        """Find failing facets of this size over all directions whose own are larger.

        None when that is done, or when the time is over. Otherwise where no image was found that fails clearly: `learn`
        takes one.
        """
        count, size = self._how.threads, max(size, self._problem.size(self._problem.floors))
        with ThreadPoolExecutor(count) as pool:
            while not budget.expired:
                todo = [cell for cell in self._cells if cell.size > size]
                if not todo:
                    return None
                taken = todo[-count * self._how.batch :]  # the newest: where it ends in a tiny one shows soon
                parts = [taken[n::count] for n in range(count) if taken[n::count]]
                tried = [*chain(*pool.map(lambda part: self._try(part, size), parts))]
                known = {id(cell) for cell in taken}
                # all at once, so that an interruption loses no direction
                self._cells = (
                    *(cell for cell in self._cells if id(cell) not in known),
                    *chain(*(cells for cells, _ in tried)),
                )
                for (cell, *_), stuck in tried:
                    if stuck:
                        radii = self._radii(cell, size)
                        return Stuck(radii.mean(0), self._images(cell.changes, radii).mean(0))
        return None

    def learn(self, radii: Float[Tensor, "rings"], image: Float[Tensor, "channels height width"]) -> None:
        """An image that fails in N(radii): the same change is tried wherever no image fails."""
        self._learnt.add(image, radii)

    def _recalled(
        self, changes: Float[Tensor, "cells corners *shape"], radii: Float[Tensor, "cells corners rings"], most: int
    ) -> tuple[Float[Tensor, "cells corners *shape"], list[float]]:
        """The changes, or for some cells one that was learnt, where that is lower in the middle; the margins there."""
        own, middle = self._middles(changes, radii), radii.mean(1)
        learnt = self._learnt.changes[:most]
        tried = torch.cat([own[:, None], learnt.expand(len(own), *learnt.shape)], 1)
        images = self._images(tried, middle[:, None].expand(-1, tried.shape[1], -1)).float()
        with torch.no_grad():
            margins = self._problem.least(self._fast(images.flatten(0, 1))).unflatten(0, tried.shape[:2])
        least, best = margins.min(1)
        found = tried[range(len(best)), best]
        own_is_best = (best == 0)[:, None, None, None, None]
        return torch.where(own_is_best, changes, found[:, None].expand_as(changes)), least.tolist()

    def _attacked(
        self, changes: Float[Tensor, "cells corners *shape"], radii: Float[Tensor, "cells corners rings"]
    ) -> Float[Tensor, "cells corners *shape"]:
        """For each cell the change that an attack finds in its middle, at all corners; those that fail are learnt."""
        problem, own, middle = self._problem, self._middles(changes, radii), radii.mean(1)
        whole = torch.ones_like(own)
        regions = Region(self._images(-whole, middle), self._images(whole, middle))
        generator, starts = torch.Generator().manual_seed(0), self._images(own, middle)[:, None]
        met = torch.stack([*attacked(problem, regions, self._how.attack, generator, starts=starts)])
        with torch.no_grad():
            margins = problem.least(self._fast(met.flatten(0, 1).float())).unflatten(0, met.shape[:2])
        least, best = margins.min(0)
        images = met[best, range(len(best))]
        for n in (least < 0).nonzero().flatten().tolist():
            self._learnt.add(images[n], middle[n])  # what is lost when two threads do so at once is found again
        found = in_radii((images - problem.image).float(), self._spread(middle).float())
        return found[:, None].expand_as(changes)

    def _try(self, cells: Sequence[Cell], size: float) -> list[tuple[list[Cell], bool]]:
        """Instead of each cell: itself, with a facet that fails or (true) stuck for want of one, or two halves."""
        radii = torch.stack([self._radii(cell, size) for cell in cells])
        found = [*cells]
        judged = self._judge(torch.stack([cell.changes for cell in cells]), radii)
        push = [n for n, cell in enumerate(cells) if self._worth_a_push(cell, judged[n])]
        if push:
            known = torch.stack([cells[n].changes for n in push])
            stuck = any(cells[n].stalled for n in push)
            known, margins = self._recalled(known, radii[push], self._how.kept if stuck else self._how.tried)
            cold = [i for i, n in enumerate(push) if margins[i] > 0 and cells[n].cold >= self._how.anew]
            if cold:
                known[cold] = self._attacked(known[cold], radii[push][cold])
                for n in (push[i] for i in cold):
                    found[n] = replace(cells[n], cold=0)
            rows = self._rows(known, radii[push], [cells[n].stalled > 0 for n in push])
            pushed = self._pushed(known, radii[push], rows)
            both = torch.stack([known, pushed], 1)  # a known change may be better before it is pushed
            told = self._judge(both.flatten(0, 1), radii[push].repeat_interleave(2, 0))
            for i, n in enumerate(push):
                way = min((0, 1), key=lambda way: told[2 * i + way].highest)
                better = told[2 * i + way]
                gain = max(judged[n].highest - better.highest, judged[n].corner - better.corner)
                stalled = 0 if gain > LITTLE else cells[n].stalled + 1
                found[n] = replace(found[n], since=0, stalled=stalled)
                if gain > 0:
                    found[n], judged[n] = replace(found[n], changes=both[i, way]), better
        # no radii of such directions and this size are asked about
        done = (radii.amin(1) > self._problem.caps).any(1)
        failing = [n for n, told in enumerate(judged) if told.highest <= -self._slack and not done[n]]
        if failing:
            done[failing] = self._fail(torch.stack([found[n].changes for n in failing]), radii[failing])
        return [
            ([replace(cell, size=size, mixed=False)], False) if ended else self._divided(cell, told, own, size)
            for cell, told, own, ended in zip(found, judged, radii, done.tolist(), strict=True)
        ]

    def _divided(
        self, cell: Cell, judged: Judged, radii: Float[Tensor, "corners rings"], size: float
    ) -> tuple[list[Cell], bool]:
        length, _, _ = _longest(radii)
        tiny = length <= self._how.tiny * size
        if tiny and (judged.middle > 0 or length <= self._how.tiny * size / ENOUGH):
            return [cell], judged.middle <= 0 or cell.stalled > 1  # else pushes may still get on
        if tiny and not cell.mixed:  # images too unlike for radii so alike
            change = self._mixed(cell.changes, radii)
            return [replace(cell, changes=change.expand_as(cell.changes), since=0, mixed=True)], False
        return self._halves(cell, radii), False

    def _worth_a_push(self, cell: Cell, judged: Judged) -> bool:
        late = judged.corner > self._how.near or cell.since >= self._how.again
        return judged.highest > -self._slack and late

    def _radii(self, cell: Cell, size: float) -> Float[Tensor, "corners rings"]:
        problem = self._problem
        return problem.floors + (size - problem.size(problem.floors)) * cell.corners

    def _spread(self, radii: Float[Tensor, "*batch rings"]) -> Float[Tensor, "*batch 1 height width"]:
        return self._problem.rings.spread(radii).unsqueeze(-3)

    def _images(
        self, changes: Float[Tensor, "*batch channels height width"], radii: Float[Tensor, "*batch rings"]
    ) -> Float[Tensor, "*batch channels height width"]:
        """The changed images, in N(radii) up to rounding."""
        return (self._problem.image + self._spread(radii) * changes).clamp(0, 1)

    def _judge(
        self, changes: Float[Tensor, "cells corners *shape"], radii: Float[Tensor, "cells corners rings"]
    ) -> list[Judged]:
        images = self._images(changes, radii).float()
        with torch.no_grad():
            _, upper = simplex_bounds(self._fast, images)
            values = self._fast(_with_middle(images).flatten(0, 1)).unflatten(0, (len(images), -1))
        least = self._problem.least
        parts = least(upper.amax(1)), least(values[:, :-1].amax(1)), least(values[:, -1])
        return [Judged(*each) for each in zip(*(part.tolist() for part in parts), strict=True)]

    def _rows(
        self,
        changes: Float[Tensor, "cells corners *shape"],
        radii: Float[Tensor, "cells corners rings"],
        stalled: Sequence[bool],
    ) -> Bool[Tensor, "cells rows"]:
        """The rows to bring down: the lowest; where these would not fall, what would be lowest in a linear network."""
        images = self._images(changes, radii).float()
        with torch.no_grad():
            values = self._fast(images.flatten(0, 1)).unflatten(0, images.shape[:2]).amax(1)
        if any(stalled):
            which = torch.tensor(stalled)
            values[which] -= self._falls(images[which].mean(1), radii[which].mean(1))
        return self._problem.failing_rows(values)

    def _falls(self, images: Tensor, radii: Float[Tensor, "cells rings"]) -> Float[Tensor, "cells rows"]:
        """By how much each row would fall within the radii, to first order."""
        images, reach, falls = images.requires_grad_(True), self._spread(radii).float(), []
        for row in self._fast(images).sum(0):
            (gradient,) = torch.autograd.grad(row, images, retain_graph=True)
            falls.append((gradient.abs() * reach).flatten(1).sum(1))
        return torch.stack(falls, 1)

    def _fail(
        self, changes: Float[Tensor, "cells corners *shape"], radii: Float[Tensor, "cells corners rings"]
    ) -> Bool[Tensor, "cells"]:
        """Whether the facets fail as a whole, in float64, and the original model in their middles."""
        problem, images = self._problem, self._images(changes, radii)
        with torch.no_grad():
            _, upper = simplex_bounds(self._graph, images)
        scores = torch.stack([problem.graph.replay(image) for image in images.mean(1)])
        return (problem.least(upper.amax(1)) <= -self._slack) & (problem.margin(scores) <= 0)

    def _pushed(
        self,
        changes: Float[Tensor, "cells corners *shape"],
        radii: Float[Tensor, "cells corners rings"],
        rows: Bool[Tensor, "cells rows"],
    ) -> Float[Tensor, "cells corners *shape"]:
        """The changes moved so that these rows fall at all corners and in the middle at once."""
        how, reach = self._how, self._spread(radii).float()
        lowest, highest = (self._image - reach).clamp(min=0), (self._image + reach).clamp(max=1)
        images, scale = self._images(changes, radii).float(), None
        for step in range(how.steps):
            images = images.detach().requires_grad_(True)
            pool = SmoothPool(between(how.sharpness, step / how.steps))
            values = self._fast.values(_with_middle(images).flatten(0, 1), pool=pool)[-1].unflatten(
                0, (len(images), -1)
            )
            if scale is None:
                scale = how.weighing / values.detach().amax(1).abs().mean(-1).clamp(min=1e-2)
            weighed = (scale[:, None, None] * values).masked_fill(~rows[:, None], -torch.inf)
            (gradient,) = torch.autograd.grad((weighed.flatten(1).logsumexp(1) / scale).sum(), images)
            length = between(how.step, step / how.steps)
            images = torch.minimum(torch.maximum(images - length * reach * gradient.sign(), lowest), highest)
        return in_radii(images.detach() - self._image, reach)

    def _halves(self, cell: Cell, radii: Float[Tensor, "corners rings"]) -> list[Cell]:
        """The cell cut in the middle of its longest edge; images there are the mean of the edge's ends."""
        _, first, second = _longest(radii)
        corner = (cell.corners[first] + cell.corners[second]) / 2
        change = self._mixed(cell.changes[[first, second]], radii[[first, second]])
        halves = []
        for end in (first, second):
            corners, changes = cell.corners.clone(), cell.changes.clone()
            corners[end], changes[end] = corner, change
            halves.append(
                replace(cell, corners=corners, changes=changes, since=cell.since + 1, cold=cell.cold + 1, mixed=False)
            )
        return halves

    def _middles(
        self, changes: Float[Tensor, "cells corners *shape"], radii: Float[Tensor, "cells corners rings"]
    ) -> Float[Tensor, "cells *shape"]:
        return torch.stack([self._mixed(*each) for each in zip(changes, radii, strict=True)])

    def _mixed(self, changes: Float[Tensor, "n *shape"], radii: Float[Tensor, "n rings"]) -> Float[Tensor, "*shape"]:
        """The change of the mean of the changed images, in units of the mean radii."""
        reach = self._spread(radii).float()
        total = reach.sum(0)
        return torch.where(total > 0, (reach * changes).sum(0) / total.clamp(min=1e-30), 0.0)


def descend(
    cover: Cover,
    known: Callable[[], float],
    wanted: Callable[[], float],
    ask: Callable[[Stuck], bool],
    budget: Budget,
) -> None:
    """Lower a cover's bound to the wanted one, or as far as images that fail are found.

    known:  another bound; what is learnt on the way may lower it
    wanted: may rise on the way
    ask:    is told where nothing fails clearly; false when nothing came of it and the size is to be given up
    """
    refused, asked, begun, most = 0.0, Counter[float](), dict[float, float](), PATIENCE * budget.remaining
    while not budget.expired:
        bound = min(known(), cover.bound)
        target = (1 - 1e-6) * max(wanted(), 1e-9)  # what is reported then is not above by rounding
        if bound <= max((1 + 1e-9) * target, CLOSE * refused):
            return
        between = sqrt(target * bound) if bound > NEARLY * target else target
        size = max(between, EASE * bound, sqrt(refused * bound))
        begun.setdefault(size, budget.remaining)
        stuck = cover.lower(size, budget)
        if stuck is None:
            if cover.bound >= bound:
                return  # late, or the floors themselves fail
            continue
        asked[size] += 1
        slow = asked[size] > ASKED or begun[size] - budget.remaining > most
        if slow or not ask(stuck):
            refused = size


def _of_rows(problem: Problem) -> Graph:
    """The network, float64, with the specs' rows for scores: part of its last layer where that is linear."""
    graph = merge_rectified_pools(problem.graph.to(torch.float64))
    rows, offsets = problem.every_row
    last = graph.nodes[-1]
    if isinstance(last.op, Linear):
        op = Linear(rows @ last.op.weight, rows @ last.op.bias + offsets)
        return replace(graph, nodes=(*graph.nodes[:-1], replace(last, op=op, shape=(len(rows),))))
    return graph.then(rows, offsets, "rows")


def _with_middle(images: Float[Tensor, "cells corners *shape"]) -> Float[Tensor, "cells points *shape"]:
    return torch.cat([images, images.mean(1, keepdim=True)], 1)


def _longest(points: Float[Tensor, "corners rings"]) -> tuple[float, int, int]:
    """The length of the longest edge (sum of differences), and its ends."""
    edges = combinations(range(len(points)), 2)
    return max(((float((points[a] - points[b]).abs().sum()), a, b) for a, b in edges), default=(0.0, 0, 0))
