"""Graphs: a network as a list of simple operators that the mathematics can read."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from aureole.core.errors import InputError
from aureole.core.spec import Spec, only_compares


@dataclass(frozen=True)
class Input:
    """The image."""


@dataclass(frozen=True, eq=False)
class Conv:
    """A 2-d convolution with zero padding; one bias per output channel."""

    weight: Float[Tensor, "out in kernel_h kernel_w"]
    bias: Float[Tensor, "out"]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Linear:
    """`weight @ x + bias` on a flat vector."""

    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, "out"]


@dataclass(frozen=True)
class Relu:
    """`max(x, 0)`, elementwise."""


@dataclass(frozen=True)
class Sigmoid:
    """`1 / (1 + exp(-x))`, elementwise."""


@dataclass(frozen=True)
class Tanh:
    """The hyperbolic tangent, elementwise."""


@dataclass(frozen=True)
class MaxPool:
    """The largest input of each window; with `rectify`, at least 0.

    Because relu and max commute, `pool(relu(z))` and `relu(pool(z))` both become one pool with `rectify`, which
    has fewer non-linear neurons and tighter bounds than either order.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    rectify: bool = False


@dataclass(frozen=True)
class Reshape:
    """The same numbers in another shape (row-major)."""


@dataclass(frozen=True)
class Add:
    """The elementwise sum of two nodes."""


Op = Input | Conv | Linear | Relu | Sigmoid | Tanh | MaxPool | Reshape | Add
Squash = Sigmoid | Tanh
"""Smooth steps: they have no exact encoding as a mixed-integer linear program."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operator, the nodes it reads (by position in the graph) and its output shape without the batch axis."""

    op: Op
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    name: str = ""


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order: the first is the input, the last gives the scores (logits, one axis).

    source: the original model, through which witnesses are replayed (images in, scores out, float64);
            None replays through the graph itself.
    precision: the dtype in which the original model takes images; where the region holds a number of that dtype, a
            witness is one, so that the model sees the witness itself and not a rounded neighbour.
    notes: what an answer about this graph has to say besides (a softmax left out, a replay that is not the original's)
    softmax: the model ends in a softmax that was left out here and in `source`: the order of the scores is that of the
            model, their values are not
    """

    nodes: tuple[Node, ...]
    source: Callable[[Tensor], Tensor] | None = None
    precision: torch.dtype = torch.float64
    notes: tuple[str, ...] = ()
    softmax: bool = False

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self.nodes[0].shape

    @property
    def classes(self) -> int:
        """How many scores the network gives."""
        return self.nodes[-1].shape[0]

    def then(self, weight: Float[Tensor, "out classes"], bias: Float[Tensor, "out"], name: str) -> "Graph":
        """The same with one more linear layer, over its scores."""
        return replace(
            self, nodes=(*self.nodes, Node(Linear(weight, bias), (len(self.nodes) - 1,), (len(bias),), name))
        )

    def __call__(self, images: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch classes"]:
        """The scores, in the dtype of the weights."""
        return self.values(images)[-1]

    def values(
        self, images: Float[Tensor, "batch *shape"], pool: "Callable[[Tensor, MaxPool], Tensor] | None" = None
    ) -> list[Tensor]:
        """Every node's value; `pool` replaces the max-pool (a smooth one, for attacks)."""
        values: list[Tensor] = []
        for node in self.nodes:
            args = [values[i] for i in node.inputs]
            match node.op:
                case Input():
                    value = images
                case MaxPool() as op if pool is not None:
                    value = pool(args[0], op)
                case op:
                    value = apply(op, args, node.shape)
            values.append(value)
        return values

    def replay(self, image: Float[Tensor, "*shape"]) -> Float[Tensor, "classes"]:
        """The scores of one image through the original model, in float64."""
        model = self.source if self.source is not None else self.to(torch.float64)
        with torch.no_grad():
            return model(image[None].to(torch.float64))[0]

    def to(self, dtype: torch.dtype, device: torch.device | str | None = None) -> "Graph":
        """The same graph with its weights in another dtype or on another device."""
        return replace(self, nodes=tuple(replace(n, op=_cast(n.op, dtype, device)) for n in self.nodes))


def apply(op: Op, args: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    """One operator's value on a batch."""
    match op:
        case Conv():
            return F.conv2d(args[0], op.weight, op.bias, op.stride, op.padding, op.dilation, op.groups)
        case Linear():
            return F.linear(args[0], op.weight, op.bias)
        case Relu():
            return args[0].relu()
        case Sigmoid():
            return args[0].sigmoid()
        case Tanh():
            return args[0].tanh()
        case MaxPool():
            pooled = F.max_pool2d(args[0], op.kernel, op.stride, op.padding)
            return pooled.relu() if op.rectify else pooled
        case Reshape():
            return args[0].reshape(args[0].shape[0], *shape)
        case Add():
            return args[0] + args[1]
    raise TypeError(f"no rule to evaluate {type(op).__name__}")


def _cast(op: Op, dtype: torch.dtype, device: torch.device | str | None) -> Op:
    match op:
        case Conv() | Linear():
            return replace(op, weight=op.weight.to(device, dtype), bias=op.bias.to(device, dtype))
    return op


def check_finite(graph: Graph) -> None:
    """InputError naming the first layer whose weights are not finite."""
    for node in graph.nodes:
        if isinstance(node.op, Conv | Linear):
            for part in ("weight", "bias"):
                if not bool(getattr(node.op, part).isfinite().all()):
                    raise InputError(
                        f"{node.name or type(node.op).__name__}.{part} holds NaN or infinite values; "
                        "pass finite weights"
                    )


def check_comparable(graph: Graph, spec: Spec) -> None:
    """InputError for a spec that reads more than the order of the scores of a model whose softmax was dropped."""
    if graph.softmax and not only_compares(spec.rows(graph.classes), spec.offsets(graph.classes)):
        raise InputError(
            "the spec does more than compare two scores, but the network's softmax was dropped; state it for logits"
        )


def taking(graph: Graph, shape: tuple[int, ...]) -> Graph:
    """The same network for images of another shape that hold as many numbers, read in row-major order."""
    old = graph.input_shape
    if shape == old:
        return graph
    if math.prod(shape) != math.prod(old):
        raise InputError(f"the network takes {math.prod(old)} numbers, not {math.prod(shape)}")
    first = [replace(graph.nodes[0], shape=shape), Node(Reshape(), (0,), old, "image")]
    moved = [
        replace(n, inputs=tuple(0 if isinstance(n.op, Reshape) and i == 0 else i + 1 for i in n.inputs))
        for n in graph.nodes[1:]
    ]
    nodes = [*first, *moved]
    for i, node in enumerate(nodes):  # a reshape back to the image's shape is the image
        if i > 1 and isinstance(node.op, Reshape) and node.inputs == (0,) and node.shape == shape:
            nodes = [replace(n, inputs=tuple(0 if j == i else j for j in n.inputs)) for n in nodes]
    source = None if graph.source is None else _Reshaped(graph.source, old)
    return replace(graph, nodes=without_unread(nodes), source=source)


@dataclass(frozen=True, eq=False)
class _Reshaped:
    """A model for images of another shape."""

    model: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]

    def __call__(self, images: Tensor) -> Tensor:
        return self.model(images.reshape(len(images), *self.shape))


def merge_rectified_pools(graph: Graph) -> Graph:
    """The same function with every relu before or after a max-pool merged into the pool (`rectify`)."""
    nodes = list(graph.nodes)
    for i, node in enumerate(nodes):  # pool(relu(z)) -> rectified pool of z
        if isinstance(node.op, MaxPool) and isinstance(nodes[node.inputs[0]].op, Relu):
            nodes[i] = replace(node, op=replace(node.op, rectify=True), inputs=nodes[node.inputs[0]].inputs)
    readers = [sum(i in n.inputs for n in nodes) for i in range(len(nodes))]
    for i, node in enumerate(nodes):  # relu(pool(z)), where nobody else reads the pool
        if isinstance(node.op, Relu):
            pool = nodes[node.inputs[0]]
            if isinstance(pool.op, MaxPool) and (readers[node.inputs[0]] == 1 or pool.op.rectify):
                nodes[i] = replace(node, op=replace(pool.op, rectify=True), inputs=pool.inputs)
    return replace(graph, nodes=without_unread(nodes))


def without_unread(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes that the last one needs, and the input."""
    read = {0, len(nodes) - 1}
    for i in range(len(nodes) - 1, -1, -1):
        if i in read:
            read.update(nodes[i].inputs)
    position = {old: new for new, old in enumerate(sorted(read))}
    return tuple(replace(nodes[i], inputs=tuple(position[j] for j in nodes[i].inputs)) for i in sorted(read))
