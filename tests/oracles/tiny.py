"""Random tiny networks, boxes and specs for the brute force."""

from dataclasses import dataclass

import torch
from brute import least_margin

from aureole.core import Graph, Region, TopK
from aureole.core.graph import Conv, Linear
from nets_zoo import F64, Sketch, seeded


@dataclass(frozen=True)
class Case:
    name: str
    graph: Graph
    region: Region
    spec: TopK
    least: float  # the exact minimum of the margin over the region, by brute force


def _mlp(g: torch.Generator, n: int) -> Graph:
    return Sketch((1, 1, 2 + n % 3), g).flat().linear(3 + n % 6).relu().linear(4).graph()


def _deep(g: torch.Generator, n: int) -> Graph:
    return Sketch((1, 1, 2 + n % 2), g).flat().linear(3).relu().linear(2 + n % 3).relu().linear(3 + n % 2).graph()


def _residual_mlp(g: torch.Generator, n: int) -> Graph:
    s = Sketch((1, 1, 3), g).flat().linear(3).relu()
    skip = s.last
    s.linear(3).relu().linear(3)
    return s.add(skip, s.last).relu().linear(4).graph()


def _conv(g: torch.Generator, n: int) -> Graph:
    s = Sketch((1, 2, 3), g).conv(2, 2, padding=(0, n % 2), stride=(1, 1 + n % 2)).relu()
    return s.flat().linear(4).graph()


def _pool(g: torch.Generator, n: int) -> Graph:
    s = Sketch((1, 3, 3), g).conv(2, 2)
    s = s.relu().pool(2) if n % 3 == 0 else s.pool(2).relu() if n % 3 == 1 else s.pool(2)
    return s.flat().linear(4).graph()


def _overlapping(g: torch.Generator, n: int) -> Graph:
    s = Sketch((1, 2, 2), g).conv(1, 2, padding=(1, 1)).pool(2, 1 + n % 2, n % 2)
    return (s.relu() if n % 4 < 2 else s).flat().linear(3).graph()


def _pool_first(g: torch.Generator, n: int) -> Graph:
    return Sketch((1, 2, 3), g).pool(2, 1, 0).conv(3, 1).relu().flat().linear(4).graph()


def _residual(g: torch.Generator, n: int) -> Graph:
    s = Sketch((1, 2, 2), g).conv(1, 3, padding=(1, 1)).relu()
    skip = s.last
    s.conv(1, 3, padding=(1, 1)).add(skip, s.last)
    s = s.relu() if n % 2 else s.pool(2).relu()
    return s.flat().linear(4).graph()


def _shared(g: torch.Generator, n: int) -> Graph:
    """A relu and a pool with several readers; a node added to itself."""
    s = Sketch((1, 2, 2), g).conv(2, 1).relu()
    skip = s.last
    s.add(skip, skip).pool(1 + n % 2, 1)
    pooled = s.last
    s.relu()
    return s.add(s.last, pooled).flat().linear(4).graph()


KINDS = (_mlp, _deep, _residual_mlp, _conv, _pool, _overlapping, _pool_first, _residual, _shared)


def _spoil(graph: Graph, n: int, generator: torch.Generator) -> Graph:
    """Make it degenerate: rounded weights (exact ties), dead or zero layers, biases that put zeros on corners."""
    flavour = n % 8
    for node in graph.nodes:
        op = node.op
        if not isinstance(op, Conv | Linear) or flavour > 4:
            continue
        if flavour == 0:  # small integers: ties, z = 0 at corners, windows with equal inputs
            op.weight.mul_(2).round_()
            op.bias.mul_(2).round_()
        elif flavour == 1:
            op.bias.zero_()
        elif flavour == 2 and node.inputs != (len(graph.nodes) - 2,):  # dead before the last layer
            op.bias.sub_(3)
        elif flavour == 3 and n % 5 == 0:
            op.weight.zero_()
        elif flavour == 4:
            op.weight[0] = op.weight[-1]
            op.bias[0] = op.bias[-1]
    return graph


def _box(graph: Graph, n: int, g: torch.Generator) -> Region:
    shape = graph.input_shape
    image = torch.rand(shape, generator=g, dtype=F64)
    if n % 3 == 0:
        image = image.round()  # at the ends of the pixel range: clipped on one side
    radius = torch.full(shape, (0.05, 0.2, 0.5, 1.0)[n % 4], dtype=F64)
    radius = radius * torch.rand(shape, generator=g, dtype=F64)
    pixels = torch.rand(shape, generator=g)
    radius[pixels < (0.3 if n % 2 else 0.0)] = 0
    if n % 7 == 0:
        radius = (radius * 4).round() / 4
    return Region((image - radius).clamp(0, 1)[None], (image + radius).clamp(0, 1)[None])


NEAR = (0.03, -0.03, 0.003, -0.003, 1e-4, -1e-4, None, None)
"""Where the target's bias moves the least margin: close to the line, so that bounds alone do not settle it."""


def case(n: int) -> Case:
    """The n-th random case, with its exact answer."""
    g = seeded(1000 + n)
    make = KINDS[n % len(KINDS)]
    m = n // len(KINDS)
    graph = _spoil(make(g, m), int(torch.randint(0, 16, (1,), generator=g)), g)
    region = _box(graph, m, g)
    spec = TopK(int(torch.randint(0, graph.classes, (1,), generator=g)), 1 + m % min(3, graph.classes - 1))
    least = least_margin(graph, region, spec.rows(graph.classes), spec.k)
    wanted = NEAR[int(torch.randint(0, len(NEAR), (1,), generator=g))]
    if wanted is not None:  # every row gains the same, so the least margin is known without another search
        last = graph.nodes[-1].op
        assert isinstance(last, Linear)
        last.bias[spec.target] += wanted - least
        least = wanted
    return Case(f"{make.__name__[1:]}-{n}", graph, region, spec, least)
