"""Whether a graph computes what the network does that it was read from: a proof must be about the user's network."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.core.errors import InputError
from aureole.core.graph import Graph

IMAGES = 4

SINGLE, DOUBLE = 1e-3, 1e-9
"""How far the scores of a network that computes in float32 or float64 may be from those of its graph, in float64."""


def check_same(
    graph: Graph, model: Callable[[Float[Tensor, "batch *shape"]], Float[Tensor, "batch classes"]], near: float = DOUBLE
) -> None:
    """InputError unless both give the same scores for random images; the model's must be finite for one of them.

    near: how much they may differ, as a share of an image's largest score and of 1
    """
    images = torch.rand(IMAGES, *graph.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected, read = model(images).double(), graph(images)
    if expected.shape == read.shape:
        clear = expected.isfinite().all(1)
        if not bool(clear.any()):
            raise InputError("the network gives NaN or infinite scores for random images; check its weights")
        expected, read = expected[clear], read[clear]
        scale = expected.abs().amax(1, keepdim=True).clamp(min=1.0)
        if bool(((expected - read).abs() <= near * scale).all()):
            return
    raise InputError("what was read of the network does not compute what the network does; please report this network")
