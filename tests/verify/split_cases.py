"""A question that takes input splitting many boxes."""

import torch

from aureole.core import AboveThreshold, Graph, Region, Verdict
from aureole.verify import Portfolio, prove
from aureole.verify.split import Split
from aureole.verify.stages import Screen
from nets_zoo import F64, Sketch, points_in, seeded


def deep(seed: int) -> Graph:
    return Sketch((1, 1, 5), seeded(seed)).flat().linear(16).relu().linear(16).relu().linear(4).graph()


def split(boxes: int) -> Portfolio:
    return Portfolio((Screen(), Split(most_boxes=boxes, least_open=0, batch=4)))


def hard() -> tuple[Graph, AboveThreshold, Region]:
    """A score that comes near the threshold, which takes hundreds of boxes."""
    graph, region = deep(0), Region.ball(torch.full((1, 1, 5), 0.5, dtype=F64), 0.5)
    least = float(graph(points_in(region, 20_000, seeded(0)))[:, 0].min())
    spec = AboveThreshold(0, least - 0.1)
    assert prove(graph, region, spec, split(100)).verdict is Verdict.UNKNOWN
    return graph, spec, region
