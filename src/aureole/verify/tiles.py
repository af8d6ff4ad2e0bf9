"""A convolutional network as a sum of parts that see almost nothing of each other.

The scores are linear in the last hidden layer, and a unit of that layer sees one field of the image. So a row of the
scores is a sum over *tiles* (groups of units at neighbouring places) of functions of overlapping fields. Each tile gets
its own copy of the pixels; where fields overlap, prices on the difference of the copies make them agree (Lagrangian
decomposition, Guignard & Kim 1987). For any prices that add up to zero,

    min over x of sum_b f_b(x)  >=  sum_b min over x of ( f_b(x) + prices_b (x - middle) + inner_b y(x) ),

and each minimum on the right is a small search of its own: trees that one search would multiply are added instead.
Values y of inner relus and pools that several tiles see have prices, too. No copy of a pixel needs them to agree, but
prices on pixels are linear, and what a relu does at its kink is not: where one tile wants it high and the other low,
nearly as much, only the difference is left to both. The sum of the tiles' linear bounds is then that of the whole row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from aureole.bounds import Bounds
from aureole.bounds.linear import Parameters, Relaxations, backward, concretize
from aureole.core import Graph, Region
from aureole.core.graph import Add, Conv, Input, Linear, MaxPool, Node, Reshape
from aureole.verify.cases import Cases, Maxima
from aureole.verify.encoding import Pixels, compose
from aureole.verify.maxima import Sums, contents, whole

MOST, SEEN = 4, 2.0
"""Tiles along each side of the last hidden layer, if pixels are then seen by so many tiles at most, on average; ..."""

FEWER, SEEN_BY_FEWER = (3, 2), 2.5
"""... else one of these, if so (by their largest tiles). With more overlap copies lose more than tiles save."""

PLACES = 200
"""An inner layer is not cut into more tiles: each is encoded by itself, in some 10 ms."""

NOWHERE = np.empty(0, dtype=np.int64)

ENTRIES = 5_000_000
"""Parts with more coefficients are not made."""


@dataclass(frozen=True, eq=False)
class Head:
    """The scores as `weight @ hidden + bias`, and the tiles of the hidden units."""

    body: tuple[Node, ...]
    weight: Float[Tensor, "classes hidden"]
    bias: Float[Tensor, "classes"]
    tiles: tuple[Int[Tensor, "_"], ...]

    def graph(self, units: Int[Tensor, "units"]) -> Graph:
        """The network whose scores are these hidden units."""
        picked = one_hot(units, len(self.weight[0])).double()
        return Graph(self.body).then(picked, picked.new_zeros(len(units)), "tile")

    def hidden(self, images: Float[Tensor, "images *shape"]) -> Float[Tensor, "images hidden"]:
        """The last hidden layer's values."""
        return Graph(self.body).values(images)[-1]


def heads(graph: Graph) -> tuple[Head, ...]:
    """Ways to cut a network, of which any may be the best for a row; none for one without hidden units.

    There is one tile only where the last hidden layer has no places, or where tiles would see mostly the same pixels.
    """
    weight, bias = torch.eye(graph.classes, dtype=torch.float64), torch.zeros(graph.classes, dtype=torch.float64)
    top = len(graph.nodes) - 1
    while isinstance(op := graph.nodes[top].op, Linear):
        weight, bias, top = weight @ op.weight, weight @ op.bias + bias, graph.nodes[top].inputs[0]
    node = graph.nodes[top]
    if top == 0 or len(node.shape) != 1 or all(isinstance(n.op, Reshape) for n in graph.nodes[1 : top + 1]):
        return ()
    cuts: list[tuple[Int[Tensor, "_"], ...]] = []
    if isinstance(node.op, Reshape):
        layer = node.inputs[0]
        usual = _tiles(graph, layer, MOST, SEEN)
        cuts = [usual] if usual else [cut for most in FEWER if (cut := _tiles(graph, layer, most, SEEN_BY_FEWER))]
    return tuple(Head(graph.nodes[: top + 1], weight, bias, cut) for cut in cuts or [(torch.arange(node.shape[0]),)])


def head_below(graph: Graph, layer: int, units: Int[Tensor, "units"]) -> Head | None:
    """Some units of an affine layer, as scores over the relus or pools below it; each place of these is a tile.

    None where these have no places or very many, where tiles would see mostly the same pixels, and where they are the
    first relus or pools: one search is good at sums over these.
    """
    top = layer
    while isinstance(graph.nodes[top].op, Conv | Linear | Reshape):
        top = graph.nodes[top].inputs[0]
    hidden, shape = int(np.prod(graph.nodes[top].shape)), graph.nodes[layer].shape
    first = all(isinstance(node.op, Input | Conv | Linear | Reshape) for node in graph.nodes[:top])
    tiles = None if first or isinstance(graph.nodes[top].op, Add) else _tiles(graph, top, hidden, SEEN)
    if tiles is None or len(tiles) > PLACES:
        return None
    picked = one_hot(units, int(np.prod(shape))).double()
    weight, bias = backward(graph, layer, picked.reshape(1, -1, *shape), {}, until=top)
    rows = weight[0].flatten(1)
    body = (*graph.nodes[: top + 1], Node(Reshape(), (top,), (hidden,)))
    return Head(body, rows, bias[0], tuple(tile for tile in tiles if bool(rows[:, tile].any())))


def _tiles(graph: Graph, layer: int, most: int, seen: float) -> tuple[Int[Tensor, "_"], ...] | None:
    """The units of a layer place by place, or few places by few; None where that would not pay.

    most: tiles along each side
    seen: by so many a pixel may be seen, on average
    """
    shape = graph.nodes[layer].shape
    if len(shape) != 3:
        return None
    overlap, fields = 1.0, _field(graph, layer)
    if fields is None:
        return None
    for (size, step), places in zip(fields, shape[1:], strict=True):
        across = -(-places // most)  # places of a tile
        overlap *= (size + (across - 1) * step) / (across * step) if places > across else 1.0
    if overlap > seen:
        return None
    index = torch.arange(shape[0] * shape[1] * shape[2]).reshape(shape)
    rows, columns = (torch.arange(n).tensor_split(min(most, n)) for n in shape[1:])
    return tuple(index[:, r][:, :, c].flatten() for r in rows for c in columns)


def _field(graph: Graph, layer: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """How many pixels a place of a layer sees along each axis, and by how many the next place's lie further.

    None where each sees all.
    """
    found = {layer: ((1, 1), (1, 1))}
    for i in range(layer, 0, -1):
        if i not in found:
            continue
        node, below = graph.nodes[i], found[i]
        if isinstance(node.op, Linear):
            return None
        if isinstance(op := node.op, Conv | MaxPool):
            kernel, dilation = (op.weight.shape[2:], op.dilation) if isinstance(op, Conv) else (op.kernel, (1, 1))
            spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
            (h, v), (s, t) = below, op.stride
            below = ((h[0] - 1) * s + spans[0] + 1, h[1] * s), ((v[0] - 1) * t + spans[1] + 1, v[1] * t)
        for j in node.inputs:
            found[j] = max(found[j], below) if j in found else below
    return found.get(0, ((1, 1), (1, 1)))


@dataclass(frozen=True, eq=False)
class Tile:
    """Some units of the hidden layer, encoded once for all rows."""

    units: Int[Tensor, "units"]
    sums: Sums

    @property
    def pixels(self) -> Pixels:
        """The way from a point of the tile's rows to an image."""
        return self.sums.pixels

    @cached_property
    def start(self) -> Cases:
        """Where a search for the minimum of any of its rows begins."""
        return whole(self.sums.parts)

    @cached_property
    def kind(self) -> bytes:
        """The same for tiles whose rows have the same minima, if their objectives are the same."""
        return contents(self.sums.parts)


@dataclass(frozen=True, eq=False)
class Part:
    """One tile's share of a row.

    row:    the share over the tile's pixels and maxima, prices included
    floor:  a proved lower bound of the share
    """

    tile: Tile
    row: Maxima
    floor: float

    @classmethod
    def of(
        cls,
        tile: Tile,
        row: Float[Tensor, "hidden"],
        prices: Float[np.ndarray, "all"],
        floor: float,
        inner: Mapping[int, Float[np.ndarray, "_"]] = MappingProxyType({}),
    ) -> "Part":
        """A tile's share of a row over the hidden layer.

        prices: of the tile's copies, per pixel of the image; inner: of the values of relus and pools, by node
        """
        return cls(tile, tile.sums.row(row[tile.units].numpy(), prices, inner), floor)


@dataclass(frozen=True, eq=False)
class Tiling:
    """A network on a region as tiles: all that rows over its scores need to be searched.

    bounds, relaxations: of the network's inner nodes, proved; they hold for the tiles, too
    """

    region: Region
    bounds: Bounds
    relaxations: Relaxations
    head: Head
    tiles: tuple[Tile, ...]

    @classmethod
    def of(cls, region: Region, bounds: Bounds, relaxations: Relaxations, head: Head) -> "Tiling | None":
        """Cut as `head` says; None where a tile would be too large."""
        empty = cls(region, bounds, relaxations, head, ())
        tiles = tuple(tile for units in head.tiles if (tile := empty._tile(units)) is not None)
        return replace(empty, tiles=tiles) if len(tiles) == len(head.tiles) else None

    @cached_property
    def sees(self) -> Bool[Tensor, "tiles pixels"]:
        """Whether a pixel of the image moves something in a tile."""
        return _marked([tile.pixels.moved for tile in self.tiles], self.region.center[0].numel())

    @cached_property
    def holds(self) -> Mapping[int, Bool[Tensor, "tiles places"]]:
        """Which values of a relu or pool are variables of a tile's search, by node; where several tiles have some."""
        nodes = {node for tile in self.tiles for node in tile.sums.at}
        held = {
            node: _marked(
                [tile.sums.at[node][1] if node in tile.sums.at else NOWHERE for tile in self.tiles],
                int(np.prod(self.head.body[node].shape)),
            )
            for node in nodes
        }
        return {node: marked for node, marked in held.items() if bool((marked.sum(0) > 1).any())}

    @property
    def shared(self) -> int:
        """How many pixels several tiles see."""
        return int((self.sees.sum(0) > 1).sum())

    def joined(self, pairs: Sequence[tuple[int, int]]) -> "Tiling | None":
        """With some pairs of tiles as one each, in which copies of a pixel are one; the tiles left alone come first.

        None where there are no pairs, or all would be too large.
        """
        alone, found = set(range(len(self.tiles))), []
        for n, m in pairs:
            tile = self._tile(torch.cat([self.tiles[n].units, self.tiles[m].units]))
            if tile is not None:
                found.append(tile)
                alone -= {n, m}
        return replace(self, tiles=(*(self.tiles[n] for n in sorted(alone)), *found)) if found else None

    def parts(
        self, row: Float[Tensor, "hidden"], parameters: Parameters, which: Sequence[int] | None = None
    ) -> tuple[Part, ...]:
        """A row's parts, priced so that, as far as its linear planes tell, all copies of a pixel agree.

        which: the tiles, all when None; the row must not read the others
        """
        region, chosen = self.region, list(range(len(self.tiles))) if which is None else list(which)
        tiles = [self.tiles[b] for b in chosen]
        rows = torch.stack([torch.zeros_like(row).index_copy(0, tile.units, row[tile.units]) for tile in tiles])
        every = {i: {n: v.expand(-1, len(rows), *v.shape[2:]) for n, v in p.items()} for i, p in parameters.items()}
        body = Graph(self.head.body)
        inner: dict[int, Tensor] = {}

        def priced(node: int, above: Tensor) -> Tensor:
            if node not in self.holds:
                return above
            inner[node] = _equalling(above[0].flatten(1), self.holds[node][chosen])
            return above + inner[node].reshape(above.shape)

        planes, constants = backward(
            body, len(body.nodes) - 1, rows[None], self.relaxations, every or None, changed=priced
        )
        prices = _equalling(planes[0].flatten(1), self.sees[chosen])
        floors = concretize((planes[0] + prices.reshape(planes[0].shape))[None], region)[0] + constants[0]
        floors = floors - prices @ region.center[0].flatten()
        return tuple(
            Part.of(tile, row, price.numpy(), float(floor), {i: each[b].numpy() for i, each in inner.items()})
            for b, (tile, price, floor) in enumerate(zip(tiles, prices, floors, strict=True))
        )

    def _tile(self, units: Int[Tensor, "units"]) -> Tile | None:
        composed = compose(self.head.graph(units), self.region, self.bounds)
        return None if composed.entries > ENTRIES else Tile(units, Sums.of(composed))


def _marked(places: Sequence[Int[np.ndarray, "_"]], size: int) -> Bool[Tensor, "tiles places"]:
    """The places of each tile among so many."""
    marked = torch.zeros(len(places), size, dtype=torch.bool)
    for b, own in enumerate(places):
        marked[b, torch.from_numpy(own)] = True
    return marked


def _equalling(
    slopes: Float[Tensor, "tiles places"], sees: Bool[Tensor, "tiles places"]
) -> Float[Tensor, "tiles places"]:
    """Prices that add up to zero, with which all tiles that see a place have the same slope there."""
    count = sees.sum(0)
    shared, count = sees & (count > 1), count.clamp(min=1)
    equal = torch.where(shared, slopes.sum(0) / count - slopes, 0.0)
    # a plane may reach pixels that no tile moves: those keep their slope
    return equal - torch.where(shared, equal.sum(0) / count, 0.0)
