"""How far float64 rounding may move a bound: what a proof must exceed."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.core import Graph, InputError, Region
from aureole.core.graph import Add, Conv, Input, Linear, MaxPool, Relu, Reshape, Sigmoid, Tanh, apply

LEAST_SLACK = 1e-6
"""Score units that every proof must have to spare, however small the rounding (solvers were seen off by 1.4e-7)."""

UNIT = 2.0**-53
SAFETY = 8.0


def errors(graph: Graph, region: Region) -> list[Float[Tensor, "batch *shape"]]:
    """For each node, by how much float64 rounding may move a bound of each of its values.

    A sum of n products in float64 is off by at most about `n u` times the sum of their magnitudes (Higham 2002,
    section 3.1). Carried through the layers, `n` adds up over them and the magnitudes grow by |weights|; a bound's
    backward pass adds the same numbers in another order, with slopes of at most 1: over the transposed kernels, over
    every position for the biases, and over all pixels at the end. SAFETY covers that this happens a few times (inner
    bounds, lines, the row itself).
    """
    sizes: list[Tensor] = []
    found: list[Tensor] = []
    terms = math.prod(graph.input_shape)
    for node in graph.nodes:
        args = [sizes[i] for i in node.inputs]
        op = node.op
        match op:
            case Conv() | Linear():
                size = apply(replace(op, weight=op.weight.abs(), bias=op.bias.abs()), args, node.shape)
                terms += op.weight[0].numel() + op.weight[:, 0].numel() + math.prod(node.shape)
            case MaxPool():  # a bound may lean on every input of a window
                plain = MaxPool(op.kernel, op.stride, op.padding)
                size = apply(plain, args, node.shape) * math.prod(op.kernel)
                terms += math.prod(op.kernel)
            case (
                Sigmoid() | Tanh()
            ):  # its lines are `slope x + offset` with a slope of at most 1: their terms are |x| and |x| + 1
                size, terms = 2 * args[0] + 1, terms + 4
            case Add():
                size, terms = args[0] + args[1], terms + 1
            case Input():
                size = torch.maximum(region.lower.abs(), region.upper.abs())
            case Relu() | Reshape():
                size = args[0].reshape(-1, *node.shape)
            case _:
                raise TypeError(f"no rounding known of {op}")
        sizes.append(size)
        found.append(SAFETY * terms * UNIT * size)
    return found


def slack(graph: Graph, region: Region, rows: Float[Tensor, "rows classes"]) -> float:
    """Score units by which a bound of `rows @ scores` must clear zero before it counts.

    InputError when the magnitudes overflow.
    """
    reach = float((errors(graph, region)[-1] @ rows.abs().T).max())
    if not math.isfinite(reach):
        raise InputError("the network's weights are so large that its scores overflow; rescale them")
    return max(LEAST_SLACK, reach)
