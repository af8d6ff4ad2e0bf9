"""Directions: where radii are few, a weighted sum may be several times as large if one ring, or two, take it all.

A climb begins at the uniform ball and ends not far from there. Attacks on mixtures of the rings alone show where there
is more room, proofs then how much of it can be had.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aureole.attacks import SmoothPgd
from aureole.attacks.base import Attack
from aureole.core import Budget
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.witnesses import weakest


@dataclass(frozen=True)
class Directions:
    """Radii are asked about where an attack leaves the most room, halfway to there, until there is none left.

    most:   with more rings than this, of those with weight, directions are too many
    parts:  each ring's share in a mixture is so many of so many parts
    attack: tells how far a direction goes: to where it leaves the share `kept` of the clean margin
    least:  share of its cap from which on a ring alone is looked at, and of the largest room that any is
    wide:   mixtures are looked at up to this factor above and below the mean of the rings alone
    rounds: halvings of these ways, in logarithms
    near:   room that is a smaller share of the size than this is none

    What a refusal takes from its direction it takes from others, too, the more the more these are alike.
    """

    most: int = 6
    parts: int = 3
    attack: Attack = field(default_factory=lambda: SmoothPgd(steps=12, restarts=2))
    kept: float = 0.25
    least: float = 1e-3
    wide: float = 3.0
    rounds: int = 6
    near: float = 0.05

    def suits(self, problem: Problem) -> bool:
        """Whether the objective has use for single rings, and these are few."""
        return problem.objective == "sum" and 1 < len(_rings(problem)) <= self.most

    def __call__(
        self,
        problem: Problem,
        size: Callable[[], float],
        proved: Callable[[Float[Tensor, "rings"]], bool],
        budget: Budget,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Have radii proved that are larger than the best so far.

        size:   of the best so far
        proved: false also where the radii were given up
        """
        base, room = problem.size(problem.floors), problem.caps - problem.floors
        kept = self.kept * problem.clean_margin

        def far(ways: Float[Tensor, "ways rings"], least: float, most: float) -> Float[Tensor, "ways rings"]:
            """Each way multiplied by the largest factor, between two and within the caps, that the attack allows."""
            lows = ways.new_full((len(ways), 1), least)
            highs = torch.where(ways > 0, room / ways, torch.inf).amin(1, keepdim=True).clamp(max=most)
            for _ in range(self.rounds):
                middle = (lows * highs).sqrt()
                held = weakest(problem, list(problem.floors + middle * ways), self.attack, seed, budget, device) > kept
                held = held[:, None].to(ways.device)
                lows, highs = torch.where(held, middle, lows), torch.where(held, highs, middle)
            return highs * ways

        alone = far(torch.diag(room)[_rings(problem)], self.least, 1.0)
        shares = mixtures(len(alone), self.parts)
        ways = far(shares @ alone, 1 / self.wide, self.wide)
        shares, sizes = shares / shares.norm(dim=1, keepdim=True), ways @ problem.weights
        rooms, end = sizes.clone(), self.least * float(sizes.max())
        while not budget.expired:
            best = int(rooms.argmax())
            most = float(rooms[best])
            had = max(size() - base, most / 4)
            target, before = sqrt(most * had), size()
            if most <= end or target <= had or base + most <= (1 + self.near) * (base + had):  # the second: underflow
                return
            if not proved(problem.within(problem.floors + target / sizes[best] * ways[best])):
                rooms *= (target / most) ** (shares @ shares[best])
            elif size() <= before:  # rooms as small as rounding
                return


def _rings(problem: Problem) -> Int[Tensor, "some"]:
    """Those that count and may grow."""
    return ((problem.weights > 0) & (problem.caps > problem.floors)).nonzero().flatten()


def mixtures(count: int, parts: int) -> Float[Tensor, "mixtures count"]:
    """All ways to give so many equal parts of 1 to so many."""
    if count == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    whole = torch.zeros(1, count - 1, dtype=torch.float64)
    rests = ((1 - n / parts) * mixtures(count - 1, parts - n) if n < parts else whole for n in range(parts + 1))
    return torch.cat([torch.cat([rest.new_full((len(rest), 1), n / parts), rest], 1) for n, rest in enumerate(rests)])
