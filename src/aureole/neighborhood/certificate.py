"""Our method: climb the certified margin, prove the result, then let the complete prover push every ring outwards."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.attacks import SmoothPgd
from aureole.attacks.base import Attack
from aureole.bounds import Ascent
from aureole.core import Budget, Verdict
from aureole.neighborhood.ascent import Climbed, JointAscent, climb
from aureole.neighborhood.gap import bounded
from aureole.neighborhood.method import Method
from aureole.neighborhood.objective import rises_with
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.result import Neighborhood
from aureole.verify import COMPLETE, INCOMPLETE, Hints, Portfolio
from aureole.verify.blocks import Blocks
from aureole.verify.stages import Break, Climb, Ranges, Screen

ROUGH = Portfolio((Screen(), Break(SmoothPgd(steps=12, restarts=4))))
"""For the climb's start, which only has to be certified: a hundredth of the time that `INCOMPLETE` may take."""

AT_ONCE = Portfolio((Screen(), Climb(Ascent(steps=0))))
"""The bounds that hints give, and no more: what the climb meets on its way."""

SEARCHING = Portfolio((*ROUGH.stages, Climb(Ascent(steps=15)), Ranges(), Blocks()))
"""For radii that the climbed bounds do not carry; what takes longer than this is left, other radii are tried."""


@dataclass(frozen=True)
class Certificate(Method):
    """Ascent from the certified uniform ball, then beyond what bounds certify; at the end single rings are grown.

    shrink:  factors tried on the climbed radii until they are proved (the climb runs in float32)
    beyond:  by how much the certified margin that is climbed to falls each time, in units of the clean margin
    further: steps of each such climb
    least:   between proved and refused radii others are tried until their sizes are so close
    attack:  that looks for the witnesses at the end
    share:   of the time: until when the climb, the climbs beyond and the growth go on; the rest is for `upper_bound`
    """

    ascent: JointAscent = field(default_factory=JointAscent)
    shrink: tuple[float, ...] = (1.0, 0.99, 0.97, 0.94, 0.9, 0.8, 0.7)
    beyond: float = 0.2
    further: int = 30
    least: float = 0.01
    share: tuple[float, float, float] = (0.5, 0.82, 0.85)
    attack: Attack = field(default_factory=lambda: SmoothPgd(steps=30, restarts=2))

    def run(self, prover: Prover) -> Neighborhood:  # noqa: D102
        problem, whole = prover.problem, prover.budget
        climbing, stretching, growing = (whole.at_most(part * whole.remaining) for part in self.share)
        prover.budget = growing
        start = self._uniform(prover)
        climbed = climb(
            problem, start, self.ascent, climbing, lambda radii, hints: self._offered(prover, radii, hints),
            device=prover.device,
        )  # fmt: skip
        for factor in self.shrink:
            radii = problem.within(climbed.radii * factor)
            if growing.expired or problem.size(radii) <= prover.size:
                break
            if prover.check(radii, INCOMPLETE, climbed.hints).verdict is Verdict.ROBUST:
                break
        climbed = self._overreach(prover, climbed, stretching)
        for ring in self._order(problem, climbed):
            grow(prover, ring, COMPLETE)
        prover.budget = whole
        prover.look(self.attack)
        found = prover.finish(look=True, prices=climbed.prices)
        if self.share[2] == 1:
            return found
        bounding = whole.at_most((1 / self.share[2] - 1) * whole.spent)  # a budget without end is not for this
        return replace(
            bounded(found, problem, prover.witnesses, bounding, prover.seed, device=prover.device), seconds=whole.spent
        )

    @staticmethod
    def _order(problem: Problem, climbed: Climbed) -> list[int]:
        """The rings, the best weight per price first."""
        gain = rises_with(problem.objective, climbed.radii, problem.weights) / climbed.prices.clamp(min=1e-9)
        return sorted(range(len(gain)), key=lambda d: -float(gain[d]))

    @staticmethod
    def _offered(prover: Prover, radii: Float[Tensor, "rings"], hints: Hints) -> None:
        """Prove what the climb has so far, if that is soon done."""
        radii = prover.problem.within(radii)
        if prover.problem.size(radii) > prover.size:
            prover.check(radii, AT_ONCE, hints)

    def _overreach(self, prover: Prover, climbed: Climbed, budget: Budget) -> Climbed:
        """Climb beyond what the bounds certify, for branch and bound to prove; at the end between proof and refusal."""
        problem, best, tried, goal = prover.problem, climbed, climbed, 0.0
        while not budget.expired:
            goal -= self.beyond
            further = replace(self.ascent, steps=self.further, goal=goal, offers=0)
            tried = climb(
                problem, tried.radii, further, budget, parameters=tried.hints.parameters, device=prover.device
            )
            if problem.size(tried.radii) <= prover.size:
                return best
            if not self._searched(prover, tried.radii, tried.hints):
                break
            best = tried
        proved, refused = prover.radii, problem.within(tried.radii)
        while not budget.expired and problem.size(refused) > (1 + self.least) * problem.size(proved):
            radii = problem.within((proved + refused) / 2)
            if self._searched(prover, radii, tried.hints):
                proved, best = radii, tried
            else:
                refused = radii
        return best

    @staticmethod
    def _searched(prover: Prover, radii: Float[Tensor, "rings"], hints: Hints) -> bool:
        return prover.check(prover.problem.within(radii), SEARCHING, hints).verdict is Verdict.ROBUST

    def _uniform(self, prover: Prover) -> Float[Tensor, "rings"]:
        """The largest single radius that attack and plain bounds settle, to a few percent."""
        problem = prover.problem
        ones = torch.ones(len(problem.rings), dtype=torch.float64)
        proved, refused = 0.0, float(problem.caps.max())
        while refused - proved > 0.05 * refused and refused > 1e-6 and not prover.budget.expired:
            radius = refused / 8 if proved == 0 else (proved + refused) / 2
            if prover.check(problem.within(radius * ones), ROUGH).verdict is Verdict.ROBUST:
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
