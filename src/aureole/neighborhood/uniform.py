"""The largest single radius: what a user of any other tool can get."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.attacks import BRIEF
from aureole.core import Verdict
from aureole.neighborhood.method import Method
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.result import Neighborhood
from aureole.verify import Portfolio
from aureole.verify.stages import Break, Screen

ROUGH = Portfolio((Screen(), Break(BRIEF)))
"""For where a search starts, which only has to be certified: a hundredth of the time that `INCOMPLETE` may take."""


@dataclass(frozen=True)
class Uniform(Method):
    """Double the radius until it is not proved, then halve the bracket until it is at most delta wide.

    Where even small radii are not proved the search goes on below delta, down to `smallest`, so that a network that is
    robust at all gets a radius above 0. Floors and caps bend the ball where they must. The answer says nothing about
    single rings (`maximal` is None).
    """

    smallest: float = 1e-6

    def run(self, prover: Prover) -> Neighborhood:  # noqa: D102
        problem = prover.problem
        ones = torch.ones(len(problem.rings), dtype=torch.float64)
        most = float(problem.caps.max())
        proved, refused = 0.0, None
        while not prover.budget.expired:
            if refused is None:
                radius = min(max(2 * proved, problem.delta), most)
            elif refused - proved > problem.delta or (proved == 0 and refused > self.smallest):
                radius = (proved + refused) / 2
            else:
                break
            if prover.check(problem.within(radius * ones)).verdict is Verdict.ROBUST:
                proved = radius
                if radius >= most:
                    break
            else:
                refused = radius
        return prover.finish(look=False)


def certified_ball(prover: Prover) -> Float[Tensor, "rings"]:
    """The largest single radius that attack and plain bounds settle, to a few percent."""
    problem = prover.problem
    ones = torch.ones(len(problem.rings), dtype=torch.float64)
    proved, refused = 0.0, float(problem.caps.max())
    if refused <= 1e-6 and prover.check(problem.within(refused * ones), ROUGH).verdict is Verdict.ROBUST:
        return problem.within(refused * ones)
    while refused - proved > 0.05 * refused and refused > 1e-6 and not prover.budget.expired:
        radius = refused / 8 if proved == 0 else (proved + refused) / 2
        if prover.check(problem.within(radius * ones), ROUGH).verdict is Verdict.ROBUST:
            proved = radius
        else:
            refused = radius
    return problem.within(proved * ones)
