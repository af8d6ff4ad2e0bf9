"""The operators that networks may have, by their names in ONNX; PyTorch's are translated to them (`trace_ops`)."""

from collections.abc import Callable, Mapping

from aureole.nets import lowering, lowering_windows
from aureole.nets.lowering import Call
from aureole.nets.values import Value

OPERATORS: Mapping[str, Callable[[Call], Value]] = {
    "Add": lowering.add,
    "AveragePool": lowering_windows.average_pool,
    "BatchNormalization": lowering.batch_norm,
    "Clip": lowering.clip,
    "Concat": lowering.concat,
    "Conv": lowering_windows.conv,
    "Div": lowering.multiply,
    "Gemm": lowering.gemm,
    "GlobalAveragePool": lowering_windows.average_pool,
    "LeakyRelu": lowering.leaky_relu,
    "MatMul": lowering.matmul,
    "MaxPool": lowering_windows.max_pool,
    "Mul": lowering.multiply,
    "Neg": lowering.negative,
    "Pad": lowering_windows.pad,
    "ReduceMean": lowering_windows.reduce_planes,
    "ReduceSum": lowering_windows.reduce_planes,
    "Relu": lowering.relu,
    "Sigmoid": lowering.sigmoid,
    "Sub": lowering.add,
    "Tanh": lowering.tanh,
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
"""Operators of ONNX that only move numbers: they act on positions as they would on values."""


def lower(call: Call) -> Value:
    """What the operator gives, in the graph under construction; InputError naming the node when it cannot be had."""
    return OPERATORS[call.kind](call)
