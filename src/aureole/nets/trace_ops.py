"""PyTorch's operators as torch.export names them, told in the words of ONNX (`operators`)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aureole.core.errors import InputError
from aureole.nets.lowering import Argument, Call
from aureole.nets.operators import lower
from aureole.nets.values import Builder, Value


class Traced:
    """One call of a traced program: its arguments by the names of its schema, tensors of the network as `Value`."""

    def __init__(self, fx: torch.fx.Node, args: tuple[Any, ...], kwargs: Mapping[str, Any], builder: Builder) -> None:
        self.fx, self.args, self.kwargs, self.builder = fx, args, kwargs, builder
        schema = getattr(getattr(fx.target, "_schema", None), "arguments", ())
        self.values = {a.name: a.default_value for a in schema}
        self.values |= dict(zip((a.name for a in schema), args, strict=False)) | dict(kwargs)
        flat = [x for a in (*args, *kwargs.values()) for x in (a if isinstance(a, list | tuple) else [a])]
        self.computed = [x for x in flat if isinstance(x, Value)]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def pair(self, key: str, otherwise: str = "", axes: int = 2) -> list[int]:
        """A number or a list, one per axis; where it is empty, that of `otherwise`."""
        value = self[key]
        if isinstance(value, int):
            value = [value]
        value = list(value or (self[otherwise] if otherwise else ()))
        return [int(n) for n in (value * axes if len(value) == 1 else value)]

    def axes(self, key: str) -> int:
        """Along how many axes the operator's windows slide; its input must be one image with its batch axis."""
        name, shape = str(self.fx.target), self[key].order.shape
        axes = len(shape) - 2 if "convolution" in name and len(shape) == 3 else 1 if "1d" in name else 2
        if len(shape) != axes + 2:
            wanted = "channels x height x width" if axes == 2 else "channels x length"
            raise self.refuse(f"it reads shape {shape[1:]} per image; it must be {wanted}")
        return axes

    def refuse(self, why: str) -> InputError:
        """The error that names this node."""
        return InputError(f"node {self.fx.name} ({self.fx.target}): {why}")

    def lower(self, kind: str, *arguments: Any, **attributes: Any) -> Value:
        """The same step in the words of ONNX."""
        made: list[Argument] = [_argument(argument) for argument in arguments]
        return lower(Call(self.fx.name, kind, made, attributes, self.builder))

    def passed(self) -> Value:
        """The first argument, for operators that change nothing here."""
        if self.values.get("train"):
            raise self.refuse("it drops values in evaluation too; pass training=self.training")
        dtype = self.values.get("dtype")
        if dtype is not None and not dtype.is_floating_point:
            raise self.refuse("rounding of computed values is not supported")
        value: Value = self.args[0]
        return value

    def moved(self) -> Any:
        """What a moving operator does to the positions, and to the pending steps."""
        value = self.args[0]
        if len(self.computed) != 1 or not isinstance(value, Value):
            raise self.refuse("its shape or indices are computed from the image")
        parts = [value.order, *(() if value.plain else value.pending())]
        results = [self.fx.target(torch.from_numpy(np.array(p)), *self.args[1:], **self.kwargs) for p in parts]  # type: ignore[operator]
        if isinstance(results[0], Tensor):
            return Value(value.node, *(r.numpy() for r in results))
        return [Value(value.node, *(r.numpy() for r in pieces)) for pieces in zip(*results, strict=True)]


def _argument(value: Any) -> Argument:
    if value is None or isinstance(value, Value):
        return value
    tensor = value.detach() if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    return tensor.to(torch.float64).numpy()


def _conv(call: Traced) -> Value:
    if call.values.get("transposed"):
        raise call.refuse("transposed convolutions are not supported")
    if isinstance(call["weight"], Value) or not isinstance(call["input"], Value):
        raise call.refuse("its weight is computed by the network, not stored")
    axes, given = call.axes("input"), call["padding"]
    padding = {"auto_pad": "SAME_UPPER" if given == "same" else "VALID"} if isinstance(given, str) else {
        "pads": call.pair("padding", axes=axes) * 2
    }  # fmt: skip
    return call.lower(
        "Conv", call["input"], call["weight"], call["bias"], strides=call.pair("stride", axes=axes),
        dilations=call.pair("dilation", axes=axes), group=int(call["groups"]), **padding,
    )  # fmt: skip


def _linear(call: Traced) -> Value:
    value, weight, bias = call["input"], call["weight"], call["bias"]
    if isinstance(weight, Value) or not isinstance(value, Value):
        raise call.refuse("its weight is computed by the network, not stored")
    if value.order.ndim == 2 and value.order.shape[0] == 1:
        return call.lower("Gemm", value, weight, bias, transB=1)
    product = call.lower("MatMul", value, weight.T)
    return product if bias is None else call.lower("Add", product, bias)


def _add_product(call: Traced) -> Value:
    if call["alpha"] != 1 or call["beta"] != 1:
        raise call.refuse("alpha and beta other than 1 are not supported")
    return call.lower("Add", call.lower("MatMul", call["mat1"], call["mat2"]), call["self"])


def _max_pool(call: Traced) -> Value:
    axes = call.axes("self")
    return call.lower(
        "MaxPool", call["self"], kernel_shape=call.pair("kernel_size", axes=axes),
        strides=call.pair("stride", "kernel_size", axes), pads=call.pair("padding", axes=axes) * 2,
        dilations=call.pair("dilation", axes=axes), ceil_mode=int(call["ceil_mode"]),
    )  # fmt: skip


def _average_pool(call: Traced) -> Value:
    if call.values.get("divisor_override"):
        raise call.refuse("divisor_override is not supported")
    axes = call.axes("self")
    return call.lower(
        "AveragePool", call["self"], kernel_shape=call.pair("kernel_size", axes=axes),
        strides=call.pair("stride", "kernel_size", axes), pads=call.pair("padding", axes=axes) * 2,
        ceil_mode=int(call["ceil_mode"]), count_include_pad=int(call["count_include_pad"]),
    )  # fmt: skip


def _adaptive_pool(call: Traced) -> Value:
    call.axes("self")
    size, wanted = call["self"].order.shape[2:], call.pair("output_size")
    if wanted == [1, 1]:
        return call.lower("GlobalAveragePool", call["self"])
    if any(n % w for n, w in zip(size, wanted, strict=True)):
        raise call.refuse(f"windows of unequal size ({size} -> {wanted}) are not supported")
    kernel = [n // w for n, w in zip(size, wanted, strict=True)]
    return call.lower("AveragePool", call["self"], kernel_shape=kernel, strides=kernel)


def _reduce(kind: str) -> Callable[[Traced], Value]:
    def step(call: Traced) -> Value:
        axes = call["dim"]
        axes = list(range(call["self"].order.ndim)) if axes is None or axes == [] else axes
        return call.lower(kind, call["self"], axes=axes, keepdims=int(call["keepdim"]))

    return step


def _batch_norm(call: Traced) -> Value:
    if call.values.get("training"):
        raise call.refuse("it is in training mode; use the running statistics")
    mean = call["running_mean"]
    if mean is None:
        raise call.refuse("it has no running statistics; use track_running_stats=True")
    weight = torch.ones_like(mean) if call["weight"] is None else call["weight"]
    bias = torch.zeros_like(mean) if call["bias"] is None else call["bias"]
    variance = call["running_var"]
    return call.lower("BatchNormalization", call["input"], weight, bias, mean, variance, epsilon=float(call["eps"]))


def _binary(kind: str) -> Callable[[Traced], Value]:
    def step(call: Traced) -> Value:
        first, second = call["self"], call["other"]
        if call.values.get("alpha", 1) != 1:
            second = call.lower("Mul", second, call["alpha"]) if isinstance(second, Value) else second * call["alpha"]
        if call.values.get("rounding_mode"):
            raise call.refuse("rounding is not supported")
        return call.lower(kind, first, second)

    return step


def _reversed_sub(call: Traced) -> Value:
    if call["alpha"] != 1:
        raise call.refuse("alpha other than 1 is not supported")
    return call.lower("Sub", call["other"], call["self"])


def _cat(call: Traced) -> Value:
    return call.lower("Concat", *call["tensors"], axis=int(call["dim"]))


def _pad(call: Traced) -> Value:
    pads, axes = [int(n) for n in call["pad"]], call["self"].order.ndim
    before, after = [0] * axes, [0] * axes
    for i in range(len(pads) // 2):  # from the last axis backward
        before[-1 - i], after[-1 - i] = pads[2 * i], pads[2 * i + 1]
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[
        call.values.get("mode", "constant")
    ]
    return call.lower("Pad", call["self"], np.array([*before, *after]), call["value"] or 0.0, mode=mode)


def _elementwise(kind: str) -> Callable[[Traced], Value]:
    return lambda call: call.lower(kind, call.args[0])


def _clip(low: str, high: str) -> Callable[[Traced], Value]:
    return lambda call: call.lower("Clip", call["self"], call[low], call[high])


def _first(step: Callable[[Traced], Value]) -> Callable[[Traced], list[Value]]:
    """For operators that give more than one tensor, of which networks read the first."""
    return lambda call: [step(call)]


TRANSLATIONS: Mapping[str, Callable[[Traced], Value | list[Value]]] = {
    "aten._adaptive_avg_pool2d.default": _adaptive_pool,
    "aten._native_batch_norm_legit_no_training.default": _first(_batch_norm),
    "aten.adaptive_avg_pool2d.default": _adaptive_pool,
    "aten.add.Scalar": _binary("Add"),
    "aten.add.Tensor": _binary("Add"),
    "aten.addmm.default": _add_product,
    "aten.avg_pool1d.default": _average_pool,
    "aten.avg_pool2d.default": _average_pool,
    "aten.batch_norm.default": _batch_norm,
    "aten.cat.default": _cat,
    "aten.clamp.default": _clip("min", "max"),
    "aten.constant_pad_nd.default": _pad,
    "aten.conv1d.default": _conv,
    "aten.conv1d.padding": _conv,
    "aten.conv2d.default": _conv,
    "aten.conv2d.padding": _conv,
    "aten.convolution.default": _conv,
    "aten.div.Scalar": _binary("Div"),
    "aten.div.Tensor": _binary("Div"),
    "aten.hardtanh.default": _clip("min_val", "max_val"),
    "aten.leaky_relu.default": lambda call: call.lower("LeakyRelu", call["self"], alpha=float(call["negative_slope"])),
    "aten.linear.default": _linear,
    "aten.matmul.default": lambda call: call.lower("MatMul", call["self"], call["other"]),
    "aten.max_pool1d.default": _max_pool,
    "aten.max_pool2d.default": _max_pool,
    "aten.max_pool2d_with_indices.default": _first(_max_pool),
    "aten.mean.dim": _reduce("ReduceMean"),
    "aten.mm.default": lambda call: call.lower("MatMul", call["self"], call["mat2"]),
    "aten.mul.Scalar": _binary("Mul"),
    "aten.mul.Tensor": _binary("Mul"),
    "aten.neg.default": _elementwise("Neg"),
    "aten.pad.default": _pad,
    "aten.relu.default": _elementwise("Relu"),
    "aten.relu6.default": lambda call: call.lower("Clip", call["self"], 0.0, 6.0),
    "aten.rsub.Scalar": _reversed_sub,
    "aten.sigmoid.default": _elementwise("Sigmoid"),
    "aten.sub.Scalar": _binary("Sub"),
    "aten.sub.Tensor": _binary("Sub"),
    "aten.sum.dim_IntList": _reduce("ReduceSum"),
    "aten.tanh.default": _elementwise("Tanh"),
}

MOVES = frozenset(
    f"aten.{name}"
    for name in (
        "chunk.default", "expand.default", "flatten.using_ints", "flip.default", "index_select.default", "movedim.int",
        "narrow.int", "permute.default", "pixel_shuffle.default", "pixel_unshuffle.default", "repeat.default",
        "reshape.default", "select.int", "slice.Tensor", "split.Tensor", "split_with_sizes.default",
        "squeeze.default", "squeeze.dim", "squeeze.dims", "t.default", "transpose.int", "unflatten.int",
        "unsqueeze.default", "view.default",
    )
)  # fmt: skip
"""Operators that only move numbers: they act on positions as they would on values."""

PASS_THROUGH = frozenset(
    f"aten.{name}"
    for name in (
        "_to_copy.default", "alias.default", "alpha_dropout.default", "clone.default", "contiguous.default",
        "detach.default", "dropout.default", "feature_alpha_dropout.default", "feature_dropout.default",
        "lift_fresh_copy.default", "to.dtype",
    )
)  # fmt: skip
