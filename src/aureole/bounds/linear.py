"""Backward linear bounds (CROWN, Zhang et al. 2018; Xu et al. 2020) of rows over any node.

A row is a linear function of a node's value. Going backward, every operator turns it into a linear function of the
operator's input that lies below it on the region; at the image, the box gives the number.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aureole.bounds.interval import Bounds
from aureole.bounds.ops.affine import affine_rows
from aureole.bounds.ops.maxpool import PoolRelaxation
from aureole.bounds.ops.relu import ReluRelaxation
from aureole.bounds.ops.squash import SquashRelaxation
from aureole.core import Graph, Region
from aureole.core.graph import Add, Conv, Linear, MaxPool, Node, Relu, Reshape, Sigmoid, Tanh

Relaxation = ReluRelaxation | PoolRelaxation | SquashRelaxation
Relaxations = Mapping[int, Relaxation]
Parameters = Mapping[int, dict[str, Tensor]]
"""Free slopes, weights and levels by the node's position; see each relaxation's `parameters`."""

RELAXATIONS: Mapping[type, type[ReluRelaxation] | type[PoolRelaxation] | type[SquashRelaxation]] = {
    Relu: ReluRelaxation,
    MaxPool: PoolRelaxation,
    Sigmoid: SquashRelaxation,
    Tanh: SquashRelaxation,
}


UNIT_PARAMETERS = ("alpha", "level", "touch_low", "touch_high")
"""The free parameters that live in [0,1]; the others are logits."""


def project(parameters: Parameters) -> None:
    """Bring slopes and levels back into [0,1], in place (an optimiser's step may leave it)."""
    for named in parameters.values():
        for name in named.keys() & set(UNIT_PARAMETERS):
            named[name].clamp_(0, 1)


def cast(parameters: Parameters, like: Tensor) -> dict[int, dict[str, Tensor]]:
    """The parameters in the dtype and on the device of a tensor."""
    return {i: {name: value.to(like) for name, value in named.items()} for i, named in parameters.items()}


def of_rows(parameters: Parameters, chosen: Int[Tensor, "chosen"] | slice) -> dict[int, dict[str, Tensor]]:
    """The parameters of some of the rows."""
    return {i: {name: value[:, chosen] for name, value in named.items()} for i, named in parameters.items()}


def relax(graph: Graph, bounds: Bounds, until: int | None = None) -> dict[int, Relaxation]:
    """Relaxations of all non-linear nodes (before position `until`) from proved bounds of their inputs."""
    return {
        i: RELAXATIONS[type(node.op)].of(node, bounds[node.inputs[0]])
        for i, node in enumerate(graph.nodes[:until])
        if type(node.op) in RELAXATIONS
    }


def backward(
    graph: Graph,
    start: int,
    rows: Float[Tensor, "batch rows *shape"],
    relaxations: Relaxations,
    parameters: Parameters | None = None,
    until: int = 0,
    changed: Callable[[int, Tensor], Tensor] | None = None,
) -> tuple[Float[Tensor, "batch rows *input"], Float[Tensor, "batch rows"]]:
    """Rows over node `start` -> coefficients over the image and a constant that together lie below them.

    until:   go down to this node only, which all ways to the image must pass
    changed: gives the rows to go on with over the output of each non-linear node
    """
    pending = {start: rows}
    constant = rows.new_zeros(rows.shape[:2])
    for i in range(start, until, -1):
        if i in pending:
            node, above = graph.nodes[i], pending.pop(i)
            if isinstance(node.op, Add):
                parts = [above, above]
            elif isinstance(node.op, Reshape):
                parts = [above.reshape(*above.shape[:2], *graph.nodes[node.inputs[0]].shape)]
            else:
                if changed is not None and i in relaxations:
                    above = changed(i, above)
                lowered, shift = _nonlinear_or_affine(graph, i, node, above, relaxations, parameters)
                constant = constant + shift
                parts = [lowered]
            for j, part in zip(node.inputs, parts, strict=True):
                pending[j] = pending[j] + part if j in pending else part
    return pending.get(until, rows.new_zeros(*rows.shape[:2], *graph.nodes[until].shape)), constant


def _nonlinear_or_affine(
    graph: Graph, i: int, node: Node, rows: Tensor, relaxations: Relaxations, parameters: Parameters | None
) -> tuple[Tensor, Tensor]:
    if isinstance(node.op, Conv | Linear):
        return affine_rows(node, rows, graph.nodes[node.inputs[0]].shape)
    return relaxations[i].rows(rows, None if parameters is None else parameters[i])


def concretize(rows: Float[Tensor, "batch rows *input"], region: Region) -> Float[Tensor, "batch rows"]:
    """The smallest value of each row over its box."""
    middle, radius = (part.flatten(1).unsqueeze(-1) for part in (region.center, region.radius))
    flat = rows.flatten(2)
    return (flat @ middle - flat.abs() @ radius).squeeze(-1)


def lower_bounds(
    graph: Graph,
    region: Region,
    rows: Float[Tensor, "batch rows *shape"],
    relaxations: Relaxations,
    parameters: Parameters | None = None,
    start: int | None = None,
) -> Float[Tensor, "batch rows"]:
    """Lower bounds over each region of rows over node `start` (the scores when None)."""
    return lower_planes(graph, region, rows, relaxations, parameters, start)[0]


def lower_planes(
    graph: Graph,
    region: Region,
    rows: Float[Tensor, "batch rows *shape"],
    relaxations: Relaxations,
    parameters: Parameters | None = None,
    start: int | None = None,
) -> tuple[Float[Tensor, "batch rows"], Float[Tensor, "batch rows *input"]]:
    """`lower_bounds`, and the coefficients over the image of the planes that give them.

    A value that overflowed bounds nothing: it comes back as minus infinity, never as NaN.
    """
    start = len(graph.nodes) - 1 if start is None else start
    coefficients, constant = backward(graph, start, rows, relaxations, parameters)
    values = concretize(coefficients, region) + constant
    return torch.where(values.isfinite(), values, -torch.inf), coefficients


def minimizers(coefficients: Float[Tensor, "batch rows *input"], region: Region) -> Float[Tensor, "batch rows *input"]:
    """The corner of the box where each linear function is smallest (a good place to attack)."""
    return torch.where(coefficients > 0, region.lower.unsqueeze(1), region.upper.unsqueeze(1))
