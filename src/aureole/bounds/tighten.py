"""Inner bounds by climbing: every neuron has slopes, and prices of the stem's windows, of its own (Xu et al. 2021)."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aureole.bounds.intermediate import is_local, patch_bounds
from aureole.bounds.interval import Bounds, Interval
from aureole.bounds.linear import Relaxations, relax
from aureole.bounds.ops.affine import conv_patch
from aureole.bounds.optimise import Ascent, ascend
from aureole.bounds.patch import Patch
from aureole.bounds.stem import Stem, stem_bounds, stem_position
from aureole.core import Graph, Region
from aureole.core.graph import Conv, Relu

Free = dict[int, dict[str, Tensor]]


@dataclass(frozen=True)
class Tightening:
    """How inner bounds climb.

    choices:  relus per window of the stem whose pieces are chosen
    elements: neurons are taken in chunks of about so many numbers (16 MiB in float32, near the cache)
    """

    ascent: Ascent = field(default_factory=lambda: Ascent(steps=15, slope_rate=0.4))
    choices: int = 3
    elements: int = 2**22


def tighten(
    graph: Graph,
    region: Region,
    bounds: Bounds,
    tightening: Tightening = Tightening(),
    stop: Callable[[], bool] = lambda: False,
) -> dict[int, Interval]:
    """Tighter bounds of the inputs of relus that may switch, layer by layer; `bounds` itself where there is no stem.

    The climb runs in float32; what it found is evaluated in the graph's own dtype, and only that counts. For regions of
    batch 1. `stop()` ends it early; what was found until then is kept.
    """
    tighter, first = dict(bounds), stem_position(graph)
    if first is None:
        return tighter
    fast, small = graph.to(torch.float32), region.to(torch.float32)
    for i, node in enumerate(graph.nodes):
        if not isinstance(node.op, Relu) or i == first or stop():
            continue
        below = node.inputs[0]
        rough = relax(fast, {j: interval.to(torch.float32) for j, interval in tighter.items()}, i)
        climbing = _Way(fast, small, below, rough, tightening.choices)
        counting = _Way(graph, region, below, relax(graph, tighter, i), tightening.choices)
        tighter[below] = _climbed(climbing, counting, tighter[below], tightening, stop)
    return tighter


class _Way:
    """From chosen neurons of one node down to the stem."""

    def __init__(self, graph: Graph, region: Region, node: int, relaxations: Relaxations, choices: int) -> None:
        stem = Stem.of(graph, region, relaxations, choices)
        assert stem is not None
        self.graph, self.region, self.node, self.relaxations, self.stem = graph, region, node, relaxations, stem
        self.local = is_local(graph, node)

    def bound(self, neurons: Int[Tensor, "neurons"], free: Free) -> Float[Tensor, "2 neurons"]:
        """Lower bounds of the neurons and of minus the neurons; parameters that are missing are put into `free`."""
        if self.local:
            patch = self._patch(neurons)

            def shortcut(i: int, above: Patch) -> Tensor | None:
                if i != self.stem.relu:
                    return None
                if i not in free:
                    free[i] = self.stem.parameters(above)
                return self.stem.bound(above, free[i])

            values = patch_bounds(self.graph, self.region, self.node, patch, self.relaxations, shortcut, free)
            return torch.where(values.isfinite(), values, -torch.inf)
        if not free:
            for i, relaxation in self.relaxations.items():
                free[i] = self._paired(relaxation.parameters(2 * len(neurons)))
            free[self.stem.relu] = self._paired(self.stem.row_parameters(2 * len(neurons)))
        shape = self.graph.nodes[self.node].shape
        one = self.region.lower.new_zeros(len(neurons), torch.Size(shape).numel())
        one = one.scatter(1, neurons[:, None], 1.0)
        rows = torch.cat([one, -one]).reshape(1, -1, *shape)
        parameters = {i: {n: v.flatten(0, 1)[None] for n, v in named.items()} for i, named in free.items()}
        return stem_bounds(self.graph, rows, self.relaxations, parameters, self.stem, self.node).reshape(2, -1)

    def climbed(self, neurons: Int[Tensor, "neurons"], ascent: Ascent, stop: Callable[[], bool]) -> Free:
        """The best parameters for each neuron and side that a climb meets."""
        free: Free = {}
        self.bound(neurons, free)  # puts the defaults in
        flat = {f"{i}.{name}": v for i, named in free.items() for name, v in named.items()}
        _, kept = ascend(lambda: self.bound(neurons, free), flat, ascent, lambda _: stop())
        return {i: {name: kept[f"{i}.{name}"] for name in named} for i, named in free.items()}

    @staticmethod
    def _paired(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: v[0].unflatten(0, (2, -1)).contiguous() for name, v in parameters.items()}

    def kinds(self, neurons: Int[Tensor, "neurons"]) -> Int[Tensor, "neurons"]:
        """Equal numbers for neurons that are the same function of the same box, such as those over an even background.

        Where windows are the same up to the image's edge, so is everything between: a bound of one bounds all.
        """
        if not self.local or any(len(node.inputs) > 1 for node in self.graph.nodes[: self.node]):
            return torch.arange(len(neurons))
        patch = self._patch(neurons)
        marks = [patch.coef[0].flatten(1)]
        i = self.node
        while i:
            node = self.graph.nodes[i]
            if isinstance(node.op, Conv):
                patch, _ = conv_patch(node.op, patch)
                marks.append(patch.inside(*self.graph.nodes[node.inputs[0]].shape[1:]).flatten(1).to(patch.coef))
            i = node.inputs[0]
        marks += [patch.gather(side).flatten(1) for side in (self.region.lower, self.region.upper)]
        return torch.unique(torch.cat(marks, 1), dim=0, return_inverse=True)[1]

    def _patch(self, neurons: Int[Tensor, "neurons"]) -> Patch:
        channels, height, width = self.graph.nodes[self.node].shape
        one = self.region.lower.new_zeros(len(neurons), channels)
        one = one.scatter(1, (neurons // (height * width))[:, None], 1.0)
        place = neurons % (height * width)
        return Patch(
            torch.stack([one, -one])[..., None, None], place // width, place % width, torch.zeros_like(neurons)
        )


def _climbed(climbing: _Way, counting: _Way, z: Interval, tightening: Tightening, stop: Callable[[], bool]) -> Interval:
    """The bounds of one node's unstable neurons, each kind climbed once."""
    neurons = z.unstable.flatten().nonzero().squeeze(1)
    if not len(neurons):
        return z
    kinds = counting.kinds(neurons)
    first = torch.zeros(int(kinds.max()) + 1, dtype=torch.int64).scatter(0, kinds.flip(0), neurons.flip(0))
    found = torch.full((2, len(first)), -torch.inf, dtype=z.lower.dtype)
    for chunk in torch.arange(len(first)).split(_chunk(climbing, first, tightening)):
        if stop():
            break
        free = climbing.climbed(first[chunk], tightening.ascent, stop)
        exact = {i: {name: v.to(z.lower.dtype) for name, v in named.items()} for i, named in free.items()}
        found[:, chunk] = counting.bound(first[chunk], exact)
    lower, upper = z.lower.flatten().clone(), z.upper.flatten().clone()
    lower[neurons] = torch.maximum(lower[neurons], found[0, kinds])
    upper[neurons] = torch.minimum(upper[neurons], -found[1, kinds])
    return Interval(lower.reshape(z.lower.shape), upper.reshape(z.upper.shape))


def _chunk(way: _Way, neurons: Int[Tensor, "neurons"], tightening: Tightening) -> int:
    """How many neurons are climbed at a time."""
    free: Free = {}
    way.bound(neurons[:1], free)
    windows = free[way.stem.relu]["alpha"][0, 0, 0].numel()
    each = 2 * windows * 2**tightening.choices * way.stem.op.weight[0].numel()
    return max(1, tightening.elements // each)
