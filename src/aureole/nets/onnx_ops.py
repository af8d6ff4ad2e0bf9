"""What each ONNX operator does to the graph under construction; see `onnx_values` for the idea."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aureole.core.errors import InputError
from aureole.core.graph import Add, Conv, MaxPool, Relu
from aureole.nets.onnx_values import MOST_WEIGHTS, Builder, Floats, Value

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

    def weights(self, i: int) -> Floats:
        """Argument i, a stored array that cannot be left out."""
        value = self.constant(i)
        if value is None:
            raise self.refuse(f"its input {i} is missing")
        return value

    def refuse(self, why: str) -> InputError:
        """The error that names this operator."""
        return InputError(f"node {self.name} ({self.kind}): {why}")


@dataclass(frozen=True)
class Window:
    """A sliding window in two axes: what Conv and the pools have in common."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]

    @classmethod
    def of(cls, call: Call, kernel: list[int], size: tuple[int, int]) -> "Window":
        """From the attributes of ONNX, for an input of `size`; one axis (1-d layers) gets a first axis of length 1."""
        axes = len(kernel)

        def pair(key: str) -> tuple[int, int]:
            found = list(call.attributes.get(key) or [1] * axes)
            return (1, found[0]) if axes == 1 else (found[0], found[1])

        stride, dilation = pair("strides"), pair("dilations")
        full = (1, kernel[0]) if axes == 1 else (kernel[0], kernel[1])
        auto = call.attributes.get("auto_pad", b"NOTSET")
        match auto.decode() if isinstance(auto, bytes) else auto:
            case "NOTSET" | "":
                pads = list(call.attributes.get("pads") or [0] * 2 * axes)
                before, after = ((0, pads[0]), (0, pads[1])) if axes == 1 else ((pads[0], pads[1]), (pads[2], pads[3]))
            case "VALID":
                before = after = (0, 0)
            case ("SAME_UPPER" | "SAME_LOWER") as same:
                total = [
                    max(0, (math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n)
                    for n, s, d, k in zip(size, stride, dilation, full, strict=True)
                ]
                small, large = (total[0] // 2, total[1] // 2), ((total[0] + 1) // 2, (total[1] + 1) // 2)
                before, after = (small, large) if same == "SAME_UPPER" else (large, small)
            case other:
                raise call.refuse(f"auto_pad {other} is not known")
        if min(*before, *after) < 0:
            raise call.refuse("negative padding is not supported")
        return cls(full, stride, dilation, before, after)


def _image(call: Call) -> tuple[Value, int]:
    """The first argument as (1, C, H, W), and how many axes its windows slide along."""
    value = call.computed(0)
    axes = value.order.ndim - 2
    if axes not in (1, 2) or value.order.shape[0] != 1:
        raise call.refuse(f"its input has shape {value.order.shape}; supported: one image, 1-d or 2-d layers")
    return (_expanded(value) if axes == 1 else value), axes


def _expanded(value: Value) -> Value:
    parts = (None if part is None else part[:, :, None] for part in (value.scale, value.shift))
    return Value(value.node, value.order[:, :, None], *parts)


def _squeezed(value: Value, axes: int) -> Value:
    """The result of a layer with so many axes."""
    return value if axes == 2 else replace(value, order=value.order[:, :, 0])


def conv(call: Call) -> Value:
    """Conv with stored weights."""
    value, axes = _image(call)
    weight = call.weights(1)
    window = Window.of(call, list(weight.shape[2:]), value.order.shape[2:])
    weight = weight[:, :, None] if axes == 1 else weight
    bias = call.constant(2)
    bias = np.zeros(len(weight)) if bias is None else bias
    return _squeezed(convolve(call, value, weight, bias, window, int(call.attributes.get("group", 1))), axes)


def convolve(call: Call, value: Value, weight: Floats, bias: Floats, window: Window, groups: int) -> Value:
    """A convolution; asymmetric padding becomes zeros in the kernel, a pending normalisation goes into the weights."""
    channels = value.order.shape[1]
    if weight.shape[1] * groups != channels or len(weight) % groups:
        raise call.refuse(f"weights {weight.shape} in {groups} groups do not fit {channels} channels")
    scale, shift = (part[0].reshape(channels, -1) for part in value.pending())
    padded = any((*window.before, *window.after))
    even = bool((scale == scale[:, :1]).all() and (shift == shift[:, :1]).all())
    if not value.plain and even and not (padded and shift.any()):  # padding is zero after the shift, not before it
        place = np.arange(len(weight))[:, None] // (len(weight) // groups) * weight.shape[1] + np.arange(
            weight.shape[1]
        )
        bias = bias + (weight * shift[place, 0][:, :, None, None]).sum((1, 2, 3))
        weight = weight * scale[place, 0][:, :, None, None]
        value = Value(value.node, value.order)
    weight, padding = _symmetric(call, weight, window)
    below = call.builder.laid_out(value, value.order.shape[1:], call.name, image=True)
    op = Conv(
        torch.from_numpy(np.ascontiguousarray(weight)), torch.from_numpy(bias), window.stride, padding, window.dilation,
        groups,
    )  # fmt: skip
    node = call.builder.put(op, below, name=call.name)
    return call.builder.whole(node, (1, *call.builder.nodes[node].shape))


def _symmetric(call: Call, weight: Floats, window: Window) -> tuple[Floats, tuple[int, int]]:
    """The kernel extended by zeros so that both sides have the same padding."""
    padding = []
    for axis in (0, 1):
        before, after, step = window.before[axis], window.after[axis], window.dilation[axis]
        extra, rest = divmod(abs(after - before), step)
        if rest:
            raise call.refuse(f"padding {before} before and {after} after does not fit dilation {step}")
        grown = [(0, 0)] * 4
        grown[2 + axis] = (extra, 0) if before < after else (0, extra)
        weight = np.pad(weight, grown)
        padding.append(max(before, after))
    return weight, (padding[0], padding[1])


def max_pool(call: Call) -> Value:
    """MaxPool; padding must be the same on both sides as far as windows reach it."""
    value, axes = _image(call)
    window = Window.of(call, call.attributes["kernel_shape"], value.order.shape[2:])
    if window.dilation != (1, 1) or call.attributes.get("storage_order"):
        raise call.refuse("dilations and storage_order are not supported")
    for axis in (0, 1):
        size, kernel, step = value.order.shape[2 + axis], window.kernel[axis], window.stride[axis]
        before, after = window.before[axis], window.after[axis]
        room = size + before + after - kernel
        count = (math.ceil(room / step) if call.attributes.get("ceil_mode") else room // step) + 1
        if (count - 1) * step >= size + before:  # a window that begins beyond the image does not count
            count -= 1
        if (size + 2 * before - kernel) // step + 1 != count or before > kernel // 2:
            raise call.refuse(f"padding {before} before and {after} after (or ceil_mode) is not supported")
    below = call.builder.laid_out(value, value.order.shape[1:], call.name, image=True)
    node = call.builder.put(MaxPool(window.kernel, window.stride, window.before), below, name=call.name)
    return _squeezed(call.builder.whole(node, (1, *call.builder.nodes[node].shape)), axes)


def average_pool(call: Call) -> Value:
    """AveragePool as a convolution of each channel; padding that does not count becomes a scale per window."""
    value, axes = _image(call)
    size = (value.order.shape[2], value.order.shape[3])
    if call.kind == "GlobalAveragePool":
        window = Window(size, (1, 1), (1, 1), (0, 0), (0, 0))
    else:
        window = Window.of(call, call.attributes["kernel_shape"], size)
    if call.attributes.get("ceil_mode"):
        raise call.refuse("ceil_mode is not supported")
    channels, area = value.order.shape[1], math.prod(window.kernel)
    weight = np.full((channels, 1, *window.kernel), 1 / area)
    pooled = convolve(call, value, weight, np.zeros(channels), window, channels)
    if any((*window.before, *window.after)) and not call.attributes.get("count_include_pad"):
        grown = np.pad(np.ones(size), list(zip(window.before, window.after, strict=True)))
        inside = torch.nn.functional.avg_pool2d(torch.from_numpy(grown)[None], window.kernel, window.stride)
        pooled = pooled.affine(1 / inside.numpy(), 0.0)
    return _squeezed(call.builder.settle(pooled, call.name), axes)


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
    if call.kind == "Mul":
        i = 0 if isinstance(call.arguments[0], Value) else 1
        return call.computed(i).affine(call.weights(1 - i), 0.0)
    return call.computed(0).affine(1 / call.weights(1), 0.0)


def relu(call: Call) -> Value:
    """Relu of every element, wherever it lies."""
    value = call.builder.settle(call.computed(0), call.name)
    return Value(call.builder.put(Relu(), value.node, name=call.name), value.order)


def leaky_relu(call: Call) -> Value:
    """`a x + (1 - a) relu(x)`: exact, and as tight as a rule of its own because the first part is affine."""
    slope = float(call.attributes.get("alpha", 0.01))
    value = call.builder.settle(call.computed(0), call.name)
    positive = relu(replace(call, arguments=[value]))
    return total(call.builder, value.affine(slope, 0.0), positive.affine(1 - slope, 0.0), call.name)


OPERATORS: dict[str, Callable[[Call], Value]] = {
    "Add": add,
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Conv": conv,
    "Div": multiply,
    "Gemm": gemm,
    "GlobalAveragePool": average_pool,
    "LeakyRelu": leaky_relu,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Mul": multiply,
    "Relu": relu,
    "Sub": add,
}

MOVES = (
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
)
"""Operators that only move numbers: they act on positions as they would on values."""
