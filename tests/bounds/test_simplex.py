"""Linear functions over simplices of images: against images in there, and the network where it is linear."""

import pytest
import torch

from aureole.bounds import simplex_bounds
from aureole.core import Graph
from aureole.core.graph import merge_rectified_pools
from nets_zoo import F64, ZOO, Sketch, draw, seeded


def shares(corners: int, count: int, seed: int) -> torch.Tensor:
    """Points of a simplex, corners among them."""
    inside = torch.distributions.Dirichlet(torch.full((corners,), 0.5, dtype=F64))
    torch.manual_seed(seed)
    return torch.cat([torch.eye(corners, dtype=F64), inside.sample((count,))])


def simplex_of(graph: Graph, batch: int, corners: int, size: float, seed: int) -> torch.Tensor:
    g = seeded(seed)
    middle = torch.rand(batch, 1, *graph.input_shape, generator=g, dtype=F64)
    return middle + size * draw(g, batch, corners, *graph.input_shape)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("size", [1e-3, 0.1, 1.0])
def test_every_image_of_the_simplex_lies_between(name, size):
    graph = merge_rectified_pools(ZOO[name](seeded(4)))
    corners = simplex_of(graph, 3, 4, size, 5)
    lower, upper = simplex_bounds(graph, corners)
    weights = shares(4, 200, 6)
    for box, low, high in zip(corners, lower, upper, strict=True):
        scores = graph(torch.einsum("pc,c...->p...", weights, box))
        assert bool((weights @ low <= scores + 1e-9).all())
        assert bool((scores <= weights @ high + 1e-9).all())


@pytest.mark.parametrize("name", ZOO)
def test_on_a_tiny_simplex_they_are_the_network(name):
    """No relu and no pool switches there, as a rule; squashes are bounded by constants."""
    graph = merge_rectified_pools(ZOO[name](seeded(4)))
    corners = simplex_of(graph, 1, 3, 1e-7, 7)
    lower, upper = simplex_bounds(graph, corners)
    scores = graph(corners[0])
    assert torch.allclose(lower[0], scores, atol=1e-5)
    assert torch.allclose(upper[0], scores, atol=1e-5)


def test_from_above_a_convex_network_is_met_at_the_corners():
    """Sums of pools and relus with weights >= 0: no relaxation at all from above, whatever the size."""
    s = Sketch((1, 4, 4), seeded(1)).conv(3, 2).pool(2, 1, rectify=True).flat().linear(3)
    s.nodes[-1].op.weight.abs_()
    graph = s.graph()
    corners = simplex_of(graph, 4, 3, 1.0, 2)
    _, upper = simplex_bounds(graph, corners)
    assert torch.allclose(upper, graph(corners.flatten(0, 1)).unflatten(0, (4, 3)))
