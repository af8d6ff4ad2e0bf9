"""Small networks for the tests of the mathematical rooms, made by hand as graphs (tracing a module is slower)."""

from itertools import pairwise

import torch
from torch import Tensor

from aureole.core import Graph, Region
from aureole.core.graph import Add, Conv, Input, Linear, MaxPool, Node, Op, Relu, Reshape, Sigmoid, Tanh, apply

F64 = torch.float64


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=F64)


class Sketch:
    """A graph under construction: every operator reads the last node unless `of` names others (by position)."""

    def __init__(self, shape: tuple[int, ...], generator: torch.Generator) -> None:
        self.nodes = [Node(Input(), (), shape, "input")]
        self.generator = generator

    @property
    def last(self) -> int:
        return len(self.nodes) - 1

    @property
    def shape(self) -> tuple[int, ...]:
        return self.nodes[-1].shape

    def put(self, op: Op, *of: int) -> "Sketch":
        inputs = of or (self.last,)
        shapes = [self.nodes[i].shape for i in inputs]
        flat = (int(torch.Size(shapes[0]).numel()),)
        shape = flat if isinstance(op, Reshape) else tuple(apply(op, _zeros(shapes), ()).shape[1:])
        self.nodes.append(Node(op, inputs, shape, f"{type(op).__name__.lower()}{len(self.nodes)}"))
        return self

    def conv(self, out: int, kernel: int | tuple[int, int], *of: int, groups: int = 1, **how: tuple) -> "Sketch":
        below = self.nodes[of[0] if of else -1].shape[0] // groups
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        scale = (2 / (below * size[0] * size[1])) ** 0.5
        weight = draw(self.generator, out, below, *size) * scale
        return self.put(Conv(weight, draw(self.generator, out) * 0.3, groups=groups, **how), *of)

    def linear(self, out: int, *of: int) -> "Sketch":
        below = self.nodes[of[0] if of else -1].shape[0]
        return self.put(
            Linear(draw(self.generator, out, below) * (2 / below) ** 0.5, draw(self.generator, out) * 0.3), *of
        )

    def relu(self, *of: int) -> "Sketch":
        return self.put(Relu(), *of)

    def sigmoid(self) -> "Sketch":
        return self.put(Sigmoid())

    def tanh(self) -> "Sketch":
        return self.put(Tanh())

    def pool(self, kernel: int, stride: int | None = None, padding: int = 0, rectify: bool = False) -> "Sketch":
        step = stride or kernel
        return self.put(MaxPool((kernel, kernel), (step, step), (padding, padding), rectify))

    def flat(self) -> "Sketch":
        return self.put(Reshape())

    def add(self, first: int, second: int) -> "Sketch":
        return self.put(Add(), first, second)

    def graph(self) -> Graph:
        return Graph(tuple(self.nodes))


def _zeros(shapes: list[tuple[int, ...]]) -> list[Tensor]:
    return [torch.zeros(1, *s, dtype=F64) for s in shapes]


def strided(g: torch.Generator) -> Graph:
    s = Sketch((2, 9, 8), g).conv(3, 3, stride=(2, 1), padding=(1, 0)).relu().conv(4, (2, 3), stride=(1, 2)).relu()
    return s.conv(3, 2, padding=(1, 1)).relu().flat().linear(5).graph()


def dilated_groups(g: torch.Generator) -> Graph:
    s = Sketch((2, 10, 10), g).conv(4, 3, dilation=(2, 1), padding=(1, 2)).relu()
    s.conv(4, 3, groups=2, dilation=(1, 2), padding=(2, 1)).relu().conv(6, 2, groups=2, stride=(3, 2)).relu()
    return s.flat().linear(4).graph()


def overlapping_pools(g: torch.Generator) -> Graph:
    s = Sketch((1, 9, 9), g).conv(3, 3, padding=(1, 1)).pool(3, 2, 1).conv(3, 2).relu().pool(2, 1, 1)
    return s.conv(2, 2).relu().flat().linear(4).graph()


def rectified_pools(g: torch.Generator) -> Graph:
    s = Sketch((1, 11, 9), g).conv(3, 2, stride=(1, 1)).pool(2, rectify=True).conv(3, 2, padding=(1, 1))
    return s.pool(3, 2, 1, rectify=True).conv(3, 2).relu().flat().linear(4).graph()


def leftover_pool(g: torch.Generator) -> Graph:
    """Windows that leave the last rows and columns out."""
    s = Sketch((1, 8, 8), g).conv(2, 2).pool(2).relu().conv(3, 2).pool(2, 2).flat()
    return s.linear(4).graph()


def pool_only(g: torch.Generator) -> Graph:
    return Sketch((1, 6, 6), g).pool(3, 1, 1).conv(3, 2, stride=(2, 2)).relu().flat().linear(3).graph()


def residual(g: torch.Generator) -> Graph:
    s = Sketch((1, 7, 7), g).conv(3, 3, padding=(1, 1)).relu()
    skip = s.last
    s.conv(3, 3, padding=(1, 1)).relu().conv(3, 3, padding=(1, 1))
    s.add(skip, s.last).relu().conv(3, 2, stride=(2, 2)).relu()
    return s.flat().linear(4).graph()


def strided_shortcut(g: torch.Generator) -> Graph:
    s = Sketch((1, 8, 8), g).conv(3, 3, padding=(1, 1)).relu()
    skip = s.last
    s.conv(4, 3, stride=(2, 2), padding=(1, 1)).relu().conv(4, 3, padding=(1, 1))
    body = s.last
    s.conv(4, 1, skip, stride=(2, 2))
    s.add(s.last, body).relu().pool(2).flat()
    return s.linear(4).graph()


def mixed_strides(g: torch.Generator) -> Graph:
    """Two paths of the same shape whose strides differ: no common offset of their windows."""
    s = Sketch((1, 5, 5), g).conv(2, 1).relu()
    skip = s.last
    s.conv(2, 2, stride=(3, 3))
    first = s.last
    s.conv(2, 4, skip)
    s.add(first, s.last)
    return s.relu().conv(2, 2).relu().flat().linear(3).graph()


def unrectified(g: torch.Generator) -> Graph:
    """Padded convolutions and sums that read convolutions directly: a bias must not reach the padding."""
    s = Sketch((1, 5, 5), g).conv(2, 3, padding=(1, 1)).conv(2, 3, padding=(1, 1))
    skip = s.last
    s.relu().conv(2, 3, padding=(1, 1))
    s.add(skip, s.last).conv(2, 3, stride=(2, 2), padding=(1, 1)).relu().pool(2, 1, 1)
    return s.conv(2, 2, padding=(1, 1)).relu().flat().linear(3).graph()


def doubled(g: torch.Generator) -> Graph:
    """A node added to itself, a pool and a relu read by several nodes."""
    s = Sketch((1, 6, 6), g).conv(2, 3)
    s.add(s.last, s.last).relu()
    skip = s.last
    s.pool(3, 1, 1)
    pooled = s.last
    s.relu().add(s.last, pooled).add(s.last, skip)
    return s.pool(2).flat().linear(3).graph()


def dense(g: torch.Generator) -> Graph:
    s = Sketch((1, 3, 4), g).flat().linear(10).relu().linear(8).relu()
    skip = s.last
    s.linear(8).add(skip, s.last).relu()
    return s.linear(5).graph()


def squashed(g: torch.Generator) -> Graph:
    """Sigmoids and tanhs seen through convolutions and through linear layers, beside a relu and a pool."""
    s = Sketch((1, 6, 6), g).conv(3, 3, padding=(1, 1)).sigmoid()
    skip = s.last
    s.conv(3, 3, padding=(1, 1)).tanh().add(skip, s.last).conv(2, 2, stride=(2, 2)).relu().pool(2, 1)
    return s.flat().linear(6).tanh().linear(5).sigmoid().linear(3).graph()


def steep(g: torch.Generator) -> Graph:
    """Large inputs: saturated on both sides."""
    s = Sketch((1, 3, 4), g).flat().linear(8)
    s.nodes[-1].op.weight.mul_(20.0)
    return s.sigmoid().linear(8).tanh().linear(4).graph()


def affine(g: torch.Generator) -> Graph:
    """No non-linear neuron at all."""
    return Sketch((1, 4, 4), g).conv(2, 2).flat().linear(3).graph()


ZOO = {
    make.__name__: make
    for make in (
        strided,
        dilated_groups,
        overlapping_pools,
        rectified_pools,
        leftover_pool,
        pool_only,
        residual,
        strided_shortcut,
        mixed_strides,
        unrectified,
        doubled,
        dense,
        squashed,
        steep,
        affine,
    )
}


def image_of(graph: Graph, generator: torch.Generator) -> Tensor:
    """An image with some pixels exactly black and white."""
    raw = torch.rand(graph.input_shape, generator=generator, dtype=F64)
    return ((raw - 0.15) / 0.7).clamp(0, 1)


def box_of(graph: Graph, generator: torch.Generator, radius: float) -> Region:
    """A box around a random image, clipped to [0,1], with about a third of its pixels of width zero."""
    image = image_of(graph, generator)
    radii = radius * torch.rand(image.shape, generator=generator, dtype=F64)
    radii[torch.rand(image.shape, generator=generator) < 0.3] = 0
    return Region((image - radii).clamp(0, 1)[None], (image + radii).clamp(0, 1)[None])


def points_in(region: Region, count: int, generator: torch.Generator) -> Tensor:
    """Images of a box of batch 1: uniform ones, and corners (every second one)."""
    weight = torch.rand(count, *region.shape, generator=generator, dtype=region.lower.dtype)
    weight[::2] = weight[::2].round()
    return region.clip(region.lower + weight * (region.upper - region.lower))


CASES = [(name, radius) for name in ZOO for radius in (0.02, 0.3)]


def rescaled(graph: Graph, generator: torch.Generator) -> Graph:
    """The same scores: each neuron between two linear layers times a factor of 1e-9 to 1e9, and divided again."""
    linears = [node.op for node in graph.nodes if isinstance(node.op, Linear)]
    for below, above in pairwise(linears):
        factors = 10 ** (18 * torch.rand(len(below.bias), generator=generator, dtype=F64) - 9)
        below.weight.mul_(factors[:, None])
        below.bias.mul_(factors)
        above.weight.div_(factors)
    return graph
