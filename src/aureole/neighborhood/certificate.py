"""Our method: climb the certified margin, prove the result, then let the complete prover push every ring outwards."""

from dataclasses import dataclass, field, replace
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.attacks import SmoothPgd
from aureole.attacks.base import Attack
from aureole.bounds import Ascent
from aureole.core import Answer, Budget, Verdict
from aureole.neighborhood.ascent import Climbed, JointAscent, climb
from aureole.neighborhood.corners import Corners
from aureole.neighborhood.directions import Directions
from aureole.neighborhood.gap import concluded
from aureole.neighborhood.method import Method
from aureole.neighborhood.objective import rises_with
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.result import Neighborhood
from aureole.neighborhood.uniform import ROUGH, certified_ball
from aureole.neighborhood.witnesses import GOING_ON, with_ring
from aureole.verify import COMPLETE, INCOMPLETE, Hints, Portfolio
from aureole.verify.blocks import Blocks
from aureole.verify.stages import Climb, Ranges, Screen

AT_ONCE = Portfolio((Screen(), Climb(Ascent(steps=0))))
"""The bounds that hints give, and no more: what the climb meets on its way."""

SEARCHING = Portfolio(
    (*ROUGH.stages, Ranges(climb=Climb(Ascent(steps=0), most_sets=0)), Climb(Ascent(steps=10)), Blocks())
)
"""For radii that the climbed bounds do not carry; what takes longer than this is left, other radii are tried."""


TRIFLE = 1e-3
"""Relative: a gain in size that another climb is not worth; rings near their caps gain less each time, without end."""


@dataclass(frozen=True, eq=False)
class Tip:
    """Where a climb may go on, and hints of the answer about these radii, if there was one."""

    climbed: Climbed
    hints: Hints | None
    corner: bool = False

    @property
    def radii(self) -> Float[Tensor, "rings"]:
        """Not necessarily proved."""
        return self.climbed.radii

    @property
    def both(self) -> Hints:
        """The answer's bounds with the climb's parameters, which at a corner are those of other radii."""
        own = self.climbed.hints
        if self.hints is None or self.corner:
            return self.hints or own
        return replace(self.hints, parameters=own.parameters or self.hints.parameters)


@dataclass(frozen=True)
class Certificate(Method):
    """Ascent from the certified uniform ball, then beyond what bounds certify; at the end single rings are grown.

    begun:   a first climb already done, as `climb_all` does for many scenes at once; the search goes on from there
    shrink:  factors tried on the climbed radii until they are proved (the climb runs in float32)
    corners, directions: for the objective `sum`: where else the search may start
    brief:   share of a query's time for radii that bounds do not carry: there are others to try
    mixed:   share of the climbed radii that the other rings of a corner begin with
    beyond:  by how much the certified margin that is climbed to falls at first, in units of the clean margin; `faster`
             times that after each proof, half of it where there was none, down to `least`
    back:    shares of the way there that are tried until one is proved
    further, filling: each such climb, and the first one from a corner
    attack:  that looks for the witnesses at the end
    nearer:  that moves witnesses of single rings nearer then, so many times
    share:   of the time: until when the climb, the corners, the climbs beyond and the growth go on; the rest is for
             limits and `upper_bound`
    few:     the first two of these where directions are few: there is less to climb
    """

    ascent: JointAscent = field(default_factory=JointAscent)
    begun: Climbed | None = None
    shrink: tuple[float, ...] = (1.0, 0.99, 0.97, 0.94, 0.9, 0.8, 0.7)
    corners: Corners = field(default_factory=Corners)
    directions: Directions = field(default_factory=Directions)
    brief: float = 0.5
    mixed: float = 0.02
    beyond: float = 0.1
    faster: float = 1.5
    back: tuple[float, ...] = (1.0, 0.5, 0.25)
    further: JointAscent = field(
        default_factory=lambda: JointAscent(steps=30, rates=(0.1, 0.07, 0.2), warm=5, offers=0)
    )
    filling: JointAscent = field(default_factory=lambda: JointAscent(steps=40, rates=(0.2, 0.1, 0.3), warm=8, offers=0))
    least: float = 0.01
    share: tuple[float, float, float, float] = (0.5, 0.6, 0.86, 0.88)
    few: tuple[float, float] = (0.25, 0.65)
    attack: Attack = field(default_factory=lambda: SmoothPgd(steps=30, restarts=2))
    nearer: tuple[Attack, int] = (GOING_ON, 8)

    def run(self, prover: Prover) -> Neighborhood:  # noqa: D102
        problem = prover.problem
        few = self.directions.suits(problem)
        share = (*self.few, *self.share[2:]) if few else self.share
        *parts, growing = share
        climbing, turning, stretching = (prover.budget.at_most(part * prover.budget.remaining) for part in parts)
        with prover.in_share(growing):
            climbed = self.begun or climb(
                problem, certified_ball(prover), self.ascent, climbing,
                lambda radii, hints: self._offered(prover, radii, hints), device=prover.device,
            )  # fmt: skip
            tip, small = Tip(climbed, self._carried(prover, climbed)), None
            if problem.objective == "sum":
                tip = max(tip, self._cornered(prover, climbed, turning), key=lambda tip: problem.size(tip.radii))
                small = self.mixed * climbed.radii
            climbed = self._overreach(prover, tip, small, stretching)
            for ring in self._order(problem, climbed):
                grow(prover, ring, COMPLETE)
        prover.look(self.attack)
        return concluded(prover, self.nearer, self.share[-1])

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

    def _carried(self, prover: Prover, climbed: Climbed) -> Hints | None:
        """Prove the climbed radii, or nearly those, with the climbed bounds; hints of the answer."""
        for factor in self.shrink:
            radii = prover.problem.within(climbed.radii * factor)
            if prover.budget.expired or prover.problem.size(radii) <= prover.size:
                return None
            answer = prover.check(radii, INCOMPLETE, climbed.hints)
            if answer.verdict is Verdict.ROBUST:
                return answer.hints
        return None

    def _cornered(self, prover: Prover, climbed: Climbed, budget: Budget) -> Tip:
        """Prove radii elsewhere: rings at their caps, or, of few rings, other directions; else the climbed radii."""
        problem, tip = prover.problem, Tip(climbed, None)

        def proved(radii: Float[Tensor, "rings"]) -> bool:
            nonlocal tip
            answer = self._searched(prover, radii)
            if answer.verdict is not Verdict.ROBUST:
                return False
            tip = Tip(replace(climbed, radii=radii), answer.hints, corner=True)
            return True

        start = torch.where(climbed.radii >= problem.caps, problem.caps, problem.floors)
        self.corners(problem, start, proved, budget, prover.seed, prover.device)
        if self.directions.suits(problem):
            self.directions(problem, lambda: prover.size, proved, budget, prover.seed, prover.device)
        return tip

    def _overreach(self, prover: Prover, tip: Tip, small: Float[Tensor, "rings"] | None, budget: Budget) -> Climbed:
        """Climb beyond what the bounds certify, for branch and bound to prove, by as much as it can.

        small: the radii begin at least there
        """
        problem, fall, ascent = prover.problem, self.beyond, self.filling if tip.corner else self.further
        while not budget.expired and fall > self.least and bool((prover.radii < problem.caps).any()):
            tried = climb(
                problem, tip.radii, replace(ascent, fall=fall), budget,
                hints=tip.both, least=small, device=prover.device,
            )  # fmt: skip
            way = tried.radii - tip.radii
            for share in self.back:
                radii = tip.radii + share * way
                if problem.size(radii) > (1 + TRIFLE) * prover.size and not budget.expired:
                    answer = self._searched(prover, radii, tried.hints)
                    if answer.verdict is Verdict.ROBUST:
                        tip, ascent = Tip(replace(tried, radii=radii), answer.hints), self.further
                        fall *= self.faster
                        break
                fall /= 2
        return tip.climbed

    def _searched(self, prover: Prover, radii: Float[Tensor, "rings"], hints: Hints | None = None) -> Answer:
        with prover.in_share(query=self.brief):
            return prover.check(prover.problem.within(radii), SEARCHING, hints)


def grow(prover: Prover, ring: int, portfolio: Portfolio) -> None:
    """Raise one ring of the best proved radii by ever longer steps, then ever shorter ones, down to delta."""
    problem, step, refused = prover.problem, prover.problem.delta, inf
    while not prover.budget.expired and float(prover.radii[ring]) < float(problem.caps[ring]):
        tried = min(float(prover.radii[ring]) + step, float(problem.caps[ring]))
        radii = with_ring(prover.radii, ring, tried)
        robust = tried < refused and prover.check(radii, portfolio).verdict is Verdict.ROBUST
        if robust and refused == inf:
            step *= 2
            continue
        if not robust:
            refused = min(refused, tried)
            if step <= problem.delta:
                return
        step = max(step / 2, problem.delta)
