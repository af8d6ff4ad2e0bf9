"""Inner bounds by branch and bound: how far each input of a relu or a pool reaches, layer by layer.

A neuron sees a part of the image and of the maxima below; its range is the least value of a sum over these (`tree`),
and that of its negative. Neurons that see the same, as over an even background, are searched once. Where the layer
below is one of places that hardly overlap, each of these is searched for itself (`tiles`).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.nn.functional import one_hot

from aureole.bounds import Bounds, Interval, intermediate_bounds, relax
from aureole.bounds.intermediate import mattering
from aureole.core import Graph, Region
from aureole.core.graph import MaxPool, Node, Relu, Reshape
from aureole.verify.cases import Maxima
from aureole.verify.encoding import compose
from aureole.verify.maxima import Sums, contents, part
from aureole.verify.tiles import Part, Tiling, head_below
from aureole.verify.tree import ERROR, Growth, Tree


@dataclass(frozen=True)
class Reaching:
    """How ranges are searched.

    cases:   for each end of a range, at most: before a relu, before a pool
    places:  for each place of the layer below, where these are searched alone
    early:   where so many cases raised an end by less than `little` of the range, no more are tried
    sample:  neurons of a layer that are searched first
    gain:    unless these, and then each chunk, get narrower by this share, the layer's others are left as they are
    chunk:   neurons encoded together
    threads: ranges searched at the same time
    """

    growth: Growth = field(default_factory=lambda: Growth(work=1))
    cases: tuple[int, int] = (8, 40)
    places: int = 8
    early: int = 4
    little: float = 0.02
    sample: int = 32
    gain: float = 0.05
    chunk: int = 256
    threads: int = 2


def reach(
    graph: Graph,
    region: Region,
    bounds: Bounds,
    reaching: Reaching = Reaching(),
    stop: Callable[[], bool] = lambda: False,
) -> dict[int, Interval]:
    """Tighter float64 bounds of the inputs of relus and pools that are undecided, but for the first ones; batch 1.

    `stop()` ends the search early; what was found until then is kept.
    """
    found = dict(bounds)
    layers = [node for node in graph.nodes if isinstance(node.op, Relu | MaxPool)]
    for node in layers[1:]:
        if stop():
            return found
        z = node.inputs[0]
        neurons = undecided(node, found[z])
        if not len(neurons):
            continue
        spread = max(len(neurons) // reaching.sample, 1)
        every = torch.arange(len(neurons))
        sampled = every % spread == 0
        tiling = _tiling(graph, z, neurons, region, found)
        lower, upper = found[z].lower.clone(), found[z].upper.clone()
        for chosen in (every[sampled], *every[~sampled].split(reaching.chunk)):
            if stop():
                break
            part_of = neurons[chosen]
            known = torch.stack([lower.view(-1)[part_of], -upper.view(-1)[part_of]], 1).numpy()
            if tiling is None:
                sums = Sums.of(compose(_up_to(graph, z, part_of), region, found))
                low, high = _ranges(sums, known, isinstance(node.op, MaxPool), reaching, stop)
            else:
                low, high = _by_places(tiling, chosen.tolist(), reaching, stop)
            before = -known.sum()
            lower.view(-1)[part_of] = torch.maximum(lower.view(-1)[part_of], torch.from_numpy(low))
            upper.view(-1)[part_of] = torch.minimum(upper.view(-1)[part_of], torch.from_numpy(high))
            if (upper - lower).view(-1)[part_of].sum() > (1 - reaching.gain) * before:
                break
        found[z] = found[z].tighten(Interval(lower, upper))
        found = intermediate_bounds(graph, region, found)
    return found


def undecided(node: Node, z: Interval) -> Int[torch.Tensor, "neurons"]:
    """The inputs of a relu or a pool whose bounds its relaxation reads and that have a width; batch 1."""
    return (mattering(node, z) & (z.upper > z.lower))[0].flatten().nonzero().squeeze(1)


def _up_to(graph: Graph, z: int, neurons: Int[torch.Tensor, "neurons"]) -> Graph:
    """The network whose scores are some neurons of a layer."""
    size = int(np.prod(graph.nodes[z].shape))
    flat = Graph((*graph.nodes[: z + 1], Node(Reshape(), (z,), (size,))))
    picked = one_hot(neurons, size).double()
    return flat.then(picked, picked.new_zeros(len(neurons)), "neurons")


def _ranges(
    sums: Sums, known: Float[np.ndarray, "neurons 2"], pooled: bool, reaching: Reaching, stop: Callable[[], bool]
) -> tuple[Float[np.ndarray, "neurons"], Float[np.ndarray, "neurons"]]:
    """Both ends of every score's range, as far as its reader cares: a relu for the sign.

    known: proved lower bounds of the scores and of their negatives
    """
    cases, enough = reaching.cases[pooled], np.inf if pooled else 0.0
    ends = list(_ends(sums))
    worth = (known - reaching.little * known.sum(1, keepdims=True)).reshape(-1)
    places: dict[bytes, list[int]] = {}
    for n, row in enumerate(ends):
        places.setdefault(contents(row), []).append(n)
    least = np.full(len(ends), -np.inf)

    def search(same: list[int]) -> None:
        row, needed = ends[same[0]], worth[same].min()
        tree = Tree(row, np.zeros((1, row.pixels)), reaching.growth)
        while not tree.done and tree.count < cases and tree.floor <= enough and not stop():
            if tree.count >= reaching.early and tree.floor < needed:
                break
            tree.grow()
        least[same] = tree.floor - ERROR

    with ThreadPoolExecutor(reaching.threads) as pool:
        list(pool.map(search, places.values()))
    return least[0::2], -least[1::2]


def _tiling(
    graph: Graph, z: int, neurons: Int[torch.Tensor, "neurons"], region: Region, bounds: Bounds
) -> Tiling | None:
    cut = head_below(graph, z, neurons)
    if cut is None:
        return None
    return Tiling.of(region, bounds, relax(graph, bounds, until=z + 1), cut)  # z itself may be a pool


def _by_places(
    tiling: Tiling, scores: Sequence[int], reaching: Reaching, stop: Callable[[], bool]
) -> tuple[Float[np.ndarray, "neurons"], Float[np.ndarray, "neurons"]]:
    """Both ends of some scores' ranges, as sums over the tiles."""
    cut, met = tiling.head, dict[tuple[bytes, ...], float]()

    def search(part: Part) -> float:
        row = part.row
        key = part.tile.kind, row.objective.tobytes(), np.float64(row.constant).tobytes()
        if key not in met:
            tree = Tree(row, np.zeros((1, row.pixels)), reaching.growth, start=part.tile.start)
            while not tree.done and tree.count < reaching.places:
                tree.grow()
            met[key] = tree.floor - ERROR
        return max(part.floor, met[key])

    def least(end: tuple[int, int]) -> float:
        score, sign = end
        if stop():
            return -np.inf
        row = sign * cut.weight[score]
        read = [b for b, tile in enumerate(tiling.tiles) if bool(row[tile.units].any())]
        if not read:
            return sign * float(cut.bias[score])
        return sign * float(cut.bias[score]) + sum(map(search, tiling.parts(row, {}, read)))

    ends = [(score, sign) for score in scores for sign in (1, -1)]
    with ThreadPoolExecutor(reaching.threads) as pool:
        found = np.array(list(pool.map(least, ends)))
    return found[0::2], -found[1::2]


def _ends(sums: Sums) -> Iterator[Maxima]:
    """Every score and its negative."""
    nothing = np.zeros(len(sums.pixels.middle))
    for score in np.eye(len(sums.constants)):
        row = part(sums.row(score, nothing))
        yield row
        yield row._replace(objective=-row.objective, constant=-row.constant)
