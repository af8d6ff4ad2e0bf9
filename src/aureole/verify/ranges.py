"""Inner bounds by branch and bound: how far each relu's input reaches, layer by layer.

A neuron sees a part of the image and of the maxima below; its range is the least value of a sum over these (`tree`),
and that of its negative. Neurons that see the same, as over an even background, are searched once.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int

from aureole.bounds import Bounds, Interval, intermediate_bounds
from aureole.core import Graph, Region
from aureole.core.graph import Linear, Node, Relu, Reshape
from aureole.verify.cases import Maxima
from aureole.verify.encoding import compose
from aureole.verify.maxima import Sums, part
from aureole.verify.tree import ERROR, Growth, Tree


@dataclass(frozen=True)
class Reaching:
    """How ranges are searched.

    cases:   for each end of a range, at most
    chunk:   neurons encoded together
    threads: ranges searched at the same time
    """

    growth: Growth = field(default_factory=lambda: Growth(work=1))
    cases: int = 8
    chunk: int = 256
    threads: int = 2


def reach(
    graph: Graph,
    region: Region,
    bounds: Bounds,
    reaching: Reaching = Reaching(),
    stop: Callable[[], bool] = lambda: False,
) -> dict[int, Interval]:
    """Tighter float64 bounds of the inputs of relus that may switch, but for the first ones; region of batch 1.

    `stop()` ends the search early; what was found until then is kept.
    """
    found = dict(bounds)
    layers = [node.inputs[0] for node in graph.nodes if isinstance(node.op, Relu)]
    for z in layers[1:]:
        switching = found[z].unstable[0].flatten().nonzero().squeeze(1)
        lower, upper = found[z].lower.clone(), found[z].upper.clone()
        for neurons in switching.split(reaching.chunk):
            if stop():
                return found
            sums = Sums.of(compose(_up_to(graph, z, neurons), region, found))
            low, high = _ranges(sums, reaching, stop)
            lower.view(-1)[neurons] = torch.maximum(lower.view(-1)[neurons], torch.from_numpy(low))
            upper.view(-1)[neurons] = torch.minimum(upper.view(-1)[neurons], torch.from_numpy(high))
        found[z] = found[z].tighten(Interval(lower, upper))
        found = dict(intermediate_bounds(graph, region, found))
    return found


def _up_to(graph: Graph, z: int, neurons: Int[torch.Tensor, "neurons"]) -> Graph:
    """The network whose scores are some neurons of a layer."""
    nodes, size = graph.nodes[: z + 1], int(np.prod(graph.nodes[z].shape))
    picked = torch.zeros(len(neurons), size, dtype=torch.float64)
    picked[torch.arange(len(neurons)), neurons] = 1
    flat = Node(Reshape(), (z,), (size,))
    last = Node(Linear(picked, picked.new_zeros(len(neurons))), (z + 1,), (len(neurons),))
    return Graph((*nodes, flat, last))


def _ranges(
    sums: Sums, reaching: Reaching, stop: Callable[[], bool]
) -> tuple[Float[np.ndarray, "neurons"], Float[np.ndarray, "neurons"]]:
    ends = list(_ends(sums))
    places: dict[bytes, list[int]] = {}
    for n, row in enumerate(ends):
        places.setdefault(b"|".join(np.asarray(field).tobytes() for field in row), []).append(n)
    least = np.full(len(ends), -np.inf)

    def search(same: list[int]) -> None:
        row = ends[same[0]]
        tree = Tree(row, np.zeros((1, row.pixels)), reaching.growth)
        while not tree.done and tree.count < reaching.cases and tree.floor <= 0 and not stop():
            tree.grow()
        least[same] = tree.floor - ERROR

    with ThreadPoolExecutor(reaching.threads) as pool:
        list(pool.map(search, places.values()))
    return least[0::2], -least[1::2]


def _ends(sums: Sums) -> Iterator[Maxima]:
    """Every score and its negative."""
    nothing = np.zeros(len(sums.pixels.middle))
    for n in range(len(sums.constants)):
        for sign in (1.0, -1.0):
            one = np.zeros(len(sums.constants))
            one[n] = sign
            yield part(sums.row(one, nothing))
