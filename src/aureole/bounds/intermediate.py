"""Bounds of every inner node: intervals first, then linear bounds for the neurons that are open and matter."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.bounds.interval import Bounds, Interval, IntervalRule, interval_step
from aureole.bounds.linear import RELAXATIONS, Relaxation, Relaxations, lower_bounds
from aureole.bounds.ops import affine, maxpool, relu, squash
from aureole.bounds.ops.maxpool import PoolRelaxation, from_windows
from aureole.bounds.patch import Patch
from aureole.core import Graph, Region
from aureole.core.graph import Add, Conv, Input, Linear, MaxPool, Node, Relu, Reshape, Sigmoid, Squash, Tanh

INTERVAL_RULES: Mapping[type, IntervalRule] = {
    **affine.INTERVAL,
    Relu: relu.relu_interval,
    MaxPool: maxpool.pool_interval,
    Sigmoid: squash.squash_interval,
    Tanh: squash.squash_interval,
}

CHUNK_ELEMENTS = 2**24
"""Dense rows are taken in chunks of at most about so many coefficients (128 MiB in float64)."""


def intermediate_bounds(graph: Graph, region: Region, hints: Bounds | None = None) -> dict[int, Interval]:
    """Proved bounds of every node over each region.

    Neurons that no relaxation looks at closely (stable relus, inputs that cannot win their window, windows that
    stay at the floor) keep their interval bounds: that is valid, and it is where the time would go.

    hints: proved bounds of inputs of relus and pools (infinite where nothing is known), as those of a larger region
    """
    bounds: dict[int, Interval] = {}
    relaxations: dict[int, Relaxation] = {}
    for i, node in enumerate(graph.nodes):
        if isinstance(node.op, Input):
            bounds[i] = Interval(region.lower, region.upper)
            continue
        if isinstance(node.op, Relu | MaxPool | Squash):
            below = node.inputs[0]
            if hints and below in hints:
                bounds[below] = bounds[below].tighten(hints[below])
            if not _exact(graph, below):
                worthwhile = mattering(node, bounds[below])
                if bool(worthwhile.any()):
                    tighter = _linear(graph, region, below, worthwhile, relaxations)
                    bounds[below] = bounds[below].tighten(tighter)
            relaxations[i] = RELAXATIONS[type(node.op)].of(node, bounds[below])
        bounds[i] = interval_step(node, [bounds[j] for j in node.inputs], INTERVAL_RULES)
    return bounds


def _exact(graph: Graph, i: int) -> bool:
    """Whether the interval of node i is already exact: one affine step from the image."""
    node = graph.nodes[i]
    while isinstance(node.op, Reshape):
        node = graph.nodes[node.inputs[0]]
    if not isinstance(node.op, Conv | Linear):
        return isinstance(node.op, Input)
    node = graph.nodes[node.inputs[0]]
    while isinstance(node.op, Reshape):
        node = graph.nodes[node.inputs[0]]
    return isinstance(node.op, Input)


def mattering(node: Node, z: Interval) -> Bool[Tensor, "batch *shape"]:
    """The inputs of a non-linear node whose bounds its relaxation reads."""
    if isinstance(node.op, Relu):
        return z.unstable
    if isinstance(node.op, Squash):
        return z.upper > z.lower
    pool = PoolRelaxation.of(node, z)
    alone = (pool.candidates.sum(-2) <= 1) & ~pool.zero  # one candidate left: the pool is that input
    open_ = pool.candidates & ~alone.unsqueeze(-2)
    return from_windows(open_.to(z.lower), pool.op, *pool.below[1:]) > 0


def _linear(
    graph: Graph, region: Region, i: int, neurons: Bool[Tensor, "batch *shape"], relaxations: Relaxations
) -> Interval:
    """Linear bounds of the chosen neurons of node i; infinite elsewhere."""
    lower = torch.full_like(neurons, -torch.inf, dtype=region.lower.dtype)
    upper = -lower
    if is_local(graph, i):
        chosen = neurons.nonzero(as_tuple=True)
        values = _by_patches(graph, region, i, chosen, relaxations)
        lower, upper = lower.index_put(chosen, values[0]), upper.index_put(chosen, -values[1])
        return Interval(lower, upper)
    flat_lower, flat_upper, flat = lower.flatten(1), upper.flatten(1), neurons.flatten(1)
    most = int(flat.sum(1).max())  # each box bounds its own neurons; those with fewer bound some others besides
    columns = flat.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    widest = max(torch.Size(n.shape).numel() for n in graph.nodes)
    for chunk in columns.split(max(1, CHUNK_ELEMENTS // (2 * widest * len(region))), 1):
        eye = lower.new_zeros(*chunk.shape, flat.shape[1]).scatter(2, chunk.unsqueeze(2), 1.0)
        rows = torch.cat([eye, -eye], 1).reshape(len(region), -1, *graph.nodes[i].shape)
        low, minus_high = lower_bounds(graph, region, rows, relaxations, start=i).chunk(2, 1)
        flat_lower = flat_lower.scatter(1, chunk, low)
        flat_upper = flat_upper.scatter(1, chunk, -minus_high)
    return Interval(flat_lower.reshape(lower.shape), flat_upper.reshape(upper.shape))


def is_local(graph: Graph, i: int) -> bool:
    """Whether node i sees the image through convolutions and pools only, so that patches apply.

    Paths that meet must have the same total stride: patches have no common window otherwise.
    """
    if len(graph.nodes[i].shape) != 3 or len(graph.input_shape) != 3:
        return False
    strides = {i: (1, 1)}
    for j in range(i, 0, -1):
        if j in strides:
            op, total = graph.nodes[j].op, strides[j]
            if not isinstance(op, Conv | Relu | MaxPool | Squash | Add):
                return False
            if isinstance(op, Conv | MaxPool):
                total = (total[0] * op.stride[0], total[1] * op.stride[1])
            if any(strides.setdefault(k, total) != total for k in graph.nodes[j].inputs):
                return False
    return True


def _by_patches(
    graph: Graph, region: Region, start: int, neurons: tuple[Tensor, ...], relaxations: Relaxations
) -> Tensor:
    """Lower bounds of the neurons and of minus the neurons, shape (2, neurons)."""
    batch, channel, top, left = neurons
    one = torch.zeros(len(batch), graph.nodes[start].shape[0], dtype=region.lower.dtype, device=region.lower.device)
    one[torch.arange(len(batch)), channel] = 1
    patch = Patch(torch.stack([one, -one])[..., None, None], top, left, batch)
    return patch_bounds(graph, region, start, patch, relaxations)


def patch_bounds(
    graph: Graph,
    region: Region,
    start: int,
    first: Patch,
    relaxations: Relaxations,
    shortcut: Callable[[int, Patch], Tensor | None] = lambda i, patch: None,
) -> Float[Tensor, "sides neurons"]:
    """Lower bounds of patches over node `start`, which must be local (`is_local`).

    shortcut: bounds of patches over a node by other means, asked where the way down is a single node; None passes
    """
    pending = {start: first}
    constant = region.lower.new_zeros(first.coef.shape[:2])
    for i in range(start, 0, -1):
        if i not in pending:
            continue
        node, patch = graph.nodes[i], pending.pop(i)
        if not pending and (found := shortcut(i, patch)) is not None:
            return constant + found
        if not isinstance(node.op, Add):
            if isinstance(node.op, Conv):
                patch = _inside(patch, node.shape)
                patch, shift = affine.conv_patch(node.op, patch)
            else:
                patch, shift = relaxations[i].patch(patch)
            constant = constant + shift
        for j in node.inputs:
            pending[j] = pending[j].merge(patch) if j in pending else patch
    patch = pending[0]
    middle, radius = region.center, region.radius
    return constant + (patch.coef * patch.gather(middle) - patch.coef.abs() * patch.gather(radius)).flatten(2).sum(-1)


def _inside(patch: Patch, shape: tuple[int, ...]) -> Patch:
    """Drop coefficients on padding: a convolution's bias must not reach positions that do not exist."""
    return replace(patch, coef=patch.coef * patch.inside(*shape[1:]))
