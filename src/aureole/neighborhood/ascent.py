"""Joint ascent: radii and relaxation climb together through the certified margin.

The certified margin is a differentiable function of the radii, of every free slope, pool weight and level, and of the
inner bounds. Climbing all of them at once prices a ring by what its radius does to the looseness of every relaxation,
which no sequence of fixed linear programs does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.bounds import Interval, intermediate_bounds, lower_bounds, relax
from aureole.bounds.linear import UNIT_PARAMETERS, Parameters, Relaxations, cast, project
from aureole.core import Budget, Graph, Region, Rings, Rows, Spec
from aureole.core.graph import MaxPool, Relu, merge_rectified_pools
from aureole.neighborhood.objective import LEAST
from aureole.neighborhood.problem import Problem
from aureole.verify.query import Hints, with_constants


@dataclass(frozen=True)
class JointAscent:
    """Adam on log radii and relaxation, with an augmented Lagrangian for "the certified margin is positive".

    steps:   how many
    rates:   learning rates of log radii, of slopes and levels, of pool weights; they fall to `end` of that
    warm:    steps in which the rates rise to that: Adam's first ones go all the way in every parameter, which good ones
             do not survive
    penalty: weight of the squared shortfall, in units of the clean margin
    goal:    the certified margin aimed at, in units of the clean margin; `near` less suffices to keep a point
    fall:    if not None, the goal is lower by so much, and the start's certified margin takes its place where that is
             lower still: for radii that a stronger proof than the climbed bounds may carry
    offers:  how often the best radii so far are offered on the way: after 2/3 of the steps, 2/3 of that, and so on
    """

    steps: int = 100
    rates: tuple[float, float, float] = (0.1, 0.1, 0.3)
    end: float = 0.4
    warm: int = 1
    penalty: float = 3.0
    goal: float = 1e-3
    fall: float | None = None
    near: float = 5e-4
    offers: int = 7


@dataclass(frozen=True, eq=False)
class Climbed:
    """The largest radii that kept the certified margin at the goal (float32: prove them), and each ring's price there.

    prices: by how much the certified margin falls per unit of each ring's radius
    hints:  the relaxation's parameters there, for the proof
    """

    radii: Float[Tensor, "rings"]
    prices: Float[Tensor, "rings"]
    hints: Hints


Offer = Callable[[Float[Tensor, "rings"], Hints], None]
"""Called with radii met on the way and hints for their proof."""


def climb(
    problem: Problem,
    start: Float[Tensor, "rings"],
    ascent: JointAscent,
    budget: Budget,
    offer: Offer = lambda radii, hints: None,
    hints: Hints | None = None,
    least: Float[Tensor, "rings"] | None = None,
    device: torch.device | str = "cpu",
) -> Climbed:
    """Climb from radii whose certified margin is above the goal; `start` itself comes back if nothing better was met.

    hints: of an earlier climb or an answer. The relaxation begins with their parameters. If their inner bounds are
           tighter than plain ones, these are taken to be too pessimistic by as much all the way: an estimate, by which
           radii are climbed to that a proof with such bounds may carry
    least: the climb goes on from the start at once to radii that are nowhere smaller; rings at their caps stay there
    """
    exact, every = with_constants(merge_rectified_pools(problem.graph.to(torch.float64)), _every_row(problem))
    graph = exact.to(torch.float32, device)
    image = problem.image.to(device, torch.float32)
    rows = every.rows(graph.classes)[None].to(image)
    rings = Rings(problem.rings.index.to(device))
    unit = max(float(problem.margin(problem.graph.replay(problem.image))), 1e-6)  # in float32 it may vanish
    lowest, highest = (limits.to(image).clamp(min=LEAST).log() for limits in (problem.floors, problem.caps))
    goal, lifts = ascent.goal, _lifts(problem, graph, image, hints)
    parameters = {} if hints is None else hints.parameters
    begun = start.to(image).clamp(min=LEAST).log()
    if least is not None:
        lowest = torch.where(begun >= highest, highest, lowest)
    log_radii = begun.clone().requires_grad_(True)
    free: dict[int, dict[str, Tensor]] = {}
    adam = torch.optim.Adam([{"params": [log_radii]}], betas=(0.8, 0.95), foreach=True)
    multiplier, best, size = 0.0, start.to(image), problem.size(start)
    kept: dict[int, dict[str, Tensor]] = {}
    offered = {int(ascent.steps * (2 / 3) ** n) for n in range(1, ascent.offers + 1)}
    for step in range(ascent.steps + 1):
        radii = log_radii.exp()
        relaxations, region = _relaxed(rings, graph, image, radii, lifts)
        if not free and relaxations:
            free = {i: relaxation.parameters(rows.shape[1]) for i, relaxation in relaxations.items()}
            free |= {i: {n: v.clone() for n, v in p.items()} for i, p in cast(parameters, image).items() if i in free}
            _follow(adam, free)
        values = lower_bounds(graph, region, rows, relaxations, free or None)[0]
        margin = _margin(problem, values)
        if step == 0 and ascent.fall is not None:
            goal = min(goal, float(margin.detach()) / unit) - ascent.fall
        good = float(margin.detach()) > (goal - ascent.near) * unit
        adam.zero_grad(set_to_none=True)
        short = goal - margin / unit
        active = multiplier + ascent.penalty * float(short.detach()) > 0
        penalty = multiplier * short + ascent.penalty / 2 * short**2 if active else 0 * short
        # a whisper of every row keeps the slopes of those that are not the margin now from going stale
        loss = -problem.value(radii).log() + penalty - 1e-3 * values.sum() / unit
        loss.backward()
        if good and problem.size(radii.detach()) > size:
            best, size = radii.detach().clone(), problem.size(radii.detach())
            kept = {i: {name: v.detach().clone() for name, v in named.items()} for i, named in free.items()}
        if step == ascent.steps or budget.expired:
            break
        if kept and step in offered:
            offer(best.cpu().double(), _hints(problem, rows, kept))
        multiplier = max(0.0, multiplier + 0.3 * ascent.penalty * float(short.detach()))
        for group, rate in zip(adam.param_groups, ascent.rates, strict=False):
            group["lr"] = rate * ascent.end ** (step / ascent.steps) * min((step + 1) / ascent.warm, 1)
        adam.step()
        with torch.no_grad():
            if step == 0 and least is not None:
                log_radii.copy_(torch.maximum(log_radii, least.to(image).clamp(min=LEAST).log()))
            log_radii.copy_(torch.minimum(torch.maximum(log_radii, lowest), highest))
            project(free)
    best.requires_grad_(True)
    relaxations, region = _relaxed(rings, graph, image, best, lifts)
    values = lower_bounds(graph, region, rows, relaxations, kept or free or None)[0]
    _margin(problem, values).backward()
    prices = torch.zeros_like(best) if best.grad is None else -best.grad
    best, prices = best.detach().cpu().double(), prices.clamp(min=0).cpu().double()
    return Climbed(best, prices, _hints(problem, rows, kept))


def _hints(problem: Problem, rows: Tensor, parameters: Parameters) -> Hints:
    """For proofs on the CPU."""
    exact = rows[0].cpu().double()
    return Hints(problem.graph, rows=exact, parameters=cast(parameters, exact))


Lifts = dict[int, tuple[Tensor, Tensor, Tensor]]
"""By how much inner bounds may be moved inwards, lower and upper ones, but not beyond the clean image's values."""


def _lifts(problem: Problem, graph: Graph, image: Tensor, hints: Hints | None) -> Lifts:
    if hints is None or hints.region is None or hints.graph is not problem.graph:
        return {}
    plain = intermediate_bounds(graph, hints.region.to(image.dtype, image.device))
    clean = graph.values(image[None])
    found: Lifts = {}
    inputs = {node.inputs[0] for node in graph.nodes if isinstance(node.op, Relu | MaxPool)}
    for i in inputs & hints.bounds.keys():
        tight = hints.bounds[i].to(image.dtype, image.device)
        lower, upper = tight.lower - plain[i].lower, plain[i].upper - tight.upper
        found[i] = lower.clamp(min=0), upper.clamp(min=0), clean[i]
    return found


def _relaxed(rings: Rings, graph: Graph, image: Tensor, radii: Tensor, lifts: Lifts) -> tuple[Relaxations, Region]:
    change = rings.spread(radii).expand_as(image)
    region = Region((image - change).clamp(0, 1)[None], (image + change).clamp(0, 1)[None])
    bounds = intermediate_bounds(graph, region)
    for i, (lower, upper, clean) in lifts.items():
        low, high = bounds[i].lower, bounds[i].upper
        bounds[i] = Interval(torch.minimum(low + lower, clean), torch.maximum(high - upper, clean))
    return relax(graph, bounds), region


def _every_row(problem: Problem) -> Spec:
    """The rows of all specs, one spec after the other."""
    classes = problem.graph.classes
    rows = torch.cat([spec.rows(classes) for spec in problem.specs])
    return Rows(rows, torch.cat([spec.offsets(classes) for spec in problem.specs]), 1)


def _margin(problem: Problem, values: Float[Tensor, "rows"]) -> Float[Tensor, ""]:
    """The smallest certified margin of the specs, whose rows lie one spec after the other in `values`."""
    counts = [len(spec.rows(problem.graph.classes)) for spec in problem.specs]
    parts = zip(values.split(counts), problem.specs, strict=True)
    return torch.stack([torch.kthvalue(part, spec.order).values for part, spec in parts]).amin()


def _follow(adam: torch.optim.Adam, free: Parameters) -> None:
    """Let the optimiser move the relaxation's parameters too: slopes and levels, then pool weights."""
    for names in (UNIT_PARAMETERS, ("mu",)):
        group = [p[name].requires_grad_(True) for p in free.values() for name in names if name in p]
        adam.add_param_group({"params": group})
