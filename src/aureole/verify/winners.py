"""Descent with the winners of the last pool fixed: from a good guess of who wins, to an image on which they do."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aureole.bounds.ops.maxpool import to_windows
from aureole.core import Graph, Region
from aureole.core.graph import MaxPool

STEPS, COPIES = 100, 8
"""Steps of Adam, from so many starts at once."""

RATE, END = 0.1, 0.02
"""Learning rate at first, in half widths of the region, and the share of it that is left at the end."""

SHARPNESS = 20.0
"""Of the smooth maximum over rows, per score unit."""


def settle(
    graph: Graph,
    region: Region,
    rows: Float[Tensor, "rows classes"],
    mixed: Float[Tensor, "hidden"],
    guesses: list[tuple[Int[Tensor, "_"], Float[Tensor, "*shape"]]],
) -> Float[Tensor, "*shape"]:
    """The image of a region, float64, at which the largest of `rows @ scores` is smallest, as far as this descent sees.

    graph:   float32; its last hidden layer is flat
    mixed:   a row over the hidden layer; where it is negative the adversary wants a pool high: there the input that
             wins in the guess is kept, which turns the search into a smooth one
    guesses: for groups of hidden units, an image at which they are as the adversary wants them

    Starts from the images' mean where guesses overlap (each counts where it leaves the middle), and near it.
    """
    single = torch.float32
    middle, half = region.center[0], region.radius[0]
    moved = torch.stack([image - middle for _, image in guesses])
    start = moved.sum(0) / (moved != 0).sum(0).clamp(min=1)
    pool = _Kept.of(graph, mixed, guesses)
    unit = (start / half.clamp(min=1e-12)).to(single).expand(COPIES, *start.shape).clone()
    noise = torch.randn(unit.shape, generator=torch.Generator().manual_seed(0))
    noise[0] = 0
    unit = (unit + 0.3 * noise).clamp(-1, 1).requires_grad_(True)
    adam = torch.optim.Adam([unit], lr=RATE)
    best, found = torch.inf, middle
    fast_rows, center, reach = rows.to(single), middle.to(single), half.to(single)
    for step in range(STEPS + 1):
        images = center + unit * reach
        margins = graph.values(images, pool=pool)[-1] @ fast_rows.T
        with torch.no_grad():
            true = (graph(images) @ fast_rows.T).amax(-1)
            if float(true.min()) < best:
                best, found = float(true.min()), images[true.argmin()].to(middle)
        adam.zero_grad()
        (torch.logsumexp(SHARPNESS * margins, -1) / SHARPNESS).sum().backward()
        for group in adam.param_groups:
            group["lr"] = RATE * END ** (step / STEPS)
        adam.step()
        with torch.no_grad():
            unit.clamp_(-1, 1)
    return found


class _Kept:
    """The last max-pool with some windows' winners fixed; other pools as they are."""

    def __init__(self, op: MaxPool | None, winners: Tensor, fixed: Tensor) -> None:
        self.op, self.winners, self.fixed = op, winners, fixed

    @classmethod
    def of(cls, graph: Graph, mixed: Tensor, guesses: list[tuple[Tensor, Tensor]]) -> "_Kept":
        layer = next((i for i, n in reversed(list(enumerate(graph.nodes))) if isinstance(n.op, MaxPool)), None)
        shape = () if layer is None else graph.nodes[layer].shape
        if layer is None or len(mixed) != torch.Size(shape).numel():
            return cls(None, mixed, mixed)
        op = graph.nodes[layer].op
        assert isinstance(op, MaxPool)
        below = graph.nodes[layer].inputs[0]
        values = graph.values(torch.stack([image for _, image in guesses]).float())[below]
        winners = to_windows(values, op, -torch.inf).argmax(-2).flatten(1)
        kept = torch.zeros(len(mixed), dtype=torch.int64)
        known = torch.zeros(len(mixed), dtype=torch.bool)
        for guess, (units, _) in enumerate(guesses):
            kept[units], known[units] = winners[guess, units], True
        channels = shape[0]
        return cls(op, kept.reshape(channels, -1), (known & (mixed < 0)).reshape(channels, -1))

    def __call__(self, layer: Tensor, op: MaxPool) -> Tensor:
        windows = to_windows(layer, op, -torch.inf)
        pooled = windows.amax(-2)
        if op is self.op:
            chosen = windows.gather(-2, self.winners.unsqueeze(-2).expand(len(windows), -1, 1, -1)).squeeze(-2)
            pooled = torch.where(self.fixed, chosen, pooled)
        height = (layer.shape[-2] + 2 * op.padding[0] - op.kernel[0]) // op.stride[0] + 1
        pooled = pooled.unflatten(-1, (height, -1))
        return pooled.relu() if op.rectify else pooled
