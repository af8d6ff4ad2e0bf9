"""Small networks with tiles, and questions about them that linear bounds leave open."""

import torch

from aureole.bounds import Ascent
from aureole.core import Budget, Graph, Region, Rows, Spec
from aureole.verify.known import Known
from aureole.verify.query import Query
from aureole.verify.stages import Climb, Screen
from nets_zoo import F64, Sketch, box_of, points_in, seeded

CLIMB = Climb(Ascent(steps=2))
"""Bounds that leave something to do."""


def pooled(g: torch.Generator) -> Graph:
    return Sketch((1, 6, 6), g).conv(3, 3).relu().conv(3, 2).pool(2, 1).flat().linear(4).graph()


def rectified(g: torch.Generator) -> Graph:
    s = Sketch((2, 5, 5), g).conv(3, 2).relu().conv(2, 2, padding=(1, 1)).pool(2, rectify=True)
    return s.flat().linear(4).graph()


def relus(g: torch.Generator) -> Graph:
    return Sketch((1, 6, 6), g).conv(3, 2).relu().conv(2, 2).relu().flat().linear(4).graph()


def two_linear(g: torch.Generator) -> Graph:
    return Sketch((1, 4, 5), g).conv(3, 2).relu().flat().linear(5).linear(4).graph()


def added(g: torch.Generator) -> Graph:
    s = Sketch((1, 5, 5), g).conv(2, 3, padding=(1, 1)).relu()
    skip = s.last
    s.conv(2, 3, padding=(1, 1))
    return s.add(skip, s.last).relu().pool(2).flat().linear(4).graph()


def strip(g: torch.Generator) -> Graph:
    """One line of places that the tiles do not share evenly."""
    return Sketch((1, 1, 9), g).conv(2, (1, 3)).relu().conv(2, (1, 2)).relu().flat().linear(4).graph()


NETS = {make.__name__: make for make in (pooled, rectified, relus, two_linear, added, strip)}


def overlapping(g: torch.Generator) -> Graph:
    """4x4 places, each of 4x4 pixels, two apart: 16 tiles would see each pixel four times, four tiles 2.25 times."""
    return Sketch((1, 10, 10), g).conv(2, 2, stride=(2, 2)).relu().conv(2, 2).relu().flat().linear(4).graph()


def asked(
    graph: Graph,
    region: Region,
    spec: Spec,
    budget: Budget = Budget(),
    climb: Climb = CLIMB,
) -> tuple[Query, Known]:
    """The question, and what the linear bounds know of it."""
    query = Query.ask(graph, region, spec, budget, 0)
    return query, climb(query, Screen()(query, Known().seen(query, region.center[0])))


def question(
    name: str, seed: int, order: int, room: float, radius: float = 0.15, count: int = 4
) -> tuple[Graph, Region, Rows]:
    """Some random rows, with constants for which many images keep a margin of `room`.

    About a third of the pixels have no width, others are clipped.
    """
    g = seeded(seed)
    graph = NETS[name](g)
    region = box_of(graph, g, radius)
    rows = torch.randn(count, graph.classes, generator=g, dtype=F64)
    raw = Rows(rows, torch.zeros(count, dtype=F64), order)
    least = float(raw.margin(graph(points_in(region, 2000, g))).min())
    return graph, region, Rows(rows, torch.full((count,), room - least, dtype=F64), order)
