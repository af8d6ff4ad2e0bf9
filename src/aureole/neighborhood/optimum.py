"""The best radii of all, within a stated gap: upper bounds from witnesses against proofs, until they meet.

Counterexample-guided: the largest objective that the known witnesses leave is put to the prover, a little inwards. A
proof closes the gap; a witness lowers the bound. It gets there where radii are few, so for bands of rings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

from jaxtyping import Float
from torch import Tensor

from aureole.attacks import SmoothPgd
from aureole.core import Answer, Budget, Verdict
from aureole.neighborhood.certificate import Certificate, grow
from aureole.neighborhood.cover import Cover, Stuck, descend
from aureole.neighborhood.gap import LAST, Facets, stated
from aureole.neighborhood.hunt import Hunt, attack_down, inner
from aureole.neighborhood.method import Method
from aureole.neighborhood.patterns import Patterns
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.result import Neighborhood
from aureole.neighborhood.upper import Left, only_way_out
from aureole.verify import COMPLETE

NEAR = 0.8
"""Rings that alone come to less than this share of the best size are not looked at alone."""


@dataclass(frozen=True)
class Optimum(Method):
    """Radii proved to be within `gap` of the best possible, or as near as the time allows; then each ring is looked at.

    first:   the method that finds the radii to begin with, in `share` of the time
    closing: share of the time left then, for proofs and witnesses in turns; after that each ring is grown
    corners: share of that time, for single rings alone, where there is no cover
    facets:  share of what is left of it, for a cover (`cover.py`) where there is one
    descent: share of that, before proofs are tried where it was hardest to find an image that fails
    hunt:    how witnesses are searched for between two proofs
    least:   the smallest part of the way from the proved radii to the bound's that is tried before proofs get twice the
             time; the part halves where the prover gives up and grows by half where it proves
    """

    gap: float = 0.05
    first: Method = field(default_factory=lambda: Certificate(share=(0.5, 0.6, 0.8, 1.0)))
    share: float = 0.25
    closing: float = 0.85
    corners: float = 0.2
    facets: float = 0.85
    descent: float = 0.6
    hunt: Hunt = field(default_factory=Hunt)
    least: float = 0.1

    def run(self, prover: Prover) -> Neighborhood:  # noqa: D102
        problem = prover.problem
        left, cover = Left(problem), Cover(problem) if Cover.suits(problem) else None
        interrupted = False
        try:
            with prover.in_share(self.share):
                if self.first.run(prover).interrupted:
                    raise KeyboardInterrupt
            with prover.in_share(self.closing):
                self._close(prover, left, cover)
            prover.remember(left.images)
            prover.look(SmoothPgd())
            for ring in range(len(problem.rings)):  # the gap left may hold a little more, and each ring wants a witness
                grow(prover, ring, COMPLETE)
        except KeyboardInterrupt:
            interrupted = True
            prover.remember(left.images)
        found = prover.finish(look=True, prices=prover.prices())
        if interrupted:  # maybe in the middle of a step of the search over what is left
            left = Left(problem)
        for image in prover.witnesses:
            left.without(image)
        bound = left.best(Budget.seconds(LAST)).value
        found = stated(found, min(bound, _covered(cover)))
        return replace(found, seconds=prover.budget.spent, interrupted=interrupted)

    def _close(self, prover: Prover, left: Left, cover: Cover | None) -> None:
        """Proofs and witnesses in turns until the gap is small enough."""
        problem, patterns = prover.problem, Patterns(prover.problem, prover.device)
        generator = prover.generator()
        alone = self.hunt.alone(problem, generator, prover.budget, prover.device)
        for image in (*prover.witnesses, *alone):
            left.without(image)
        if cover is None:
            with prover.in_share(self.corners):
                self._corners(prover, left, patterns, alone)
        else:
            with prover.in_share(self.facets):
                self._cover(prover, left, patterns, cover)
            if cover.bound <= left.best(prover.budget).value:
                return  # single witnesses would have a long way to go
        part, descended = 1.0, False
        while True:
            if prover.size >= (1 - self.gap) * _covered(cover):
                return
            if not descended:
                time = prover.budget.remaining / 2
                bound = attack_down(
                    problem, left, patterns, self.hunt, prover.size, self.gap, generator, prover.budget, time
                )
            if prover.budget.expired or not bound.tight or bound.met(prover.size, self.gap):
                return
            target = inner(problem, replace(bound, value=min(bound.value, _covered(cover))), self.gap)
            radii = problem.within(prover.radii + part * (target - prover.radii))
            answer = self._asked(prover, left, patterns, radii)
            descended = left.has(bound.radii)
            if answer.verdict is Verdict.ROBUST:
                part = min(1.0, 1.5 * part)
            elif descended:  # nothing was learnt about the target
                part /= 2
            if part < self.least:
                if prover.query_seconds >= prover.budget.remaining:
                    return
                part, prover.query_seconds = 0.5, 2 * prover.query_seconds

    def _cover(self, prover: Prover, left: Left, patterns: Patterns, cover: Cover) -> None:
        """Facets of the size that would close the gap, over all directions; proofs where these are hardest to find."""
        problem, generator = prover.problem, prover.generator()
        facets = Facets(problem, cover, left, self.hunt, self.gap, generator, prover.device)
        hard: list[tuple[float, Stuck]] = []  # since the last proofs: the margin found where it was stuck

        def learn(stuck: Stuck) -> bool:
            margin, image = facets.asked(stuck, prover.budget)
            if margin > 0:
                hard.append((margin, replace(stuck, image=image)))
                return False
            prover.remember([image])
            return True

        facets.alone(patterns, prover.size, prover.budget)
        while True:
            turn = prover.budget.at_most(self.descent * prover.budget.remaining)
            descend(
                cover, lambda: left.best(prover.budget).value, lambda: prover.size / (1 - self.gap), learn, turn
            )  # fmt: skip
            wanted = (1 - self.gap) * facets.bound(prover.budget)
            if prover.size >= wanted or prover.budget.expired:
                return
            news, size = False, prover.size
            for _, stuck in sorted(hard, key=lambda each: -each[0]):
                if news or prover.budget.expired:
                    break
                radii = problem.within(stuck.radii)
                answer = self._along(prover, radii, min(wanted, problem.size(radii)))
                news = prover.size > size
                if answer.witness is not None:
                    news = learn(replace(stuck, image=answer.witness)) or news
            if hard and not news:
                if prover.query_seconds >= prover.budget.remaining:
                    return
                prover.query_seconds *= 2  # what was given up is asked again
            hard.clear()

    def _along(self, prover: Prover, radii: Float[Tensor, "rings"], size: float) -> Answer:
        """The prover's answer about radii in this direction of a size; where it gives up, how far it gets."""
        problem, floors = prover.problem, prover.problem.floors
        each = (radii - floors) / (problem.size(radii) - problem.size(floors))

        def asked(size: float) -> Answer:
            return prover.check(problem.within(floors + (size - problem.size(floors)) * each))

        answer = asked((1 + 1e-9) * size)
        proved, refused, near = prover.size, size, self.gap / 2 * size
        while answer.verdict is Verdict.UNKNOWN and refused - proved > near and not prover.budget.expired:
            middle = (proved + refused) / 2
            robust = asked(middle).verdict is Verdict.ROBUST
            proved, refused = (middle, refused) if robust else (proved, middle)
        return answer

    def _asked(self, prover: Prover, left: Left, patterns: Patterns, radii: Float[Tensor, "rings"]) -> Answer:
        """Ask the prover; a witness lowers the bound, and so does the same change at smaller radii."""
        known, problem = len(prover.witnesses), prover.problem
        answer = prover.check(radii)
        if answer.witness is not None:
            if len(prover.witnesses) > known:
                patterns.add(answer.witness, radii)
            left.without(self.hunt.trimmed(problem, answer.witness, radii))
            generator = prover.generator()
            deeper = self.hunt.inside(problem, radii, patterns, generator, prover.budget)
            if deeper is not None:
                left.without(deeper)
        return answer

    def _corners(self, prover: Prover, left: Left, patterns: Patterns, alone: Sequence[Tensor]) -> None:
        """How far each ring can go alone, by proofs and witnesses, those that may go furthest first.

        A weighted sum is largest near such corners, and the prover's witnesses there are better than an attack's.
        """
        problem = prover.problem
        if problem.objective != "sum":
            return
        limits = problem.caps.clone()
        for image in alone:
            if (way := only_way_out(problem, image, problem.floors)) is not None:
                ring, reach = way
                limits[ring] = min(float(limits[ring]), reach)
        for ring in (problem.weights * limits).argsort(descending=True).tolist():
            proved, refused = float(prover.radii[ring]), float(limits[ring])
            while refused - proved > max(self.gap / 2 * refused, problem.delta) and not prover.budget.expired:
                radii = problem.floors.clone()
                radii[ring] = refused
                far = float(problem.weights[ring]) > 0 and problem.size(radii) >= NEAR * prover.size
                if not far or left.best(prover.budget).met(prover.size, self.gap):
                    break
                radii[ring] = (proved + refused) / 2
                if self._asked(prover, left, patterns, radii).verdict is Verdict.ROBUST:
                    proved = float(radii[ring])
                else:
                    refused = float(radii[ring])


def _covered(cover: Cover | None) -> float:
    """The bound of a cover, if there is one."""
    return inf if cover is None else cover.bound
