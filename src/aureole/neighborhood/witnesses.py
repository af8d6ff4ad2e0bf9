"""Images that fail: in many ringed neighborhoods at once, just beyond given radii in single rings, or clearly."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from math import inf, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.attacks import SmoothPgd
from aureole.attacks.base import Attack
from aureole.core import Budget, Region, Why
from aureole.neighborhood.facing import Facing, pushed
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.upper import ways_out
from aureole.verify.known import Known
from aureole.verify.local import Local
from aureole.verify.query import Query
from aureole.verify.stages import Screen

GOING_ON = SmoothPgd(steps=8, restarts=0, sets=1, step=(0.3, 0.05))
"""Short, from the given starts alone: from images that fail, or nearly, at other radii."""

LIGHT = SmoothPgd(steps=20, restarts=2, sets=3)
"""For many neighborhoods; of six sets of rows the first three are worth their time."""

CLEARLY = 0.01
"""Score units below zero: images that fail by as much make others like them fail at radii a little smaller."""

DOWN = Local(tries=0, goal=-10 * CLEARLY, gain=CLEARLY / 10, share=1.0)
AROUND = Local(goal=-CLEARLY, share=0.5)
"""By linear programs to where an image fails deeply, or to their end; on from there to where one fails clearly."""

AWHILE = 6.0
"""Seconds at most for both."""

SETTLING = Local(tries=0, goal=-inf, gain=1e-5, share=1.0)
"""To the end of the linear programs: where margins are this small, every bit counts."""

BRIEFLY = 1.0
"""Seconds at most for one ring's linear programs."""

PROMISED = 0.8
"""Share of the margin that a ring's price must promise over delta before linear programs are worth their time."""

NEAR = 0.02
"""A ring's limit is known well enough when it lies between two radii that differ by this share of the larger."""

Settle = Callable[[Tensor, Tensor], Tensor]
"""(witness, radii of a neighborhood that holds it) -> a witness in there that moves less."""


def attacked(
    problem: Problem,
    regions: Region,
    attack: Attack,
    generator: torch.Generator,
    budget: Budget = Budget(),
    device: torch.device | str = "cpu",
    starts: Float[Tensor, "batch starts *shape"] | None = None,
) -> Iterator[Float[Tensor, "batch channels height width"]]:
    """The worst images that an attack finds in each region, spec by spec.

    starts: where it begins, besides its own starts; the clean image when None
    """
    given = problem.image.expand(len(regions), 1, *problem.image.shape) if starts is None else starts.to(problem.image)
    for spec in problem.specs:
        yield attack(
            problem.graph, regions, spec, generator=generator, budget=budget, starts=given, device=device
        ).images


def failing(
    problem: Problem,
    asked: Sequence[Float[Tensor, "rings"]],
    attack: Attack,
    generator: torch.Generator,
    budget: Budget = Budget(),
    device: torch.device | str = "cpu",
    starts: Float[Tensor, "asked starts *shape"] | None = None,
) -> list[Tensor | None]:
    """A witness in each ringed neighborhood, where the attack finds one: all of them in one batch."""
    regions = [problem.region(radii) for radii in asked]
    found: list[Tensor | None] = [None] * len(regions)
    for images in attacked(problem, Region.stack(regions), attack, generator, budget, device, starts):
        for n, image in enumerate(images):
            if found[n] is None:
                found[n] = replayed(problem, regions[n], image)
    return found


def weakest(
    problem: Problem,
    asked: Sequence[Float[Tensor, "rings"]],
    attack: Attack,
    seed: int,
    budget: Budget = Budget(),
    device: torch.device | str = "cpu",
) -> Float[Tensor, "asked"]:
    """The smallest margin that the attack finds in each neighborhood."""
    regions = Region.stack([problem.region(radii) for radii in asked])
    worst = attacked(problem, regions, attack, torch.Generator().manual_seed(seed), budget, device)
    margins = [spec.margin(problem.graph(images)) for spec, images in zip(problem.specs, worst, strict=True)]
    return torch.stack(margins).amin(0)


def lowered(
    problem: Problem,
    radii: Float[Tensor, "rings"],
    start: Float[Tensor, "channels height width"],
    attack: Attack,
    generator: torch.Generator,
    budget: Budget = Budget(),
    device: torch.device | str = "cpu",
) -> tuple[float, Tensor]:
    """The least margin in N(radii) that local search comes to, and the image: a witness where it is not positive.

    It begins at the image given or at what an attack finds, whichever is nearer to failing, then at the others.
    """
    region, budget = problem.region(radii), budget.at_most(AWHILE)
    attacks = attacked(problem, region, attack, generator, budget, device)
    starts = [(problem.graph.replay(image), image) for image in (start, *(images[0] for images in attacks))]

    @cache
    def screened(n: int) -> tuple[Query, Known]:
        return _screened(problem, region, n, budget)

    found: list[tuple[Query, Known]] = []
    for scores, image in sorted(starts, key=lambda each: float(problem.margin(each[0]))):
        query, known = screened(_lowest(problem, scores))
        found.append((query, _searched(DOWN, query, known.seen(query, image))))
        if found[-1][1].least <= -CLEARLY:
            break
    query, known = min(found, key=lambda each: each[1].least)
    if known.least > -CLEARLY:
        known = _searched(AROUND, query, known)
    assert known.image is not None
    return known.least, known.image


def settled(
    problem: Problem,
    radii: Float[Tensor, "rings"],
    start: Float[Tensor, "channels height width"],
    budget: Budget = Budget(),
) -> tuple[float, Tensor]:
    """Where linear programs from one image end in N(radii), and the margin there: a witness where it is not positive.

    start: clipped into N(radii) first
    """
    region = problem.region(radii)
    start = region.nearest(start.to(torch.float64), problem.graph.precision)[0]
    query, known = _screened(problem, region, _lowest(problem, problem.graph.replay(start)), budget)
    known = _searched(SETTLING, query, known.seen(query, start))
    assert known.image is not None
    return known.least, known.image


def stopping(
    problem: Problem,
    grown: Mapping[int, Float[Tensor, "rings"]],
    faced: Facing,
    budget: Budget = Budget(),
) -> list[Tensor]:
    """Images that fail once one ring has grown by delta, made from the image nearest to failing.

    grown: the radii with that ring grown, for each ring asked about

    Ring by ring its pixels move down the slope; where that is not enough and the ring's price promises more, linear
    programs go on from there.
    """
    if not grown:
        return []
    rings, asked, found = tuple(grown), tuple(grown.values()), []
    for d, radii, image in zip(rings, asked, pushed(problem, asked, rings, faced.images[0]), strict=True):
        witness = replayed(problem, problem.region(radii), image)
        promised = float(faced.prices[0, d]) * problem.delta >= PROMISED * faced.margin
        if witness is None and promised and not budget.expired:
            margin, lower = settled(problem, radii, image, budget.at_most(BRIEFLY))
            witness = lower if margin <= 0 else None
        if witness is not None:
            found.append(witness)
    return found


def _screened(problem: Problem, region: Region, n: int, budget: Budget) -> tuple[Query, Known]:
    query = Query.ask(problem.graph, region, problem.specs[n], budget, 0)
    return query, Screen()(query, Known())


def _lowest(problem: Problem, scores: Float[Tensor, "classes"]) -> int:
    """The spec that is nearest to failing."""
    return int(torch.stack([spec.margin(scores) for spec in problem.specs]).argmin())


def _searched(stage: Local, query: Query, known: Known) -> Known:
    known = stage(query, known)
    if known.open_because is Why.INTERRUPTED:  # stages return what they know; the search over radii ends here
        raise KeyboardInterrupt
    return known


def replayed(problem: Problem, region: Region, image: Tensor) -> Tensor | None:
    """The image, inside the region and as the original model reads it, if a spec fails on it there."""
    image = region.nearest(image.to(torch.float64), problem.graph.precision)[0]
    return image if float(problem.margin(problem.graph.replay(image))) <= 0 else None


def beyond(
    problem: Problem,
    radii: Float[Tensor, "rings"],
    rings: Sequence[int],
    attack: Attack,
    rounds: int,
    generator: torch.Generator,
    budget: Budget = Budget(),
    device: torch.device | str = "cpu",
    known: Mapping[int, Tensor] | None = None,
    start: Float[Tensor, "channels height width"] | None = None,
    settle: Settle = lambda image, radii: image,
) -> dict[int, Tensor]:
    """For each ring a witness that leaves N(radii) in that ring alone, by as little as was found; none may be found.

    Each ring's own bracket is halved (in ratio) so often, all rings in one batch.

    known: such witnesses, to go on from
    start: where attacks begin in rings without one; the clean image when None
    """
    best = dict(known or {})
    low = {d: float(radii[d]) for d in rings}
    high = {d: float(ways_out(problem, best[d], radii)[d]) if d in best else float(problem.caps[d]) for d in rings}
    begun = problem.image if start is None else start
    for _ in range(1 + rounds):
        left = [d for d in rings if high[d] - low[d] > max(NEAR * high[d], problem.delta)]
        if not left or budget.expired:
            break
        # where nothing is known the cap comes first, then what is left is halved in ratio
        middle = {d: sqrt(max(low[d], high[d] / 16) * high[d]) if d in best else high[d] for d in left}
        asked = [with_ring(radii, d, middle[d]) for d in left]
        starts = torch.stack([best.get(d, begun) for d in left])[:, None]
        found = failing(problem, asked, attack, generator, budget, device, starts)
        for d, tried, image in zip(left, asked, found, strict=True):
            if image is None:
                low[d] = middle[d]
            else:
                best[d] = settle(image, tried)
                high[d] = float(ways_out(problem, best[d], radii)[d])
    return best


def with_ring(radii: Float[Tensor, "rings"], ring: int, radius: float) -> Float[Tensor, "rings"]:
    """The radii with one of them changed."""
    radii = radii.clone()
    radii[ring] = radius
    return radii
