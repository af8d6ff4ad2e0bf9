"""Attacks for witnesses that lower the upper bound most: those that leave rings alone, or hardly move them."""

from dataclasses import dataclass
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.attacks.base import Attack
from aureole.core import Budget
from aureole.neighborhood.patterns import Patterns
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.upper import Left, UpperBound, ways_out
from aureole.neighborhood.witnesses import GOING_ON, LIGHT, beyond, failing, replayed, with_ring


@dataclass(frozen=True)
class Hunt:
    """How witnesses are searched for.

    attack:    on neighborhoods where no known change fails
    following: goes on from known changes (`Patterns`)
    parts:     of the way from the radii asked about inwards, at which known changes are tried
    ahead:     so many parts beyond the last at which one fails are attacked, every second one, in one batch
    rounds:    how often each ring's own bracket is halved, all rings in one batch
    fractions: what a ring's change is cut to, where the image still fails then
    share:     of the remaining time, for one search over what the witnesses leave
    """

    attack: Attack = LIGHT
    following: Attack = GOING_ON
    parts: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7)
    ahead: int = 4
    rounds: int = 6
    fractions: tuple[float, ...] = (0.5, 0.75, 0.9, 0.97)
    share: float = 0.2

    def inside(
        self,
        problem: Problem,
        radii: Float[Tensor, "rings"],
        patterns: Patterns,
        generator: torch.Generator,
        budget: Budget = Budget(),
    ) -> Tensor | None:
        """A witness in N(radii) whose cheapest way out costs as much of the objective as can be; None if none is met.

        The radii retreat until every way out costs at least c: rings worth less than c do not move at all. The largest
        c at which a known change fails, or an attack that goes on from there, wins.
        """
        levels = [retreat(problem, radii, part) for part in self.parts]
        images, margins = patterns.at(levels)
        broken = (margins[:, 0] < 0).nonzero().flatten().tolist()
        last = broken[-1] if broken else -1
        best = replayed(problem, problem.region(levels[last]), images[last, 0]) if broken else None
        deeper = range(last + 1, min(last + 1 + self.ahead, len(levels)), 2)
        if deeper:
            starts = images[deeper.start : deeper.stop : 2, :2]
            found = failing(
                problem, [levels[n] for n in deeper], self.following, generator, budget, patterns.device, starts
            )
            for n, image in zip(deeper, found, strict=True):
                if image is not None:
                    best = image
                    patterns.add(image, levels[n])
        if best is None and not budget.expired:
            (best,) = failing(problem, [radii], self.attack, generator, budget, patterns.device, images[:1])
            if best is not None:
                patterns.add(best, radii)
        return None if best is None else self.trimmed(problem, best, radii)

    def alone(
        self,
        problem: Problem,
        generator: torch.Generator,
        budget: Budget = Budget(),
        device: torch.device | str = "cpu",
    ) -> list[Tensor]:
        """For each ring with weight a witness that moves that ring alone, beyond the floors, as little as it takes."""
        rings = [d for d in range(len(problem.rings)) if float(problem.weights[d]) > 0]
        found = beyond(
            problem, problem.floors, rings, self.attack, self.rounds, generator, budget, device,
            settle=lambda image, radii: self.trimmed(problem, image, radii),
        )  # fmt: skip
        return list(found.values())

    def trimmed(self, problem: Problem, image: Tensor, radii: Float[Tensor, "rings"]) -> Tensor:
        """A witness in N(radii) with its rings undone, and then moved less, as long as it still fails.

        The cheapest ways out come first: where the objective stays largest when only that ring keeps the image out.
        """
        reach = ways_out(problem, image)
        rings = [d for d in range(len(reach)) if float(reach[d]) > -torch.inf]
        rings.sort(key=lambda d: -problem.size(with_ring(radii, d, min(float(reach[d]), float(radii[d])))))
        for fractions in ((0.0,), self.fractions):
            for ring in rings:
                image, radii = self._cut(problem, image, radii, ring, fractions)
        return image

    def _cut(
        self, problem: Problem, image: Tensor, radii: Float[Tensor, "rings"], ring: int, fractions: tuple[float, ...]
    ) -> tuple[Tensor, Float[Tensor, "rings"]]:
        """The image with its change in one ring cut to the first of the fractions at which it still fails.

        With it the radii that it needs. What the floors cover stays: undoing it gains nothing.
        """
        change = image - problem.image
        moved = problem.rings.peak(change.abs().amax(0))[ring]
        cuts = (torch.tensor(fractions, dtype=torch.float64) * moved).clamp(min=float(problem.floors[ring]))
        limits = cuts[:, None, None, None].to(image)
        cut = problem.image + torch.minimum(torch.maximum(change, -limits), limits)
        candidates = torch.where(problem.rings.index == ring, cut, image)
        with torch.no_grad():
            failing = problem.margin(problem.graph(candidates)) <= 0
        for n in failing.nonzero().flatten().tolist():
            less = with_ring(radii, ring, min(float(cuts[n]), float(radii[ring])))
            good = replayed(problem, problem.region(less), candidates[n])
            if good is not None:
                return good, less
        return image, radii


def retreat(problem: Problem, radii: Float[Tensor, "rings"], part: float) -> Float[Tensor, "rings"]:
    """Radii so far inwards that shrinking any ring to them costs the same share of the objective (or all it can).

    part: 0 keeps the radii, 1 leaves the floors
    """
    weights = problem.weights
    match problem.objective:
        case "sum":
            cost = part * float((weights * radii).max())
            inner = torch.where(weights > 0, radii - cost / weights, 0.0)
        case "log":
            inner = radii * (1 - part) ** (weights[weights > 0].min() / weights)
        case _:
            inner = radii * (1 - part)
    return torch.minimum(torch.maximum(inner, problem.floors), radii)


def attack_down(
    problem: Problem,
    left: Left,
    patterns: Patterns,
    hunt: Hunt,
    size: float,
    gap: float,
    generator: torch.Generator,
    budget: Budget,
    most_seconds: float = inf,
) -> UpperBound:
    """Lower the bound by attacks alone, until none succeeds, it is within `gap` of `size`, or the time ends.

    Attacks end after `most_seconds`, the rest of the budget is for the search over what the witnesses leave.

    The attacks look a little inside the radii where the bound is met, so far that a proof there would close the gap:
    what they find then lowers it by a good step.
    """
    attacking = budget.at_most(most_seconds)
    while True:
        bound = left.best(budget.at_most(hunt.share * budget.remaining))
        if attacking.expired or not bound.tight or bound.met(size, gap):
            return bound
        image = hunt.inside(problem, inner(problem, bound, gap), patterns, generator, attacking)
        if image is None:
            return bound
        left.without(image)
        if left.has(bound.radii):  # radii as small as rounding: no witness rules them out for certain
            return bound


def inner(problem: Problem, bound: UpperBound, gap: float) -> Float[Tensor, "rings"]:
    """Radii inside the bound's whose objective is within `gap` of it: a proof of them closes the gap.

    They retreat (`retreat`) as far as they may, so that a witness inside leaves only ways out that cost something.
    """
    part, refused = 0.0, 1.0
    for _ in range(30):
        middle = (part + refused) / 2
        kept = problem.size(retreat(problem, bound.radii, middle)) >= (1 - 0.9 * gap) * bound.value
        part, refused = (middle, refused) if kept else (part, middle)
    return retreat(problem, bound.radii, part)
