"""The distance of a result to the best possible, from the witnesses known and attacks for more."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.attacks.base import Attack
from aureole.core import Budget
from aureole.neighborhood.cover import Cover, Stuck, descend
from aureole.neighborhood.hunt import Hunt, attack_down
from aureole.neighborhood.patterns import Patterns
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.prover import Prover
from aureole.neighborhood.result import Neighborhood
from aureole.neighborhood.upper import Left, upper_bound
from aureole.neighborhood.witnesses import lowered

BRACKET = 0.5
"""Share of what is left at the end for limits of single rings."""

SHORT = 1.0
"""Seconds that an upper bound gets at least, where a search ended early."""

LAST = 0.5
"""Seconds at most, when the time is over, for what the witnesses then leave: the bound that is reported."""

FIRST = 0.1
"""Share of a cover's time for single witnesses before it."""


def concluded(
    prover: Prover,
    nearer: tuple[Attack, int],
    used: float,
) -> Neighborhood:
    """The result of a search, with a limit for every ring where one is found, and an upper bound.

    nearer: the attack that moves witnesses of single rings nearer, and how often
    used:   share of the time that search and limits had; with 1 there is no upper bound, which takes the rest
    """
    with prover.in_share(BRACKET):
        prover.bracket(*nearer)
    found, spent = prover.finish(look=True, prices=prover.prices()), prover.budget.spent
    if used == 1:
        return found
    bounding = prover.budget.at_most(max((1 / used - 1) * spent, SHORT))  # a budget without end is not for this
    try:
        found = bounded(found, prover.problem, prover.witnesses, bounding, prover.seed, device=prover.device)
    except KeyboardInterrupt:
        known = upper_bound(prover.problem, prover.witnesses, Budget.seconds(LAST))
        found = replace(stated(found, known.value), interrupted=True)
    return replace(found, seconds=prover.budget.spent)


def bounded(
    found: Neighborhood,
    problem: Problem,
    witnesses: Sequence[Float[Tensor, "channels height width"]],
    budget: Budget,
    seed: int = 0,
    gap: float = 0.05,
    hunt: Hunt = Hunt(),
    device: torch.device | str = "cpu",
) -> Neighborhood:
    """A result with `upper_bound` and `gap`, from the witnesses known and those that attacks find in the time given.

    The result keeps its radii; nothing is proved here. With no time at all the known witnesses speak alone. The search
    ends at a distance of `gap`.
    """
    generator = torch.Generator().manual_seed(seed)
    left, patterns = Left(problem), Patterns(problem, device)
    half = budget.at_most(budget.remaining / 2)  # with many rings it takes long
    alone = hunt.alone(problem, generator, half, device)
    for image in (*witnesses, *found.witnesses.values(), *alone):
        left.without(image)
    if not Cover.suits(problem):
        bound = attack_down(problem, left, patterns, hunt, found.size, gap, generator, budget)
        return stated(found, min(bound.value, left.best(Budget.seconds(LAST)).value))
    facets = Facets(problem, Cover(problem), left, hunt, gap, generator, device)
    facets.alone(patterns, found.size, budget)
    descend(
        facets.cover, lambda: left.best(budget).value, lambda: found.size / (1 - gap),
        lambda stuck: facets.asked(stuck, budget)[0] <= 0, budget,
    )  # fmt: skip
    return stated(found, facets.bound(budget))


@dataclass(frozen=True, eq=False)
class Facets:
    """A cover beside what single witnesses leave: an image that is found lowers both bounds."""

    problem: Problem
    cover: Cover
    left: Left
    hunt: Hunt
    gap: float
    generator: torch.Generator
    device: torch.device | str

    def bound(self, budget: Budget) -> float:
        """The lower of the two."""
        return min(self.left.best(budget).value, self.cover.bound)

    def alone(self, patterns: Patterns, size: float, budget: Budget) -> None:
        """Single witnesses, which lower the bound fast at first; the cover then tries the changes of all known ones.

        size: proved
        """
        problem, most = self.problem, FIRST * budget.remaining
        attack_down(problem, self.left, patterns, self.hunt, size, self.gap, self.generator, budget, most)
        for image in self.left.images:
            self.cover.learn(problem.rings.peak((image - problem.image).abs().amax(0)), image)

    def asked(self, stuck: Stuck, budget: Budget) -> tuple[float, Float[Tensor, "channels height width"]]:
        """The least margin found where the cover is stuck, and the image; one that fails is learnt."""
        radii = self.problem.within(stuck.radii)
        margin, image = lowered(
            self.problem, radii, stuck.image, self.hunt.attack, self.generator, budget, self.device
        )  # fmt: skip
        if margin <= 0:
            self.left.without(image)
            self.cover.learn(stuck.radii, image)
        return margin, image


def stated(found: Neighborhood, bound: float) -> Neighborhood:
    """The result with its distance to the best possible: `gap = 1 - size / upper_bound`."""
    return replace(found, upper_bound=bound, gap=max(0.0, 1 - found.size / bound) if bound > 0 else 0.0)
