"""A convolutional network as a sum of parts that see almost nothing of each other.

The scores are linear in the last hidden layer, and a unit of that layer sees one field of the image. So a row of the
scores is a sum over *tiles* (groups of units at neighbouring places) of functions of overlapping fields. Each tile gets
its own copy of the pixels; where fields overlap, prices on the difference of the copies make them agree (Lagrangian
decomposition, Guignard & Kim 1987). For any prices that add up to zero,

    min over x of sum_b f_b(x)  >=  sum_b min over x of ( f_b(x) + prices_b (x - middle) ),

and each minimum on the right is a small program of its own: trees that a solver would multiply are added instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aureole.bounds.linear import Parameters, backward, concretize
from aureole.bounds.ops.relu import ReluRelaxation
from aureole.core import Graph
from aureole.core.graph import Linear, Node, Reshape
from aureole.verify.encoding import Minimum, encode_minimum
from aureole.verify.query import Known, Query

MOST = 4
"""Tiles along each side of the last hidden layer, at most."""


@dataclass(frozen=True, eq=False)
class Head:
    """The scores as `weight @ hidden + bias`, and the tiles of the hidden units."""

    body: tuple[Node, ...]
    weight: Float[Tensor, "classes hidden"]
    bias: Float[Tensor, "classes"]
    tiles: tuple[Int[Tensor, "units"], ...]

    def graph(self, row: Float[Tensor, "hidden"]) -> Graph:
        """The network whose only score is `row @ hidden`."""
        last = Node(Linear(row[None], row.new_zeros(1)), (len(self.body) - 1,), (1,), "row")
        return Graph((*self.body, last))

    def hidden(self, images: Float[Tensor, "images *shape"]) -> Float[Tensor, "images hidden"]:
        """The last hidden layer's values."""
        return Graph(self.body).values(images)[-1]

    def split(self, row: Float[Tensor, "hidden"]) -> Float[Tensor, "tiles hidden"]:
        """A row over the hidden units as one row per tile."""
        return torch.stack([torch.zeros_like(row).index_copy(0, units, row[units]) for units in self.tiles])


def head(graph: Graph) -> Head | None:
    """None where the network does not end in a flattened layer of several places and linear layers."""
    weight, bias = torch.eye(graph.classes, dtype=torch.float64), torch.zeros(graph.classes, dtype=torch.float64)
    top = len(graph.nodes) - 1
    while isinstance(op := graph.nodes[top].op, Linear):
        weight, bias, top = weight @ op.weight, weight @ op.bias + bias, graph.nodes[top].inputs[0]
    node = graph.nodes[top]
    if not isinstance(node.op, Reshape):
        return None
    shape = graph.nodes[node.inputs[0]].shape
    if len(shape) != 3 or node.inputs[0] == 0:
        return None
    channels, height, width = shape
    index = torch.arange(channels * height * width).reshape(shape)
    rows = torch.arange(height).tensor_split(min(MOST, height))
    columns = torch.arange(width).tensor_split(min(MOST, width))
    tiles = tuple(index[:, r][:, :, c].flatten() for r in rows for c in columns)
    return Head(graph.nodes[: top + 1], weight, bias, tiles) if len(tiles) > 1 else None


@dataclass(frozen=True, eq=False)
class Part:
    """One tile's share of a row.

    program:  the tile's minimum, without prices
    prices:   per pixel
    floor:    a proved lower bound of the share, prices included
    ceiling:  what the share comes to at some image, prices included: no floor can be higher
    solution: where a relaxation of the program has its minimum, as a point of the program's variables
    """

    units: Int[Tensor, "units"]
    program: Minimum
    prices: np.ndarray
    floor: float
    ceiling: float
    solution: np.ndarray

    @property
    def image(self) -> Float[Tensor, "*shape"]:
        """The solution's image; pixels that the tile does not see are in the middle."""
        return self.program.encoding.image(self.solution)

    @property
    def room(self) -> float:
        """How much the floor could still rise."""
        return max(self.ceiling - self.floor, 0.0)

    def value(self, head: Head, row: Float[Tensor, "hidden"], image: Float[Tensor, "*shape"]) -> float:
        """The share at an image, prices included."""
        moved = image.flatten().numpy() - self.program.encoding.pixels.middle
        return float(row[self.units] @ head.hidden(image[None])[0, self.units]) + float(self.prices @ moved)


def parts(
    query: Query, known: Known, head: Head, row: Float[Tensor, "hidden"], parameters: Parameters, exact: int
) -> tuple[Part, ...]:
    """A row's parts, priced so that, as far as its linear planes tell, all copies of a pixel agree.

    exact: of the relus, so many keep their choice; those for which the planes give away most
    """
    rows = head.split(row)[None]
    seen: dict[int, Tensor] = {}
    every = {i: {n: v.expand(-1, rows.shape[1], *v.shape[2:]) for n, v in p.items()} for i, p in parameters.items()}
    body = replace(query.graph, nodes=head.body)
    planes, constants = backward(body, len(head.body) - 1, rows, known.relaxations, every or None, seen)
    kept = _worth_a_choice(query.graph, known, seen, exact)
    programs = [
        encode_minimum(
            head.graph(part), query.region, torch.ones(1, dtype=torch.float64), known.bounds,
            {i: flags[b] for i, flags in kept.items()},
        )
        for b, part in enumerate(rows[0])
    ]  # fmt: skip
    slopes = planes[0].flatten(1)
    sees = torch.zeros_like(slopes, dtype=torch.bool)
    for b, program in enumerate(programs):
        sees[b, torch.from_numpy(program.encoding.pixels.moved)] = True
    shared = sees.sum(0)
    equal = torch.where(sees & (shared > 1), slopes.sum(0) / shared.clamp(min=1) - slopes, 0.0)
    # a plane may reach pixels that no tile's program moves: those keep their slope, and prices add up to zero
    prices = equal - torch.where(sees & (shared > 1), equal.sum(0) / shared.clamp(min=1), 0.0)
    middle = query.region.center[0].flatten()
    floors = concretize((planes[0] + prices.reshape(planes[0].shape))[None], query.region)[0] + constants[0]
    floors = floors - prices @ middle
    falling = -(slopes + prices).sign().numpy()  # where the planes are lowest; there every relu is as high as it can be
    found = []
    for b, program in enumerate(programs):
        corner = program.encoding.program.upper.copy()
        moved = program.encoding.pixels.moved
        corner[: len(moved)] = falling[b][moved]
        found.append(
            Part(head.tiles[b], program.tightened(corner), prices[b].numpy(), float(floors[b]), float("inf"), corner)
        )
    return tuple(found)


def _worth_a_choice(graph: Graph, known: Known, seen: Mapping[int, Tensor], exact: int) -> dict[int, list[np.ndarray]]:
    """For each layer of relus and each tile: which to keep exact.

    What a relu's triangle can cost a row is its height times the row's slope there.
    """
    costs: dict[int, Tensor] = {}
    for i, rows in seen.items():
        relaxation = known.relaxations.get(i)
        if isinstance(relaxation, ReluRelaxation):
            z = known.bounds[graph.nodes[i].inputs[0]]
            height = torch.where(relaxation.unstable, -z.lower * relaxation.slope_high, 0.0)
            costs[i] = (rows[0].abs() * height).flatten(1)
    if not costs or exact == 0:
        return {}
    every = torch.cat([cost.flatten() for cost in costs.values()])
    least = every.topk(min(exact, every.numel())).values[-1].clamp(min=1e-12)
    return {i: list((cost >= least).numpy()) for i, cost in costs.items()}
