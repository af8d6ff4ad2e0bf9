"""Radii that cannot grow: small steps under exact proofs, until an image stops every ring."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aureole.attacks import BRIEF, SmoothPgd
from aureole.attacks.base import Attack
from aureole.core import Answer, Verdict
from aureole.neighborhood.facing import Facing, facing
from aureole.neighborhood.gap import concluded
from aureole.neighborhood.method import Method
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.result import Neighborhood
from aureole.neighborhood.uniform import ROUGH, certified_ball
from aureole.neighborhood.witnesses import BRIEFLY, GOING_ON, lowered, settled, stopping, weakest, with_ring
from aureole.verify import COMPLETE, Portfolio
from aureole.verify.local import Local
from aureole.verify.stages import Break, Screen

EXACT = Portfolio(
    (*ROUGH.stages, *(stage for stage in COMPLETE.stages if not isinstance(stage, Screen | Break | Local)))
)
"""Without long attacks and local search, which took a third of each query here: images that nearly fail are known."""


@dataclass(frozen=True)
class Maximal(Method):
    """Every ring gets the same share of the margin that is left, as often as the prover can follow.

    A neighborhood is maximal when the margin that is left in it is less than any ring's delta is worth, and the proof
    has to be exact to that. Exact proofs need radii that are small and even, so this begins with the uniform ball that
    bounds certify. Rings that cost next to nothing go to their caps (nothing would stop them before); then all rings
    grow that nothing stops yet. The images nearest to failing tell how much of the margin each ring takes; every
    refused step adds one. Images that stop a ring go on stopping it while others grow. When proofs no longer follow,
    the ring with the steepest price takes the margin that is left, which needs the smallest change, and at the end
    open rings grow one by one.

    free:    share of the margin that a ring may cost, at its cap, by an attack, to go there at once
    share:   of the margin, that a step may take: at first, and at most
    slack:   a step that promises less than this share is not worth a query
    reach:   times its radius, and at least so much in all, that a ring may grow in one step; prices say little there
    brief:   share of a query's time, while all rings grow
    tiny:    steps shorter than this part of delta are not taken
    most:    so many images are kept
    steep:   so many rings, those with the steepest prices, are tried for what is left
    attack:  tells what caps cost
    begun:   the attack where the search for the first image begins
    nearer:  the attack that moves witnesses of single rings nearer at the end, and how often
    used:    share of the time for all this; the rest is for `upper_bound`
    """

    free: float = 0.25
    share: tuple[float, float] = (0.5, 0.9)
    slack: float = 0.1
    reach: tuple[float, float] = (3.0, 0.03)
    brief: float = 0.5
    tiny: float = 1e-4
    most: int = 12
    steep: int = 2
    attack: Attack = BRIEF
    begun: Attack = field(default_factory=lambda: SmoothPgd(steps=30, restarts=8))
    nearer: tuple[Attack, int] = (GOING_ON, 8)
    used: float = 0.95

    def run(self, prover: Prover) -> Neighborhood:  # noqa: D102
        known = [prover.problem.image]
        with prover.in_share(self.used):
            certified_ball(prover)
            if bool(prover.radii.any()):
                self._freed(prover)
                known = self._begun(prover)
                for phase in (self._together, self._steepest, self._together, self._alone):
                    known = phase(prover, known)
        prover.look(self.begun)
        return concluded(prover, self.nearer, self.used)

    def _freed(self, prover: Prover) -> None:
        """Rings that cost next to nothing at their caps go there, all at once; half of them if that is not proved."""
        problem = prover.problem
        rings = [d for d in range(len(prover.radii)) if prover.radii[d] < problem.caps[d]]
        asked = [prover.radii, *(with_ring(prover.radii, d, float(problem.caps[d])) for d in rings)]
        now, *capped = weakest(problem, asked, self.attack, prover.seed, prover.budget, prover.device).tolist()
        ranked = sorted(zip(capped, rings, strict=True), reverse=True)
        cheap = [ring for left, ring in ranked if left >= (1 - self.free) * now]
        while cheap and not prover.budget.expired:
            radii = prover.radii.clone()
            radii[cheap] = problem.caps[cheap]
            with prover.in_share(query=self.brief):
                if prover.check(radii, EXACT).verdict is Verdict.ROBUST:
                    return
            cheap = cheap[: len(cheap) // 2]

    def _begun(self, prover: Prover) -> list[Tensor]:
        """An image near failing."""
        problem, generator = prover.problem, prover.generator()
        return [lowered(problem, prover.radii, problem.image, self.begun, generator, prover.budget, prover.device)[1]]

    def _faced(self, prover: Prover, known: Sequence[Tensor]) -> Facing:
        return facing(prover.problem, prover.radii, known, self.most)

    def _open(self, prover: Prover, faced: Facing) -> list[int]:
        """The rings that stay open after a look for images that stop them."""
        grown = {ring: prover.grown(ring) for ring in prover.open_rings()}
        prover.remember(stopping(prover.problem, grown, faced, prover.budget))
        return list(prover.open_rings())

    def _together(self, prover: Prover, known: list[Tensor]) -> list[Tensor]:
        """All open rings at a time."""
        problem, share = prover.problem, self.share[0]
        while share > self.slack and not prover.budget.expired:
            faced = self._faced(prover, known)
            rings = self._open(prover, faced)
            if not rings:
                break
            step = torch.zeros_like(prover.radii)
            affordable = faced.affordable(share / len(rings))[rings]
            room = (problem.caps - prover.radii)[rings]
            reach = (self.reach[0] * prover.radii[rings]).clamp(min=self.reach[1])
            step[rings] = torch.where(affordable >= room, room, torch.minimum(affordable, reach))
            if float(step.max()) < self.tiny * problem.delta:
                break
            with prover.in_share(query=self.brief):
                answer = prover.check(problem.within(prover.radii + step), EXACT)
            proved = answer.verdict is Verdict.ROBUST
            share = min(1.5 * share, self.share[1]) if proved else share / 2
            known = self._learned(prover, faced, answer)
            if answer.verdict is Verdict.UNKNOWN:
                break
        return known

    def _steepest(self, prover: Prover, known: list[Tensor]) -> list[Tensor]:
        """One ring takes the margin that is left, but for what the delta of open rings is worth."""
        problem, turn, share = prover.problem, 0, 1.0
        while turn < self.steep and not prover.budget.expired:
            faced = self._faced(prover, known)
            prices = torch.where(prover.radii < problem.caps, faced.prices[0], 0.0)
            if turn >= int((prices > 0).sum()):
                break
            worth = problem.delta * faced.prices[0, self._open(prover, faced)]
            # less margin stops none of the others: far cheaper ones, and those whose prices do not keep their word
            worth = worth[(worth > self.slack * faced.margin) & (worth < 2 * faced.margin)]
            if not len(worth):
                break
            ring = int(prices.argsort(descending=True)[turn])
            spare = max(faced.margin - 0.7 * float(worth.median()), self.slack * faced.margin)
            step = min(share * spare / float(prices[ring]), float(faced.affordable(self.share[1])[ring]))
            if step < self.tiny * problem.delta:
                break
            grown = with_ring(prover.radii, ring, float(prover.radii[ring]) + step)
            answer = prover.check(problem.within(grown), EXACT)
            if answer.verdict is Verdict.ROBUST:
                turn, share = 0, 1.0
            elif share == 1.0:
                share = 0.4
            else:
                turn, share = turn + 1, 1.0
            known = self._learned(prover, faced, answer)
        return known

    def _alone(self, prover: Prover, known: list[Tensor]) -> list[Tensor]:
        """The open rings one by one, the cheapest first, by ever shorter steps until one of delta is refused.

        Steps that are too long cost little: an image is soon found. Proofs take longest.
        """
        problem, given_up = prover.problem, set[int]()
        while not prover.budget.expired:
            faced = self._faced(prover, known)
            rings = [d for d in self._open(prover, faced) if d not in given_up]
            if not rings:
                break
            ring = min(rings, key=lambda d: float(faced.prices[0, d]))
            step = float(problem.caps[ring] - prover.radii[ring])
            while not prover.budget.expired and ring in prover.open_rings():
                grown = min(float(prover.radii[ring]) + step, float(problem.caps[ring]))
                answer = prover.check(with_ring(prover.radii, ring, grown), EXACT)
                known = self._learned(prover, faced, answer)
                faced = self._faced(prover, known)
                if answer.verdict is Verdict.ROBUST:
                    self._open(prover, faced)
                elif step < problem.delta:
                    break
                else:
                    step = self._shorter(problem.delta, step, answer)
            given_up.add(ring)
        return known

    @staticmethod
    def _shorter(delta: float, step: float, answer: Answer) -> float:
        """The next step of a ring after one that was refused: down to delta, and once half of that."""
        if step <= delta:
            return delta / 2
        return max(step / (2 if answer.verdict is Verdict.VULNERABLE else 4), delta)

    def _learned(self, prover: Prover, faced: Facing, answer: Answer) -> list[Tensor]:
        """The images known, with those that an answer leads to inside the best proved radii."""
        met = [image for image in (answer.witness, answer.weakest) if image is not None][:1]
        starts = met if answer.verdict is not Verdict.ROBUST else [faced.images[0], *met]
        brief = prover.budget.at_most(BRIEFLY)
        lower = [settled(prover.problem, prover.radii, start, brief)[1] for start in starts]
        return [*lower, *met, *faced.known]
