"""What operators do to the graph under construction; see `values` for the idea.

ONNX models and traced PyTorch modules come through here alike: names and attributes are those of ONNX.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aureole.core.errors import InputError
from aureole.core.graph import Add, Op, Relu, Sigmoid, Tanh
from aureole.nets.values import MOST_WEIGHTS, Builder, Floats, Value

NO_LIMIT = 3.4e38
"""Some exporters write the largest float32 number where they mean that there is no limit."""

Argument = Value | NDArray[Any] | None
"""A tensor that the network computes, a constant, or an optional input left out."""


@dataclass(frozen=True, eq=False)
class Call:
    """One operator of the model: its name, its arguments and its attributes."""

    name: str
    kind: str
    arguments: list[Argument]
    attributes: Mapping[str, Any]
    builder: Builder

    def computed(self, i: int) -> Value:
        """Argument i, which the network computes."""
        value = self.arguments[i]
        if not isinstance(value, Value):
            raise self.refuse(f"its input {i} is not computed by the network")
        return value

    def constant(self, i: int) -> Floats | None:
        """Argument i, which must be stored in the model; None when it is left out."""
        value = self.arguments[i] if i < len(self.arguments) else None
        if isinstance(value, Value):
            raise self.refuse(f"its input {i} is computed by the network; only stored values are supported there")
        return None if value is None else np.asarray(value, dtype=np.float64)

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of argument i, computed or stored."""
        value = self.arguments[i]
        return value.order.shape if isinstance(value, Value) else self.weights(i).shape

    def weights(self, i: int) -> Floats:
        """Argument i, a stored array that cannot be left out."""
        value = self.constant(i)
        if value is None:
            raise self.refuse(f"its input {i} is missing")
        return value

    def refuse(self, why: str) -> InputError:
        """The error that names this operator."""
        return InputError(f"node {self.name} ({self.kind}): {why}")


def gemm(call: Call) -> Value:
    """Gemm with a computed first argument."""
    value, weight, bias = call.computed(0), call.weights(1), call.constant(2)
    weight = weight if call.attributes.get("transB") else weight.T
    if value.order.ndim != 2 or 1 not in value.order.shape or value.order.size != weight.shape[1]:
        raise call.refuse(f"it multiplies shapes {value.order.shape} and {weight.T.shape}; pass one vector per input")
    alpha, beta = call.attributes.get("alpha", 1.0), call.attributes.get("beta", 1.0)
    constant = np.zeros(len(weight)) if bias is None else np.broadcast_to(beta * bias, (1, len(weight)))[0]
    return call.builder.linear(value, alpha * weight, constant, (1, len(weight)), call.name)


def matmul(call: Call) -> Value:
    """MatMul of a computed and a stored tensor, on either side."""
    left = isinstance(call.arguments[0], Value)
    value, stored = call.computed(0 if left else 1), call.weights(1 if left else 0)
    size, shape = value.order.size, value.order.shape
    empty = np.zeros(shape)
    out = (np.matmul(empty, stored) if left else np.matmul(stored, empty)).shape
    if stored.ndim == 2 and size == (stored.shape[0] if left else stored.shape[1]):  # one vector: the matrix itself
        weight = stored.T if left else stored
    else:  # the matrix of the map, column by column
        if math.prod(out) * size > MOST_WEIGHTS:
            raise call.refuse(f"shapes {shape} and {stored.shape} make too large a matrix")
        units = np.eye(size).reshape(size, *shape) if len(shape) > 1 else np.eye(size).reshape(size, 1, size)
        units = units if left or len(shape) > 1 else units.transpose(0, 2, 1)
        weight = (np.matmul(units, stored) if left else np.matmul(stored, units)).reshape(size, -1).T
    return call.builder.linear(value, weight, np.zeros(len(weight)), out, call.name)


def batch_norm(call: Call) -> Value:
    """BatchNormalization in inference: a scale and a shift per channel."""
    value = call.computed(0)
    if call.attributes.get("training_mode"):
        raise call.refuse("it is in training mode; export the model for inference")
    gamma, beta, mean, variance = (call.weights(i) for i in (1, 2, 3, 4))
    scale = gamma / np.sqrt(variance + call.attributes.get("epsilon", 1e-5))
    axes = (-1, *[1] * (value.order.ndim - 2))
    return value.affine(scale.reshape(axes), (beta - mean * scale).reshape(axes))


def add(call: Call) -> Value:
    """Add or Sub of two tensors."""
    sign = 1.0 if call.kind == "Add" else -1.0
    first, second = call.arguments[0], call.arguments[1]
    if isinstance(first, Value) and isinstance(second, Value):
        return total(call.builder, first, second if sign > 0 else second.affine(-1.0, 0.0), call.name)
    if isinstance(first, Value):
        return first.affine(1.0, sign * call.weights(1))
    return call.computed(1).affine(sign, call.weights(0))


def total(builder: Builder, first: Value, second: Value, name: str) -> Value:
    """The sum of two computed tensors."""
    shape = np.broadcast_shapes(first.order.shape, second.order.shape)
    wide = (value if value.order.shape == shape else value.affine(np.ones(shape), 0.0) for value in (first, second))
    pair = [builder.settle(value, name) for value in wide]
    a, b = pair
    if np.array_equal(a.order, b.order) and builder.nodes[a.node].shape == builder.nodes[b.node].shape:
        return Value(builder.put(Add(), a.node, b.node, name=name), a.order)
    flat = shape[1:] if len(shape) > 1 and shape[0] == 1 else (math.prod(shape),)
    nodes = [builder.laid_out(value, flat, name) for value in pair]
    return builder.whole(builder.put(Add(), *nodes, name=name), shape)


def multiply(call: Call) -> Value:
    """Mul by a stored tensor, or Div by one."""
    i = 0 if call.kind == "Div" or isinstance(call.arguments[0], Value) else 1
    value, factors = call.computed(i), call.weights(1 - i)
    if call.kind == "Div":
        with np.errstate(divide="ignore"):
            factors = 1 / factors
    if not np.isfinite(factors).all():
        raise call.refuse("its constant gives factors that are not finite; store others")
    return value.affine(factors, 0.0)


def negative(call: Call) -> Value:
    """Neg."""
    return call.computed(0).affine(-1.0, 0.0)


def elementwise(call: Call, op: Op) -> Value:
    """An operator of every element, wherever it lies."""
    value = call.builder.settle(call.computed(0), call.name)
    return Value(call.builder.put(op, value.node, name=call.name), value.order)


def relu(call: Call) -> Value:
    """Relu."""
    return elementwise(call, Relu())


def sigmoid(call: Call) -> Value:
    """Sigmoid."""
    return elementwise(call, Sigmoid())


def tanh(call: Call) -> Value:
    """Tanh."""
    return elementwise(call, Tanh())


def leaky_relu(call: Call) -> Value:
    """`a x + (1 - a) relu(x)`: exact, and as tight as a rule of its own because the first part is affine."""
    slope = float(call.attributes.get("alpha", 0.01))
    value = call.builder.settle(call.computed(0), call.name)
    positive = relu(replace(call, arguments=[value]))
    return total(call.builder, value.affine(slope, 0.0), positive.affine(1 - slope, 0.0), call.name)


def clip(call: Call) -> Value:
    """Clip as `high - relu(high - low - relu(x - low))`: exact, and its intervals stay within the limits."""
    ends = (call.constant(1) if len(call.arguments) > 1 else call.attributes.get("min"),
            call.constant(2) if len(call.arguments) > 2 else call.attributes.get("max"))  # fmt: skip
    low, high = (None if end is None else float(np.asarray(end)) for end in ends)
    low = None if low is None or low <= -NO_LIMIT else low
    high = None if high is None or high >= NO_LIMIT else high
    value = call.computed(0)
    if low is not None and high is not None and low > high:
        raise call.refuse(f"its limits {low:g} and {high:g} are in the wrong order")
    if low is not None:
        value = relu(replace(call, arguments=[value.affine(1.0, -low)])).affine(1.0, low)
    if high is not None:
        value = relu(replace(call, arguments=[value.affine(-1.0, high)])).affine(-1.0, high)
    return value


def reduce(call: Call) -> Value:
    """ReduceMean or ReduceSum over given axes, as a matrix."""
    value, shape = call.computed(0), call.computed(0).order.shape
    axes = reduced_axes(call)
    short = tuple(1 if a in axes else n for a, n in enumerate(shape))
    out, size = math.prod(short), math.prod(shape)
    if out * size > MOST_WEIGHTS:
        raise call.refuse(f"shape {shape} makes too large a matrix")
    weight = np.zeros((out, size))
    weight[np.broadcast_to(np.arange(out).reshape(short), shape).ravel(), np.arange(size)] = 1.0
    if call.kind == "ReduceMean":
        weight *= out / size
    kept = bool(call.attributes.get("keepdims", 1))
    final = short if kept else tuple(n for a, n in enumerate(shape) if a not in axes)
    return call.builder.linear(value, weight, np.zeros(out), final, call.name)


def reduced_axes(call: Call) -> set[int]:
    """The axes of a reduction; where none are named all of them, or none at all (`noop_with_empty_axes`)."""
    count = call.computed(0).order.ndim
    given = call.constant(1) if len(call.arguments) > 1 else call.attributes.get("axes")
    named = np.empty(0) if given is None else np.asarray(given).ravel()
    if not named.size and not call.attributes.get("noop_with_empty_axes"):
        return set(range(count))
    return {int(axis) % count for axis in named}


def concat(call: Call) -> Value:
    """Concat as a sum of its parts, each put in its place among zeros."""
    shapes = [call.shape(i) for i in range(len(call.arguments))]
    axis = int(call.attributes["axis"]) % len(shapes[0])
    ends = np.cumsum([0, *(shape[axis] for shape in shapes)])
    whole = tuple(int(ends[-1]) if a == axis else n for a, n in enumerate(shapes[0]))
    constants = np.zeros(whole)
    parts: list[Value] = []
    channels = len(whole) == 4 and axis == 1 and whole[0] == 1
    for argument, first, last, shape in zip(call.arguments, ends[:-1], ends[1:], shapes, strict=True):
        if shape != (*whole[:axis], last - first, *whole[axis + 1 :]):
            raise call.refuse(f"shapes {shapes} do not fit along axis {axis}")
        place = (*[slice(None)] * axis, slice(first, last))
        if not isinstance(argument, Value):
            constants[place] = argument
            continue
        same = next((i for i, part in enumerate(parts) if part.node == argument.node), None)
        if same is None and channels:
            parts.append(call.builder.among_channels(argument, int(first), whole[1], call.name))
            continue
        order, (scale, shift) = np.zeros(whole, dtype=np.int64), (np.zeros(whole), np.zeros(whole))
        if same is not None:
            order, (scale, shift) = parts[same].order.copy(), (part.copy() for part in parts[same].pending())
        order[place], (scale[place], shift[place]) = argument.order, argument.pending()
        new = Value(argument.node, order, scale, shift)
        parts = [*parts, new] if same is None else [new if i == same else part for i, part in enumerate(parts)]
    joined = parts[0]
    for part in parts[1:]:
        joined = total(call.builder, joined, part, call.name)
    return joined.affine(1.0, constants) if constants.any() else joined
