"""Our method: climb the certified margin, prove the result, then let the complete prover push every ring outwards."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.core import Verdict
from aureole.neighborhood.ascent import JointAscent, climb
from aureole.neighborhood.method import Method
from aureole.neighborhood.objective import rises_with
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.result import Neighborhood
from aureole.verify import COMPLETE, INCOMPLETE, Portfolio


@dataclass(frozen=True)
class Certificate(Method):
    """Ascent from the certified uniform ball, then rings grown one by one.

    shrink: factors tried on the climbed radii until bounds prove them (the climb runs in float32 with its own slopes)
    share:  of the time that the climb may take
    """

    ascent: JointAscent = field(default_factory=JointAscent)
    shrink: tuple[float, ...] = (1.0, 0.99, 0.97, 0.94, 0.9, 0.8, 0.7)
    share: float = 0.6

    def run(self, prover: Prover) -> Neighborhood:  # noqa: D102
        problem = prover.problem
        start = self._uniform(prover)
        climbed = climb(problem, start, self.ascent, prover.budget.at_most(self.share * prover.budget.remaining))
        for factor in self.shrink:
            radii = problem.within(climbed.radii * factor)
            if prover.budget.expired or problem.size(radii) <= prover.size:
                break
            if prover.check(radii, INCOMPLETE).verdict is Verdict.ROBUST:
                break
        gain = rises_with(problem.objective, climbed.radii, problem.weights) / climbed.prices.clamp(min=1e-9)
        order = sorted(range(len(gain)), key=lambda d: -float(gain[d]))
        for portfolio in (INCOMPLETE, COMPLETE):  # the cheap answers first: they also tell what is left to prove
            for ring in order:
                grow(prover, ring, portfolio)
        return prover.finish(look=True)

    def _uniform(self, prover: Prover) -> Float[Tensor, "rings"]:
        """The largest single radius that attack and bounds settle, to a few percent."""
        problem = prover.problem
        ones = torch.ones(len(problem.rings), dtype=torch.float64)
        proved, refused = 0.0, float(problem.caps.max())
        while refused - proved > 0.05 * refused and refused > 1e-6 and not prover.budget.expired:
            radius = refused / 8 if proved == 0 else (proved + refused) / 2
            if prover.check(problem.within(radius * ones), INCOMPLETE).verdict is Verdict.ROBUST:
                proved = radius
            else:
                refused = radius
        return problem.within(proved * ones)


def grow(prover: Prover, ring: int, portfolio: Portfolio) -> None:
    """Raise one ring of the best proved radii by ever longer steps, then ever shorter ones, down to delta."""
    problem = prover.problem
    step = problem.delta
    longer = True
    while not prover.budget.expired and float(prover.radii[ring]) < float(problem.caps[ring]):
        radii = prover.radii.clone()
        radii[ring] = min(float(radii[ring]) + step, float(problem.caps[ring]))
        if prover.check(radii, portfolio).verdict is Verdict.ROBUST:
            step = 2 * step if longer else step
        elif step <= problem.delta:
            return
        else:
            longer, step = False, max(step / 2, problem.delta)
