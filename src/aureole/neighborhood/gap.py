"""The distance of a result to the best possible, from the witnesses known and attacks for more."""

from collections.abc import Sequence
from dataclasses import replace

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
from aureole.neighborhood.upper import Left
from aureole.neighborhood.witnesses import lowered

FIRST = 0.1
"""Share of a cover's time for single witnesses before it."""


def concluded(
    prover: Prover,
    nearer: tuple[Attack, int],
    prices: Float[Tensor, "rings"],
    used: float,
) -> Neighborhood:
    """The result of a search, with a limit for every ring where one is found, and an upper bound.

    nearer: the attack that moves witnesses of single rings nearer, and how often
    used:   share of the time that search and limits had; with 1 there is no upper bound, which takes the rest
    """
    prover.bracket(*nearer)
    found, spent = prover.finish(look=True, prices=prices), prover.budget.spent
    if used == 1:
        return found
    bounding = prover.budget.at_most((1 / used - 1) * spent)  # a budget without end is not for this
    found = bounded(found, prover.problem, prover.witnesses, bounding, prover.seed, device=prover.device)
    return replace(found, seconds=prover.budget.spent)


def bounded(
    found: Neighborhood,
    problem: Problem,
    witnesses: Sequence[Float[Tensor, "channels height width"]],
    budget: Budget,
    seed: int = 0,
    gap: float = 0.05,
    hunt: Hunt = Hunt(),  # noqa: B008  (frozen)
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
        return stated(found, attack_down(problem, left, patterns, hunt, found.size, gap, generator, budget).value)
    cover = Cover(problem)
    alone_first(cover, problem, left, patterns, hunt, found.size, gap, generator, budget)

    def known() -> float:
        return left.best(budget).value

    def learn(stuck: Stuck) -> bool:
        radii = problem.within(stuck.radii)
        margin, image = lowered(problem, radii, stuck.image, hunt.attack, generator, budget, device)
        if margin <= 0:
            left.without(image)
            cover.learn(stuck.radii, image)
        return margin <= 0

    descend(cover, known, lambda: found.size / (1 - gap), learn, budget)
    return stated(found, min(known(), cover.bound))


def alone_first(
    cover: Cover,
    problem: Problem,
    left: Left,
    patterns: Patterns,
    hunt: Hunt,
    size: float,
    gap: float,
    generator: torch.Generator,
    budget: Budget,
) -> None:
    """Lower the bound by single witnesses, which do it fast at first, and let the cover try their changes."""
    attack_down(problem, left, patterns, hunt, size, gap, generator, budget, FIRST * budget.remaining)
    for image in left.images:
        cover.learn(problem.rings.peak((image - problem.image).abs().amax(0)), image)


def stated(found: Neighborhood, bound: float) -> Neighborhood:
    """The result with its distance to the best possible: `gap = 1 - size / upper_bound`."""
    return replace(found, upper_bound=bound, gap=max(0.0, 1 - found.size / bound) if bound > 0 else 0.0)
