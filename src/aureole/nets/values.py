"""Tensors of a model while it becomes a graph: where each element lies, and affine steps not yet written down.

Models move numbers about (Flatten, Transpose, Reshape, …) and scale them elementwise (normalisation, biases, batch
norms). Both are kept beside the node they act on: an array of positions, and a scale and shift per element. So moves
cost nothing, a Transpose disappears into the weights of the next layer, and elementwise steps into their neighbours.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from aureole.core.errors import InputError
from aureole.core.graph import Conv, Linear, Node, Op, Reshape, apply

Floats = NDArray[np.float64]

MOST_WEIGHTS = 2**24
"""Elements that a dense matrix made up by us (to gather values, or a general MatMul) may have."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the model: element e is `scale[e] * node.flat[order[e]] + shift[e]`.

    node:  position in the graph under construction
    order: positions in the node's row-major value; its shape is the tensor's (batch axis included, of length 1)
    scale, shift: of the same shape; None for 1 and 0
    """

    node: int
    order: NDArray[np.int64]
    scale: Floats | None = None
    shift: Floats | None = None

    @property
    def plain(self) -> bool:
        """Whether no affine step is pending."""
        return self.scale is None

    def affine(self, scale: Floats | float, shift: Floats | float) -> "Value":
        """`scale * this + shift`, broadcast as ONNX does."""
        shape = np.broadcast_shapes(self.order.shape, np.shape(scale), np.shape(shift))
        old_scale, old_shift = self.pending()
        return Value(
            self.node,
            np.broadcast_to(self.order, shape),
            np.broadcast_to(old_scale * scale, shape),
            np.broadcast_to(old_shift * scale + shift, shape),
        )

    def pending(self) -> tuple[Floats, Floats]:
        """Scale and shift, written out."""
        if self.scale is None or self.shift is None:
            return np.ones(self.order.shape), np.zeros(self.order.shape)
        return self.scale, self.shift


@dataclass(frozen=True)
class Padding:
    """Node `below` with so many zeros before and after its rows and columns."""

    below: int
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass
class Builder:
    """A graph under construction; local to one import.

    layout: the model's input elements in the order of the graph's input (channels first, where the model itself
            begins by transposing images)
    fixed:  the graph's input keeps its shape
    paddings: nodes that only pad another one with zeros, which a convolution that reads them can do itself
    """

    nodes: list[Node]
    values: dict[str, Value] = field(default_factory=dict)
    layout: NDArray[np.int64] | None = None
    fixed: bool = False
    paddings: dict[int, Padding] = field(default_factory=dict)

    def put(self, op: Op, *inputs: int, shape: tuple[int, ...] | None = None, name: str = "") -> int:
        """Append an operator; its output shape is found by running it, unless given (Reshape)."""
        if shape is None:
            below = [torch.zeros(1, *self.nodes[i].shape, dtype=torch.float64) for i in inputs]
            shape = tuple(apply(op, below, ()).shape[1:])
        self.nodes.append(Node(op, inputs, shape, name))
        return len(self.nodes) - 1

    def shaped(self, node: int, shape: tuple[int, ...]) -> int:
        """The node in another shape."""
        return node if self.nodes[node].shape == shape else self.put(Reshape(), node, shape=shape)

    def size(self, node: int) -> int:
        """How many numbers a node holds."""
        return math.prod(self.nodes[node].shape)

    def whole(self, node: int, shape: tuple[int, ...]) -> Value:
        """A node's value, in row-major order, as a tensor of the given shape."""
        return Value(node, np.arange(self.size(node)).reshape(shape))

    def settle(self, value: Value, name: str) -> Value:
        """The same tensor with no affine step pending: written into the layer before it, or as one of its own."""
        if value.plain:
            return value
        if len(np.unique(value.order)) != value.order.size:
            return self.whole(self.gather(value, name), value.order.shape)
        scale, shift = np.ones(self.size(value.node)), np.zeros(self.size(value.node))
        scale[value.order.ravel()], shift[value.order.ravel()] = (part.ravel() for part in value.pending())
        return Value(self._scaled(value.node, scale, shift, name), value.order)

    def _scaled(self, i: int, scale: Floats, shift: Floats, name: str) -> int:
        node = self.nodes[i]
        s, t = torch.from_numpy(scale), torch.from_numpy(shift)
        if isinstance(node.op, Linear):
            folded = replace(node.op, weight=node.op.weight * s[:, None], bias=node.op.bias * s + t)
            return self.put(folded, *node.inputs, name=name)
        channels = node.shape[0] if len(node.shape) == 3 else len(scale)
        per_channel = [part.reshape(channels, -1) for part in (s, t)]
        if all(bool((part == part[:, :1]).all()) for part in per_channel):
            s, t = (part[:, 0].contiguous() for part in per_channel)
            if isinstance(node.op, Conv):
                weight = node.op.weight * s[:, None, None, None]
                return self.put(replace(node.op, weight=weight, bias=node.op.bias * s + t), *node.inputs, name=name)
            if len(node.shape) == 3:
                return self.put(Conv(s[:, None, None, None], t, groups=len(s)), i, name=name)
        s, t = torch.from_numpy(scale), torch.from_numpy(shift)
        line = self.shaped(i, (len(s), 1, 1))  # every number is a channel of its own
        return self.shaped(self.put(Conv(s[:, None, None, None], t, groups=len(s)), line, name=name), node.shape)

    def gather(self, value: Value, name: str) -> int:
        """A node that holds the tensor's elements as one row-major vector, by a selecting matrix."""
        size = self.size(value.node)
        if value.order.size * size > MOST_WEIGHTS:
            raise InputError(
                f"node {name} needs its input's {value.order.size} values in another order, which no weights before "
                "or after it can absorb; export the model without that transposition"
            )
        scale, shift = value.pending()
        weight = torch.zeros(value.order.size, size, dtype=torch.float64)
        weight[torch.arange(value.order.size), torch.tensor(value.order.ravel())] = torch.tensor(scale.ravel())
        return self.put(Linear(weight, torch.tensor(shift.ravel())), self.shaped(value.node, (size,)), name=name)

    def laid_out(self, value: Value, shape: tuple[int, ...], name: str, *, image: bool = False) -> int:
        """A node of this shape whose row-major value is the tensor.

        image: the model transposes its input before anything else reads it: then let the graph's input be the
               transposed one, so that images are channels first whatever the model takes.
        """
        ordered = np.arange(value.order.size)
        if image and not self.fixed and value.node == 0 and len(self.nodes) == 1 and value.order.size == self.size(0):
            order = value.order.ravel()
            place = np.argsort(order)
            if not np.array_equal(order, ordered) and np.array_equal(order[place], ordered):
                self.values = {n: replace(v, order=place[v.order]) for n, v in self.values.items() if v.node == 0}
                self.nodes[0], self.layout = replace(self.nodes[0], shape=shape), order
                value = replace(value, order=place[value.order])
        value = self.settle(value, name)
        if value.order.size == self.size(value.node) and np.array_equal(value.order.ravel(), ordered):
            return self.shaped(value.node, shape)
        return self.shaped(self.gather(value, name), shape)

    def linear(self, value: Value, weight: Floats, bias: Floats, shape: tuple[int, ...], name: str) -> Value:
        """`weight @ tensor.flat + bias` as a tensor of the given shape; moves and pending steps go into the weights."""
        scale, shift = (part.ravel() for part in value.pending())
        order, size = value.order.ravel(), self.size(value.node)
        scaled = weight if value.plain else weight * scale
        if np.array_equal(order, np.arange(size)):
            placed = np.array(scaled, order="C")
        elif len(np.unique(order)) == len(order):
            placed = np.zeros((len(weight), size))
            placed[:, order] = scaled
        else:
            placed = np.zeros((len(weight), size))
            np.add.at(placed.T, order, scaled.T)
        moved = np.array(bias) if value.plain else bias + weight @ shift
        op = Linear(torch.from_numpy(placed), torch.from_numpy(moved))
        return self.whole(self.put(op, self.shaped(value.node, (self.size(value.node),)), name=name), shape)

    def among_channels(self, value: Value, first: int, count: int, name: str) -> Value:
        """A tensor (1, C, H, W) as the channels from `first` on of `count` channels, zero elsewhere."""
        i = self.laid_out(value, value.order.shape[1:], name)
        node, channels = self.nodes[i], self.nodes[i].shape[0]
        chosen = torch.zeros(count, channels, dtype=torch.float64)
        chosen[torch.arange(first, first + channels), torch.arange(channels)] = 1.0
        if isinstance(node.op, Conv) and node.op.groups == 1:  # the rows of zeros go into its own weights
            weight = torch.einsum("oc,cikl->oikl", chosen, node.op.weight)
            i = self.put(replace(node.op, weight=weight, bias=chosen @ node.op.bias), *node.inputs, name=name)
        else:
            i = self.put(Conv(chosen[:, :, None, None], torch.zeros(count, dtype=torch.float64)), i, name=name)
        return self.whole(i, (1, *self.nodes[i].shape))
