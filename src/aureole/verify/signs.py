"""Which way an adversary pulls each neuron: what an encoding may leave out.

A spec fails where some of its rows are low. Going backward from the rows, a neuron may have to be *high*, *low*, both,
or nothing at all; half of an encoding is enough for the first two and none is needed for the last.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.bounds import Bounds
from aureole.bounds.ops.affine import affine_rows
from aureole.bounds.ops.maxpool import PoolRelaxation, from_windows
from aureole.core import Graph
from aureole.core.graph import Add, Conv, Linear, MaxPool, Node, Relu, Reshape, Sigmoid, Tanh


@dataclass(frozen=True, eq=False)
class Pull:
    """For each value of a node: would some row fall if it rose (`high`), if it fell (`low`)?"""

    high: Bool[Tensor, "*shape"]
    low: Bool[Tensor, "*shape"]

    @property
    def any(self) -> Bool[Tensor, "*shape"]:
        """Whether the value matters at all."""
        return self.high | self.low

    def __or__(self, other: "Pull") -> "Pull":
        return Pull(self.high | other.high, self.low | other.low)


def pulls(graph: Graph, rows: Float[Tensor, "rows classes"], bounds: Bounds) -> Mapping[int, Pull]:
    """The pull on every node that matters, for rows over the scores and one region's bounds."""
    found = {len(graph.nodes) - 1: Pull((rows < 0).any(0), (rows > 0).any(0))}
    for i in range(len(graph.nodes) - 1, 0, -1):
        if i not in found:
            continue
        node = graph.nodes[i]
        below = _below(graph, node, found[i], bounds)
        for j in node.inputs:
            found[j] = found[j] | below if j in found else below
    return found


def _below(graph: Graph, node: Node, pull: Pull, bounds: Bounds) -> Pull:
    shape = graph.nodes[node.inputs[0]].shape
    match node.op:
        case Conv() | Linear():
            return _through_weights(node, pull, shape)
        case Relu():
            alive = bounds[node.inputs[0]].upper[0] > 0
            return Pull(pull.high & alive, pull.low & alive)
        case MaxPool() as op:
            candidates = PoolRelaxation.of(node, bounds[node.inputs[0]]).candidates[0]

            def spread(flags: Tensor) -> Tensor:
                windows = candidates & flags.flatten(1).unsqueeze(1)
                return from_windows(windows.to(torch.float64), op, *shape[1:]) > 0

            return Pull(spread(pull.high), spread(pull.low))
        case Add() | Reshape() | Sigmoid() | Tanh():
            return Pull(pull.high.reshape(shape), pull.low.reshape(shape))
    raise TypeError(f"no signs for {node.op}")


def _through_weights(node: Node, pull: Pull, shape: tuple[int, ...]) -> Pull:
    op = node.op
    assert isinstance(op, Conv | Linear)
    rows = torch.stack([pull.high, pull.low]).to(op.weight)[None]
    bias = torch.zeros_like(op.bias)

    def through(weight: Tensor) -> Tensor:
        part = Node(replace(op, weight=weight, bias=bias), node.inputs, node.shape)
        return affine_rows(part, rows, shape)[0][0] > 0

    rising, falling = through(op.weight.clamp(min=0)), through(-op.weight.clamp(max=0))
    return Pull(rising[0] | falling[1], rising[1] | falling[0])
