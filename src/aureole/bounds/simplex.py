"""Bounds of a network over a simplex of images: for every node two functions that are linear on the simplex.

Such a function is told by its values at the corners. On few corners that costs a few passes through the network, and
as long as no relu changes sign and no pool its winner, both functions are the network itself: what a box forgets, that
all pixels move together, is kept. A convex function lies below the linear one through its values at the corners, so
relus and pools need no relaxation from above; from below they get a tangent.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.bounds.interval import Interval
from aureole.bounds.ops.affine import affine_interval
from aureole.bounds.ops.maxpool import to_windows
from aureole.core import Graph
from aureole.core.graph import Add, Conv, Input, Linear, MaxPool, Node, Relu, Reshape, Sigmoid, Tanh, apply

Pair = tuple[Tensor, Tensor]
"""The lower and the upper function at the corners, `(batch, corners, *shape)`; the same tensor where they are equal."""


def simplex_bounds(
    graph: Graph, corners: Float[Tensor, "batch corners *shape"]
) -> tuple[Float[Tensor, "batch corners classes"], Float[Tensor, "batch corners classes"]]:
    """Linear functions below and above each score on each simplex, by their values at its corners.

    The least of the lower one's values bounds the score from below on the whole simplex, the largest of the upper one's
    from above (up to rounding: `verify.rounding.slack`).
    """
    found: list[Pair] = []
    for node in graph.nodes:
        found.append(_step(node, [found[i] for i in node.inputs], corners))
    return found[-1]


def _step(node: Node, inputs: list[Pair], corners: Tensor) -> Pair:
    match node.op:
        case Input():
            return corners, corners
        case Conv() | Linear():
            return _affine(node, *inputs[0])
        case Relu():
            lower, upper = inputs[0]
            return _touched(lower), upper.relu()
        case MaxPool():
            return _pool(node, node.op, *inputs[0])
        case Sigmoid() | Tanh():  # neither convex nor concave: constants
            lower, upper = inputs[0]
            return (
                _each(node, lower.amin(1, keepdim=True)).expand_as(lower),
                _each(node, upper.amax(1, keepdim=True)).expand_as(upper),
            )
        case Reshape():
            lower, upper = (values.reshape(*values.shape[:2], *node.shape) for values in inputs[0])
            return (lower, lower) if inputs[0][0] is inputs[0][1] else (lower, upper)
        case Add():
            (first, first_upper), (second, second_upper) = inputs
            total = first + second
            same = first is first_upper and second is second_upper
            return total, total if same else first_upper + second_upper
    raise TypeError(f"no bounds over simplices for {type(node.op).__name__}")


def _each(node: Node, values: Tensor) -> Tensor:
    """The operator on every corner."""
    return apply(node.op, [values.flatten(0, 1)], node.shape).unflatten(0, values.shape[:2])


def _affine(node: Node, lower: Tensor, upper: Tensor) -> Pair:
    """At each corner the interval between the two functions, through the layer."""
    if lower is upper:
        exact = _each(node, lower)
        return exact, exact
    between = affine_interval(node, [Interval(lower.flatten(0, 1), upper.flatten(0, 1))])
    return between.lower.unflatten(0, lower.shape[:2]), between.upper.unflatten(0, lower.shape[:2])


def _touched(lower: Tensor) -> Tensor:
    """A linear function below the relu of one: the function itself or zero, whichever is larger in the middle."""
    kept = (lower.mean(1, keepdim=True) > 0) | (lower.amin(1, keepdim=True) >= 0)
    return lower * kept


def _pool(node: Node, op: MaxPool, lower: Tensor, upper: Tensor) -> Pair:
    """From below the input of each window that is largest in the middle."""
    height, width = node.shape[-2:]
    windows = to_windows(lower, op, fill=-torch.inf)
    best = windows.mean(1, keepdim=True).argmax(-2, keepdim=True)
    largest = windows.gather(-2, best.expand(-1, windows.shape[1], *best.shape[2:])).squeeze(-2)
    largest = largest.unflatten(-1, (height, width))
    return _touched(largest) if op.rectify else largest, _each(node, upper)
