"""The naive baseline: the rings one by one, in the order of their weights."""

from dataclasses import dataclass

from aureole.core import Verdict
from aureole.neighborhood.method import Method
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.result import Neighborhood


@dataclass(frozen=True)
class Bisection(Method):
    """Each ring's largest radius to within delta, with the earlier rings fixed and the later ones at 0.

    Heavier rings come first, nearer ones first among equals. Every step keeps a proved neighborhood, so a budget that
    ends early leaves the radii found so far, with the rest open.
    """

    def run(self, prover: Prover) -> Neighborhood:  # noqa: D102
        weights = prover.problem.weights
        for ring in sorted(range(len(weights)), key=lambda d: (-float(weights[d]), d)):
            if prover.budget.expired:
                break
            if float(weights[ring]) > 0:
                grow(prover, ring)
        return prover.finish(look=True)


def grow(prover: Prover, ring: int) -> None:
    """Raise one ring of the best proved radii as far as it goes, to within delta."""
    problem = prover.problem
    cap = float(problem.caps[ring])
    proved, refused = float(prover.radii[ring]), cap

    def proves(radius: float) -> bool:
        radii = prover.radii.clone()
        radii[ring] = radius
        return prover.check(radii).verdict is Verdict.ROBUST

    if proves(cap):
        return
    while refused - proved > problem.delta and not prover.budget.expired:
        radius = (proved + refused) / 2
        if proves(radius):
            proved = radius
        else:
            refused = radius
