"""Input splitting: halve boxes until linear bounds prove each, or an image of one fails. For networks of few inputs.

Complete for them in the limit, because linear bounds become exact as boxes shrink; hopeless for images.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aureole.bounds import Bounds, backward, intermediate_bounds, minimizers, relax
from aureole.bounds.linear import concretize
from aureole.core import Region, Why
from aureole.core.graph import MaxPool, Relu, Squash
from aureole.verify.boxes import Boxes, Leaves
from aureole.verify.known import Known
from aureole.verify.query import Query
from aureole.verify.stages import Stage


@dataclass(frozen=True)
class Split(Stage):
    """Halve the boxes with the lowest bounds first; every bound is float64.

    most_inputs: only regions that move at most so many inputs are split
    least_open:  with fewer open neurons the stage leaves the work to the MILP, which decides it at once
    batch:       boxes halved at once; few, so that their coefficients stay in the cache
    most_boxes:  after so many the stage gives up: what is left is narrow, and the MILP decides it sooner
    share:       of the time left, so that a later stage gets the rest
    """

    most_inputs: int = 16
    least_open: int = 40
    batch: int = 48
    most_boxes: int = 400_000
    share: float = 0.8
    needs_screen: ClassVar[bool] = False
    finds: ClassVar[Why] = Why.SPLIT
    name: str = "split"

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        width = query.region.upper - query.region.lower
        if not 0 < int((width > 0).sum()) <= self.most_inputs or _open_neurons(query, known) < self.least_open:
            return known
        budget = query.budget.at_most(self.share * query.budget.remaining)
        if known.leaves is None:
            known, boxes, proved = _bounded(query, known, query.region, {})
        else:
            boxes, proved = known.leaves.boxes, known.leaves.proved
        done = 1
        try:
            while len(boxes) and not known.broken and not budget.expired and done < self.most_boxes:
                lowest = boxes.bound.argsort()
                chosen, rest = boxes.take(lowest[: self.batch]), boxes.take(lowest[self.batch :])
                children = chosen.halves()
                if bool((children.lower == children.upper).flatten(1).sum(1).gt((width == 0).sum()).any()):
                    break  # the middle is an end already: float64 has no smaller box
                known, more, least = _bounded(query, known, children, chosen.hints())
                proved = min(proved, least)
                boxes = rest.join(more)
                done += len(children)
        except KeyboardInterrupt:  # the boxes before the last halving still cover the region
            known = replace(known, open_because=Why.INTERRUPTED)
        if not len(boxes):
            return replace(known.at_least(proved), proved=Why.SPLIT)
        known = replace(known, leaves=Leaves(boxes, proved)).at_least(min(proved, float(boxes.bound.min())))
        return replace(known, trouble=f"{len(boxes)} boxes left open by splitting")


def _open_neurons(query: Query, known: Known) -> float:
    """Relus of unknown sign and inputs of pools that are not constant.

    Infinite before `Screen` has bounded them, and with operators that the MILP cannot encode.
    """
    count = 0
    for i, node in enumerate(query.graph.nodes):
        if isinstance(node.op, Squash):
            return torch.inf
        if isinstance(node.op, Relu | MaxPool):
            if i not in known.relaxations:
                return torch.inf
            z = known.bounds[node.inputs[0]]
            count += int((z.unstable if isinstance(node.op, Relu) else z.upper > z.lower).sum())
    return float(count)


def _bounded(query: Query, known: Known, region: Region, hints: Bounds) -> tuple[Known, Boxes, float]:
    """The boxes not proved, and the least bound among those that are; their worst points are tried as witnesses."""
    bounds = intermediate_bounds(query.graph, region, hints)
    relaxations = relax(query.graph, bounds)
    rows = query.rows.expand(len(region), -1, -1)
    coefficients, constant = backward(query.graph, len(query.graph.nodes) - 1, rows, relaxations)
    values = concretize(coefficients, region) + constant
    values = torch.where(values.isfinite(), values, -torch.inf)  # overflow proves nothing
    order = query.inner.order
    ranked = values.sort(1)
    bound = ranked.values[:, order - 1]
    lead = torch.arange(len(region))
    steering = coefficients[lead, ranked.indices[:, order - 1]]
    if order == len(query.rows) > 1:  # all rows must fail together: a mix of them may be positive where none alone is
        weights, mixed = _mixed(coefficients, constant, region)
        better = mixed > bound
        bound = torch.maximum(bound, mixed)
        blend = (weights.reshape(*weights.shape, *[1] * (coefficients.ndim - 2)) * coefficients).sum(1)
        steering = torch.where(better.reshape(-1, *[1] * (blend.ndim - 1)), blend, steering)
    open_ = bound <= query.slack
    axis = _axis(coefficients, region)
    known = _tried(query, known, region, minimizers(steering.unsqueeze(1), region)[:, 0], open_)
    least = float(bound[~open_].min()) if bool((~open_).any()) else torch.inf
    relus = {node.inputs[0] for node in query.graph.nodes if isinstance(node.op, Relu)}
    signs = {i: ((bounds[i].lower >= 0).to(torch.int8) - (bounds[i].upper <= 0).to(torch.int8)) for i in relus}
    return known, Boxes(region, bound, axis, signs).take(open_.nonzero().squeeze(1)), least


def _mixed(
    coefficients: Float[Tensor, "batch rows *input"],
    constant: Float[Tensor, "batch rows"],
    region: Region,
    steps: int = 12,
) -> tuple[Float[Tensor, "batch rows"], Float[Tensor, "batch"]]:
    """Weights on the simplex for which the mixed row's bound is large (exponentiated gradient), and that bound."""
    flat = coefficients.flatten(2)
    middle, radius = region.center.flatten(1), region.radius.flatten(1)
    logits = constant.new_zeros(constant.shape)
    at_middle = (flat @ middle.unsqueeze(-1)).squeeze(-1) + constant
    scale = (flat.abs() @ radius.unsqueeze(-1)).squeeze(-1).mean(1, keepdim=True).clamp(min=1e-12)
    best, kept = constant.new_full((len(region),), -torch.inf), logits.softmax(1)
    for step in range(steps):
        weights = logits.softmax(1)
        mix = (weights.unsqueeze(-1) * flat).sum(1)
        value = (weights * at_middle).sum(1) - (mix.abs() * radius).sum(1)
        kept = torch.where((value > best).unsqueeze(1), weights, kept)
        best = torch.maximum(best, value)
        corner = at_middle - (flat @ (mix.sign() * radius).unsqueeze(-1)).squeeze(-1)
        logits = logits + corner / scale * (2.0 / (1 + step) ** 0.5)
    return kept, best


def _axis(coefficients: Float[Tensor, "batch rows *input"], region: Region) -> Int[Tensor, "batch"]:
    """The input over whose width the rows change most.

    An input on which they hardly depend counts with a twentieth of the largest slope, or the deep, relaxed part of
    the network that it moves would never become exact. Without that floor ACAS Xu 5_1, property 3 took 17,909 boxes,
    with it 131; of 0.02, 0.05, 0.1, 0.2 and 0.4 the second settled most.
    """
    slope = coefficients.abs().sum(1).flatten(1)
    return (torch.maximum(slope, 0.05 * slope.amax(1, keepdim=True)) * (region.upper - region.lower).flatten(1)).argmax(
        1
    )


def _tried(query: Query, known: Known, region: Region, corners: Float[Tensor, "batch *input"], open_: Tensor) -> Known:
    """Replay the worst of the corners and middles of the open boxes if it fails on the graph."""
    if not bool(open_.any()):
        return known
    images = torch.cat([corners[open_], region.center[open_]])
    margins = query.inner.margin(query.graph(images))
    worst = int(margins.argmin())
    return known.seen(query, images[worst]) if float(margins[worst]) <= 0 else known
