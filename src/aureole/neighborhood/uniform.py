"""The largest single radius: what a user of any other tool can get."""

from dataclasses import dataclass

import torch

from aureole.core import Verdict
from aureole.neighborhood.method import Method
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.result import Neighborhood


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
