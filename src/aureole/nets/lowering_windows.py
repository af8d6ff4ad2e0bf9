"""What layers with sliding windows do to the graph under construction: convolutions and pools, in one or two axes."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from aureole.core.graph import Conv, MaxPool
from aureole.nets.lowering import Call, reduce, reduced_axes
from aureole.nets.values import Floats, Padding, Value


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
    value, window = _with_padding(call, value, window)
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
        torch.from_numpy(np.array(weight, order="C")), torch.from_numpy(np.array(bias)), window.stride, padding,
        window.dilation, groups,
    )  # fmt: skip
    node = call.builder.put(op, below, name=call.name)
    return call.builder.whole(node, (1, *call.builder.nodes[node].shape))


def _with_padding(call: Call, value: Value, window: Window) -> tuple[Value, Window]:
    """What a padding node reads, and the window with that padding."""
    found = call.builder.paddings.get(value.node)
    if found is None or not value.plain:
        return value, window
    whole = call.builder.whole(value.node, (1, *call.builder.nodes[value.node].shape))
    if not np.array_equal(value.order, whole.order):
        return value, window
    before = (window.before[0] + found.before[0], window.before[1] + found.before[1])
    after = (window.after[0] + found.after[0], window.after[1] + found.after[1])
    below = call.builder.whole(found.below, (1, *call.builder.nodes[found.below].shape))
    return below, replace(window, before=before, after=after)


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


def pad(call: Call) -> Value:
    """Pad. Around images constants are a convolution with a kernel of 1, shifted by the constant; else a move."""
    value = call.computed(0)
    amounts, constant = _amounts(call, value.order.ndim)
    inside = tuple(slice(-min(a, 0), n + min(b, 0)) for (a, b), n in zip(amounts, value.order.shape, strict=True))
    if inside != tuple(slice(0, n) for n in value.order.shape):  # negative amounts take away
        parts = (None if part is None else part[inside] for part in (value.scale, value.shift))
        value = Value(value.node, value.order[inside], *parts)
    grown = [(max(a, 0), max(b, 0)) for a, b in amounts]
    mode: Any = call.attributes.get("mode", b"constant")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode != "constant":
        if mode not in ("reflect", "edge", "wrap"):
            raise call.refuse(f"mode {mode} is not known")
        parts = (None if part is None else np.pad(part, grown, mode) for part in (value.scale, value.shift))
        return Value(value.node, np.pad(value.order, grown, mode), *parts)
    if not any(map(any, grown)):
        return value
    if value.order.ndim != 4 or value.order.shape[0] != 1 or any(map(any, grown[:2])):
        scale, shift = value.pending()
        shift = np.pad(shift, grown, constant_values=constant)
        return Value(value.node, np.pad(value.order, grown), np.pad(scale, grown), shift)
    if constant:
        value = value.affine(1.0, -constant)
    below = call.builder.laid_out(value, value.order.shape[1:], call.name, image=True)
    channels, (top, left) = value.order.shape[1], (grown[2], grown[3])
    window = Window((1, 1), (1, 1), (1, 1), (top[0], left[0]), (top[1], left[1]))
    whole = call.builder.whole(below, (1, *call.builder.nodes[below].shape))
    padded = convolve(call, whole, np.ones((channels, 1, 1, 1)), np.zeros(channels), window, channels)
    call.builder.paddings[padded.node] = Padding(below, window.before, window.after)
    return padded.affine(1.0, constant) if constant else padded


def _amounts(call: Call, axes: int) -> tuple[list[tuple[int, int]], float]:
    """How much is added before and after each axis, and the constant; attributes up to opset 10, inputs later."""
    pads = call.attributes["pads"] if "pads" in call.attributes else call.weights(1).tolist()
    fill = call.constant(2)
    constant = float(call.attributes.get("value", 0.0)) if fill is None or not fill.size else float(fill.ravel()[0])
    named = call.constant(3)
    chosen = list(range(axes)) if named is None else [int(a) % axes for a in named.ravel()]
    if len(pads) != 2 * len(chosen):
        raise call.refuse(f"{len(pads)} amounts do not fit {len(chosen)} axes")
    amounts = [(0, 0)] * axes
    for i, axis in enumerate(chosen):
        amounts[axis] = (int(pads[i]), int(pads[i + len(chosen)]))
    return amounts, constant


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
        kernel = torch.full((1, 1, *window.kernel), 1 / area, dtype=torch.float64)
        inside = F.conv2d(torch.from_numpy(grown)[None, None], kernel, None, window.stride, 0, window.dilation)[0]
        pooled = pooled.affine(1 / inside.numpy(), 0.0)
    return _squeezed(call.builder.settle(pooled, call.name), axes)


def reduce_planes(call: Call) -> Value:
    """ReduceMean over the rows and columns of an image is a GlobalAveragePool; `reduce` does the others."""
    value = call.computed(0)
    image = value.order.ndim == 4 and value.order.shape[0] == 1
    if call.kind != "ReduceMean" or not image or reduced_axes(call) != {2, 3}:
        return reduce(call)
    pooled = average_pool(replace(call, kind="GlobalAveragePool", attributes={}))
    kept = bool(call.attributes.get("keepdims", 1))
    return pooled if kept else Value(pooled.node, pooled.order.reshape(pooled.order.shape[:2]))
