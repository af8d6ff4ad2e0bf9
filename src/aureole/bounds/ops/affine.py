"""Convolution, fully connected layer, reshape and addition: all exact for linear bounds."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from aureole.bounds.interval import Interval
from aureole.bounds.patch import Patch
from aureole.core.graph import Add, Conv, Linear, Node, Reshape, apply


def affine_interval(node: Node, inputs: list[Interval]) -> Interval:
    """Midpoint and radius through a Conv or Linear: `W m + b -+ |W| r`."""
    op = node.op
    assert isinstance(op, Conv | Linear)
    middle, radius = (inputs[0].upper + inputs[0].lower) / 2, (inputs[0].upper - inputs[0].lower) / 2
    absolute = replace(op, weight=op.weight.abs(), bias=torch.zeros_like(op.bias))
    middle = apply(op, [middle], node.shape)
    radius = apply(absolute, [radius], node.shape)
    return Interval(middle - radius, middle + radius)


def exact_interval(node: Node, inputs: list[Interval]) -> Interval:
    """Reshape and Add act on both limits alike."""
    lower = apply(node.op, [i.lower for i in inputs], node.shape)
    return Interval(lower, apply(node.op, [i.upper for i in inputs], node.shape))


def affine_rows(
    node: Node, rows: Float[Tensor, "batch rows *above"], below: tuple[int, ...]
) -> tuple[Float[Tensor, "batch rows *below"], Float[Tensor, "batch rows"]]:
    """Coefficients over a Conv's or Linear's output -> over its input of shape `below`, and the constant."""
    op = node.op
    if isinstance(op, Linear):
        return rows @ op.weight, rows @ op.bias
    assert isinstance(op, Conv)
    flat = rows.flatten(0, 1)
    extra = [
        below[1 + a] - ((node.shape[1 + a] - 1) * op.stride[a] - 2 * op.padding[a] + _reach(op, a)) for a in (0, 1)
    ]
    lowered = F.conv_transpose2d(flat, op.weight, None, op.stride, op.padding, extra, op.groups, op.dilation)
    return lowered.reshape(*rows.shape[:2], *below), rows.sum((-1, -2)) @ op.bias


def conv_patch(op: Conv, patch: Patch) -> tuple[Patch, Float[Tensor, "sides neurons"]]:
    """A patch over a Conv's output -> a patch over its input, and the constant."""
    rows = patch.coef.flatten(0, 1)
    inputs = rows[0].numel()
    if inputs < len(rows):  # one small matrix for all patches: a product is several times faster than many convolutions
        eye = torch.eye(inputs, dtype=rows.dtype, device=rows.device).reshape(-1, *rows.shape[1:])
        matrix = _transposed(op, eye)
        lowered = (rows.flatten(1) @ matrix.flatten(1)).reshape(-1, *matrix.shape[1:])
    else:
        lowered = _transposed(op, rows)
    below = Patch(
        lowered.reshape(2, -1, *lowered.shape[1:]),
        patch.top * op.stride[0] - op.padding[0],
        patch.left * op.stride[1] - op.padding[1],
        patch.batch,
    )
    return below, patch.coef.sum((-1, -2)) @ op.bias


def _transposed(op: Conv, rows: Float[Tensor, "rows channels h w"]) -> Float[Tensor, "rows below H W"]:
    return F.conv_transpose2d(rows, op.weight, None, op.stride, 0, 0, op.groups, op.dilation)


def _reach(op: Conv, axis: int) -> int:
    return op.dilation[axis] * (op.weight.shape[2 + axis] - 1) + 1


INTERVAL = {Conv: affine_interval, Linear: affine_interval, Reshape: exact_interval, Add: exact_interval}
