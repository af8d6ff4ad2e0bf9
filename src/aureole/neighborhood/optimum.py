"""The best radii of all, within a stated gap: upper bounds from witnesses against proofs, until they meet.

Counterexample-guided: the largest objective that the known witnesses leave is put to the prover, a little inwards. A
proof closes the gap; a witness lowers the bound. It gets there where radii are few, so for bands of rings.
"""

from dataclasses import dataclass, field, replace

import torch

from aureole.core import Verdict
from aureole.neighborhood.certificate import Certificate, grow
from aureole.neighborhood.gap import stated
from aureole.neighborhood.hunt import Hunt, descend, inner
from aureole.neighborhood.method import Method
from aureole.neighborhood.patterns import Patterns
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.result import Neighborhood
from aureole.neighborhood.upper import Left
from aureole.verify import COMPLETE


@dataclass(frozen=True)
class Optimum(Method):
    """Radii proved to be within `gap` of the best possible, or as near as the time allows; then each ring is looked at.

    first:  the method that finds the radii to begin with, in `share` of the time
    hunt:   how witnesses are searched for between two proofs
    least:  the smallest part of the way from the proved radii to the bound's that is tried before proofs get twice the
            time; the part halves where the prover gives up and grows by half where it proves
    """

    gap: float = 0.05
    first: Method = field(default_factory=lambda: Certificate(share=(0.5, 0.8, 1.0)))
    share: float = 0.3
    hunt: Hunt = field(default_factory=Hunt)
    least: float = 0.1

    def run(self, prover: Prover) -> Neighborhood:  # noqa: D102
        problem = prover.problem
        left, patterns = Left(problem), Patterns(problem)
        bound, interrupted, usual = left.best(), False, prover.query_seconds
        prices = None
        try:
            prices = self._begin(prover).prices
            generator = torch.Generator().manual_seed(prover.seed)
            for image in (*prover.witnesses, *self.hunt.alone(problem, generator, prover.budget)):
                left.without(image)
            part, descended = 1.0, False
            while True:
                if not descended:
                    time = prover.budget.remaining / 2
                    bound = descend(
                        problem, left, patterns, self.hunt, prover.size, self.gap, generator, prover.budget, time
                    )
                if prover.budget.expired or not bound.tight or prover.size >= (1 - self.gap) * bound.value:
                    break
                target = inner(problem, bound, self.gap)
                radii = problem.within(prover.radii + part * (target - prover.radii))
                answer = prover.check(radii)
                if answer.witness is not None:
                    patterns.add(answer.witness, radii)
                    left.without(self.hunt.trimmed(problem, answer.witness, radii))
                descended = left.has(bound.radii)
                if answer.verdict is Verdict.ROBUST:
                    part = min(1.0, 1.5 * part)
                elif descended:  # nothing was learnt about the target
                    part /= 2
                if part < self.least:
                    if prover.query_seconds >= prover.budget.remaining:
                        break
                    part, prover.query_seconds = 0.5, 2 * prover.query_seconds
            prover.query_seconds = usual
            prover.look(self.hunt.last)
            for ring in range(len(problem.rings)):  # the gap left may hold a little more, and each ring wants a witness
                grow(prover, ring, COMPLETE)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            prover.query_seconds = usual
        return replace(stated(prover.finish(look=True, prices=prices), bound), interrupted=interrupted)

    def _begin(self, prover: Prover) -> Neighborhood:
        """What the first method finds in its share of the time."""
        whole = prover.budget
        prover.budget = replace(whole, deadline=whole.at_most(self.share * whole.remaining).deadline)
        try:
            return self.first.run(prover)
        finally:
            prover.budget = whole
