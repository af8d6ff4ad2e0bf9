"""Joint ascent: radii and relaxation climb together through the certified margin.

The certified margin is a differentiable function of the radii, of every free slope, pool weight and level, and of the
inner bounds. Climbing all of them at once prices a ring by what its radius does to the looseness of every relaxation,
which no sequence of fixed linear programs does.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aureole.bounds import Interval, intermediate_bounds, lower_bounds, relax
from aureole.bounds.linear import UNIT_PARAMETERS, Parameters, Relaxations, cast, project
from aureole.core import Budget, Graph, Region, Rows
from aureole.core.graph import MaxPool, Relu, merge_rectified_pools
from aureole.neighborhood.objective import LEAST
from aureole.neighborhood.problem import Problem
from aureole.verify.hints import Hints, table


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
    (found,) = climb_all(
        [problem], [start], ascent, budget, lambda _, radii, known: offer(radii, known), [hints],
        None if least is None else [least], device,
    )  # fmt: skip
    return found


def climb_all(
    problems: Sequence[Problem],
    starts: Sequence[Float[Tensor, "_"]],
    ascent: JointAscent,
    budget: Budget,
    offer: Callable[[int, Float[Tensor, "_"], Hints], None] = lambda n, radii, hints: None,
    hints: Sequence[Hints | None] | None = None,
    least: Sequence[Float[Tensor, "_"]] | None = None,
    device: torch.device | str = "cpu",
) -> list[Climbed]:
    """`climb` for many scenes in one batch: a GPU, which one scene leaves idle, takes hardly longer for all.

    The problems share one graph and have equally many rows; ValueError otherwise. Each climbs as it would alone, up to
    rounding, which a long climb may amplify. `offer` is told which one it is about.
    """
    if not problems:
        return []
    graphs, counts = {id(p.graph) for p in problems}, {len(p.every_row[0]) for p in problems}
    if len(graphs) > 1 or len(counts) > 1:
        raise ValueError(
            f"{len(graphs)} graphs, rows {sorted(counts)}; pass problems of one graph and as many rows each"
        )
    graph = merge_rectified_pools(problems[0].graph.to(torch.float64)).to(torch.float32, device)
    images = torch.stack([p.image for p in problems]).to(device, torch.float32)
    rows, offsets = (torch.stack(parts).to(images) for parts in zip(*(p.every_row for p in problems), strict=True))
    # in float32 a margin may vanish
    unit = images.new_tensor([max(p.clean_margin, 1e-6) for p in problems])
    scenes = _Scenes.of(problems, images)
    lowest, highest = scenes.flat([p.floors for p in problems]).log(), scenes.flat([p.caps for p in problems]).log()
    begun = scenes.flat(starts).log()
    if least is not None:
        lowest = torch.where(begun >= highest, highest, lowest)
    told = [None] * len(problems) if hints is None else hints
    lifts = _lifts(problems, graph, images, told)
    goal = torch.full_like(unit, ascent.goal)
    log_radii = begun.clone().requires_grad_(True)
    free: dict[int, dict[str, Tensor]] = {}
    adam = torch.optim.Adam([{"params": [log_radii]}], betas=(0.8, 0.95), foreach=True)
    multiplier, best = torch.zeros_like(unit), _Best(problems, starts, images)
    offered = {int(ascent.steps * (2 / 3) ** n) for n in range(1, ascent.offers + 1)}
    for step in range(ascent.steps + 1):
        radii = log_radii.exp()
        relaxations, region = _relaxed(scenes, graph, images, radii, lifts)
        if not free and relaxations:
            free = {i: relaxation.parameters(rows.shape[1]) for i, relaxation in relaxations.items()}
            _begin(free, [_of_same_rows(p, hint) for p, hint in zip(problems, told, strict=True)])
            _follow(adam, free)
        values = lower_bounds(graph, region, rows, relaxations, free or None) + offsets
        margins = _margins(problems, values)
        if step == 0 and ascent.fall is not None:
            goal = torch.minimum(goal, margins.detach() / unit) - ascent.fall
        adam.zero_grad(set_to_none=True)
        short = goal - margins / unit
        sizes = torch.stack([p.value(part) for p, part in zip(problems, scenes.parts(radii), strict=True)])
        # a whisper of every row keeps the slopes of those that are not the margin now from going stale
        (-sizes.log() + _penalty(short, multiplier, ascent.penalty) - 1e-3 * values.sum(1) / unit).sum().backward()
        best.take(scenes.parts(radii.detach()), margins.detach() > (goal - ascent.near) * unit, free)
        if step == ascent.steps or budget.expired:
            break
        if step in offered:
            for n in sorted(best.met):
                offer(n, *best.told(n))
        multiplier = (multiplier + 0.3 * ascent.penalty * short.detach()).clamp(min=0)
        for group, rate in zip(adam.param_groups, ascent.rates, strict=False):
            group["lr"] = rate * ascent.end ** (step / ascent.steps) * min((step + 1) / ascent.warm, 1)
        adam.step()
        with torch.no_grad():
            if step == 0 and least is not None:
                log_radii.copy_(torch.maximum(log_radii, scenes.flat(least).log()))
            log_radii.copy_(torch.minimum(torch.maximum(log_radii, lowest), highest))
            project(free)
    last = torch.cat(best.radii).requires_grad_(True)
    relaxations, region = _relaxed(scenes, graph, images, last, lifts)
    values = lower_bounds(graph, region, rows, relaxations, best.parameters(free) or None) + offsets
    _margins(problems, values).sum().backward()
    prices = torch.zeros_like(last) if last.grad is None else -last.grad
    ends = [best.told(n) for n in range(len(problems))]
    return [
        Climbed(radii, price.clamp(min=0).cpu().double(), known)
        for (radii, known), price in zip(ends, scenes.parts(prices), strict=True)
    ]


class _Best:
    """The largest good radii that each scene has met, and the relaxation's parameters there; its start before any."""

    def __init__(self, problems: Sequence[Problem], starts: Sequence[Tensor], like: Tensor) -> None:
        self.radii = [start.to(like) for start in starts]
        self.met: set[int] = set()
        self._problems = problems
        self._sizes = [p.size(start) for p, start in zip(problems, starts, strict=True)]
        self._kept: dict[int, dict[str, Tensor]] = {}

    def take(self, parts: Sequence[Tensor], good: Bool[Tensor, "scenes"], free: Parameters) -> None:
        """What is good and larger."""
        for n, (part, fine) in enumerate(zip(parts, good.tolist(), strict=True)):
            if fine and (size := self._problems[n].size(part)) > self._sizes[n]:
                self.radii[n], self._sizes[n] = part.clone(), size
                self.met.add(n)
                _keep(self._kept, free, n)

    def told(self, n: int) -> tuple[Float[Tensor, "rings"], Hints]:
        """A scene's radii and hints for their proof."""
        return _capped(self._problems[n], self.radii[n]), _hints(self._problems[n], self._kept, n, n in self.met)

    def parameters(self, free: Parameters) -> Parameters:
        """Of all scenes; the present ones of those that have met nothing."""
        for n in range(len(self.radii)):
            if n not in self.met:
                _keep(self._kept, free, n)
        return self._kept


def _penalty(short: Tensor, multiplier: Tensor, penalty: float) -> Float[Tensor, "scenes"]:
    """Augmented Lagrangian of margins that fall short of the goal by so much."""
    active = multiplier + penalty * short.detach() > 0
    return torch.where(active, multiplier * short + penalty / 2 * short**2, 0 * short)


def _capped(problem: Problem, radii: Tensor) -> Float[Tensor, "rings"]:
    """The radii in float64, and those at their caps exactly there, which logarithms in float32 miss by a little."""
    exact = radii.cpu().double()
    return torch.where(exact >= (1 - 1e-6) * problem.caps, problem.caps, exact)


def _keep(kept: dict[int, dict[str, Tensor]], free: Parameters, n: int) -> None:
    """Store the parameters of one of the problems."""
    for i, named in free.items():
        for name, value in named.items():
            kept.setdefault(i, {}).setdefault(name, value.detach().clone())[n] = value.detach()[n]


def _of_same_rows(problem: Problem, hints: Hints | None) -> Parameters:
    """The hints' parameters where they belong to the problem's rows, else none."""
    return hints.parameters if hints is not None and hints.same(_table(problem)) else {}


def _table(problem: Problem) -> Float[Tensor, "rows columns"]:
    return table(Rows(*problem.every_row, 1), problem.graph.classes)


def _begin(free: Parameters, parameters: Sequence[Parameters]) -> None:
    """Start from the parameters of earlier climbs or answers."""
    for n, own in enumerate(parameters):
        for i, named in own.items():
            if i in free:
                for name, value in named.items():
                    free[i][name][n] = value.to(free[i][name])[0]


def _hints(problem: Problem, parameters: Parameters, n: int, met: bool = True) -> Hints:
    """For proofs on the CPU: the parameters of one of the problems, if it has met better radii than its start."""
    own = {i: {name: value[n : n + 1] for name, value in named.items()} for i, named in parameters.items()}
    rows = _table(problem)
    return Hints(problem.graph, rows=rows, parameters=cast(own, rows) if met else {})


@dataclass(frozen=True, eq=False)
class _Scenes:
    """The radii of all problems in one vector.

    index: for each problem and pixel where its radius is
    """

    index: Int[Tensor, "scenes height width"]
    counts: tuple[int, ...]
    like: Tensor

    @classmethod
    def of(cls, problems: Sequence[Problem], like: Tensor) -> "_Scenes":
        counts = [len(p.rings) for p in problems]
        firsts = itertools.accumulate(counts[:-1], initial=0)
        index = torch.stack([p.rings.index + first for p, first in zip(problems, firsts, strict=True)])
        return cls(index.to(like.device), tuple(counts), like)

    def flat(self, radii: Sequence[Tensor]) -> Float[Tensor, "all"]:
        """Radii of all problems, none so small that it has no logarithm."""
        return torch.cat(list(radii)).to(self.like).clamp(min=LEAST)

    def parts(self, radii: Float[Tensor, "all"]) -> tuple[Tensor, ...]:
        """The problems' radii, one by one."""
        return radii.split(self.counts)


Lifts = dict[int, tuple[Tensor, Tensor, Tensor]]
"""By how much inner bounds may be moved inwards, lower and upper ones, but not beyond the clean image's values."""


def _lifts(problems: Sequence[Problem], graph: Graph, images: Tensor, hints: Sequence[Hints | None]) -> Lifts:
    clean, found = graph.values(images), {}
    inputs = {node.inputs[0] for node in graph.nodes if isinstance(node.op, Relu | MaxPool)}
    for n, (problem, told) in enumerate(zip(problems, hints, strict=True)):
        if told is None or told.region is None or told.graph is not problem.graph:
            continue
        plain = intermediate_bounds(graph, told.region.to(images.dtype, images.device))
        for i in inputs & told.bounds.keys():
            tight = told.bounds[i].to(images.dtype, images.device)
            if i not in found:
                found[i] = torch.zeros_like(clean[i]), torch.zeros_like(clean[i]), clean[i]
            lower, upper, _ = found[i]
            lower[n] = (tight.lower - plain[i].lower).clamp(min=0)[0]
            upper[n] = (plain[i].upper - tight.upper).clamp(min=0)[0]
    return found


def _relaxed(scenes: _Scenes, graph: Graph, images: Tensor, radii: Tensor, lifts: Lifts) -> tuple[Relaxations, Region]:
    change = radii[scenes.index].unsqueeze(1).expand_as(images)
    region = Region((images - change).clamp(0, 1), (images + change).clamp(0, 1))
    bounds = intermediate_bounds(graph, region)
    for i, (lower, upper, clean) in lifts.items():
        low, high = bounds[i].lower, bounds[i].upper
        bounds[i] = Interval(torch.minimum(low + lower, clean), torch.maximum(high - upper, clean))
    return relax(graph, bounds), region


def _margins(problems: Sequence[Problem], values: Float[Tensor, "scenes rows"]) -> Float[Tensor, "scenes"]:
    """The certified margin of each problem."""
    return torch.stack([problem.least(own) for problem, own in zip(problems, values, strict=True)])


def _follow(adam: torch.optim.Adam, free: Parameters) -> None:
    """Let the optimiser move the relaxation's parameters too: slopes and levels, then pool weights."""
    for names in (UNIT_PARAMETERS, ("mu",)):
        group = [p[name].requires_grad_(True) for p in free.values() for name in names if name in p]
        adam.add_param_group({"params": group})
