"""Corners: a weighted sum of radii is largest where few rings are at their caps and the others are small.

A ring at its cap costs far less than its first thousandths promise: pools and relus saturate. No slope shows that, but
an attack on the whole step does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.attacks import BRIEF
from aureole.attacks.base import Attack
from aureole.core import Budget
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.witnesses import weakest


@dataclass(frozen=True)
class Corners:
    """Rings go from floor to cap one after the other, those first that cost least margin per gain.

    attack:   tells what a step costs, too optimistically
    patience: the search ends when so many steps were not proved; each such ring is left out
    """

    attack: Attack = BRIEF
    patience: int = 1

    def __call__(
        self,
        problem: Problem,
        start: Float[Tensor, "rings"],
        proved: Callable[[Float[Tensor, "rings"]], bool],
        budget: Budget,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> Float[Tensor, "rings"]:
        """The radii after the last step that was proved; the start if none was."""
        radii, refused = start, 0
        left = [d for d in range(len(radii)) if problem.weights[d] > 0 and radii[d] < problem.caps[d]]
        margin = problem.clean_margin
        while left and refused < self.patience and not budget.expired:
            tried = radii.repeat(len(left), 1)
            tried[range(len(left)), left] = problem.caps[left]
            margins = weakest(problem, list(tried), self.attack, seed, budget, device)
            gains = problem.weights[left] * (problem.caps - radii)[left]
            worth = torch.where(margins > 0, gains / (margin - margins).clamp(min=1e-6), -torch.inf)
            best = int(worth.argmax())
            if margins[best] <= 0:
                break
            if proved(tried[best]):
                radii, margin = tried[best], float(margins[best])
            else:
                refused += 1
            left = [d for n, d in enumerate(left) if n != best and margins[n] > 0]
        return radii
