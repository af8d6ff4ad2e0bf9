"""The proposal's own algorithm (Mour 2023, section 3; its optimiser after Kabaha & Drachsler-Cohen, VMCAI 2023).

A verifier, an optimiser that expands a robust neighborhood against the weakest points' gradients, and a step that
shrinks a non-robust one back towards the last robust one by cutting weights. It is here as the faithful baseline.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.attacks import SmoothPgd
from aureole.attacks.base import Attack
from aureole.core import Region, Verdict
from aureole.neighborhood.method import Method
from aureole.neighborhood.objective import rises_with
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.result import Neighborhood

Cutting = Literal["sensitivity", "flipped", "fixed"]


@dataclass(frozen=True)
class Oracle(Method):
    """Oracle-guided expansion.

    cutting: the cutting weights. `fixed` keeps `(r, r, r-1, ..., 1) / (r+1)` of each ring's growth, far rings least;
             `sensitivity` keeps more of rings whose mean gradient is small (the proposal's formula); `flipped` keeps
             more of the others (the proposal's sentence).
    moving:  whether sensitivities are those of the weakest points, computed again after each accepted step (the
             proposal's plan); else those of the clean image. `fixed` has none
    balance: lambda, the weight of the robustness gradient against the size's; it falls by `decay` when a step fails
             or stalls, and the search ends below `balance_end`.
    rate:    eta at the start and its least value; a failed step halves it. Its unit is the uniform radius at which a
             network linear around the image would fail, times the root of the number of rings (the step direction has
             Euclidean length at most 1), since the pixel range itself is far too coarse a unit.
    points:  how many weakest points each gradient averages over.
    """

    cutting: Cutting = "sensitivity"
    moving: bool = False
    balance: float = 0.99
    balance_end: float = 0.01
    decay: float = 0.75
    rate: tuple[float, float] = (0.2, 0.01)
    points: int = 4
    attack: Attack = field(default_factory=lambda: SmoothPgd(steps=20, restarts=4))

    def run(self, prover: Prover) -> Neighborhood:  # noqa: D102
        problem, budget = prover.problem, prover.budget
        keep = cutting_weights(problem, self.cutting, problem.image[None])
        generator = prover.generator()
        robust = problem.floors
        prover.check(robust)
        gradient = margin_prices(problem, problem.image[None])
        unit = linear_radius(problem) * len(problem.rings) ** 0.5
        balance, rate = self.balance, self.rate[0]
        while balance >= self.balance_end and not budget.expired:
            rise = rises_with(problem.objective, robust, problem.weights)
            direction = (rise / rise.norm() - balance * gradient / gradient.norm().clamp(min=1e-12)).relu()
            target = problem.within(robust + rate * unit * direction)
            before, robust = robust, self._shrink_until_robust(prover, robust, target, keep)
            if float((robust - before).abs().max()) > problem.delta * rate:
                weakest = self._weakest(prover, robust, generator)
                gradient = margin_prices(problem, weakest)
                if self.moving:
                    keep = cutting_weights(problem, self.cutting, weakest)
            if not torch.equal(robust, target):  # the full step failed
                balance, rate = balance * self.decay, max(rate / 2, self.rate[1])
            elif prover.problem.size(robust) - prover.problem.size(before) <= problem.delta * rate:  # it stalled
                balance *= self.decay
        return prover.finish(look=False)

    def _shrink_until_robust(
        self, prover: Prover, robust: Float[Tensor, "rings"], target: Float[Tensor, "rings"], keep: Tensor
    ) -> Float[Tensor, "rings"]:
        """The first proved point on the way from `target` back to `robust`, or `robust` itself."""
        radii = target
        stop = prover.problem.delta * self.rate[1]
        while not prover.budget.expired and float((radii - robust).abs().max()) > stop:
            if prover.check(radii).verdict is Verdict.ROBUST:
                return radii
            radii = radii * keep + robust * (1 - keep)
        return robust

    def _weakest(
        self, prover: Prover, radii: Float[Tensor, "rings"], generator: torch.Generator
    ) -> Float[Tensor, "points channels height width"]:
        """Images of N(radii) with small margins, from independent attacks in one batch."""
        problem = prover.problem
        batch = Region.stack([problem.region(radii)] * self.points)
        found = [
            self.attack(
                problem.graph, batch, spec, generator=generator, budget=prover.budget, device=prover.device
            ).images
            for spec in problem.specs
        ]
        return torch.cat(found)


def margin_prices(problem: Problem, images: Float[Tensor, "points channels height width"]) -> Float[Tensor, "rings"]:
    """g_d: each ring's sum of |d margin / d pixel|, averaged over the images with softmax(-margin) as weights.

    The margin's gradient at an image is that of F_t - F_c for the class c at the k-th place there.
    """
    images = images.clone().requires_grad_(True)
    margins = problem.margin(problem.graph(images))
    (gradient,) = torch.autograd.grad(margins.sum(), images)
    weight = (-margins.detach()).softmax(0)
    return weight @ problem.rings.total(gradient.abs().sum(1))


def linear_radius(problem: Problem) -> float:
    """The uniform radius at which the margin's tangent at the image reaches 0."""
    margin = problem.clean_margin
    return margin / max(float(margin_prices(problem, problem.image[None]).sum()), 1e-12)


def cutting_weights(
    problem: Problem, kind: Cutting, images: Float[Tensor, "points channels height width"]
) -> Float[Tensor, "rings"]:
    """How much of each ring's growth a shrinking step keeps, in [0, r/(r+1)] (below 1, so that shrinking ends).

    images: where the rings' sensitivities are taken
    """
    r = len(problem.rings) - 1
    most = r / (r + 1)
    if kind == "fixed":
        ring = torch.arange(r + 1, dtype=torch.float64)
        return (r + 1 - ring).clamp(max=r) / (r + 1)
    pixels = torch.tensor(problem.rings.pixels, dtype=torch.float64)
    sensitivity = margin_prices(problem, images) / pixels
    spread = sensitivity.max() - sensitivity.min()
    sensitive = (sensitivity - sensitivity.min()) / spread.clamp(min=1e-12)
    return most * (sensitive if kind == "flipped" else 1 - sensitive)
