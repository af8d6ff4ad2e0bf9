"""Gradient attack through smoothed max-pools, one set of rows per start.

A max-pool passes its gradient to one of its inputs, so sign-gradient steps stall. The search therefore climbs a copy
of the network in which each max is `logsumexp(beta z) / beta`, with beta rising along the run until the copy is nearly
the network; every image met is judged on the network itself (docs/notes/prover.md, "Attack", has the measurements).
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from aureole.attacks.base import Attack
from aureole.core import Budget, Graph, InputError, Region, Spec
from aureole.core.graph import MaxPool


@dataclass(frozen=True)
class SmoothPgd(Attack):
    """Sign-gradient steps from many starts at once, each on one set of rows that could fail together.

    A spec of order k fails where some k rows are all <= 0. Minimising the k lowest margins wherever they are lets the
    search flip between sets and stall; so each start keeps one set and minimises `logsumexp(tau m) / tau` over its
    rows. On 23 queries that bounds left open (three networks of 3,818 parameters, k = 2) the order statistic broke 0,
    fixed sets with rising tau 14, at the same cost.

    steps:     per start
    restarts:  starts per region, half of them corners of the box, besides those given
    sets:      how many sets of rows to try; those whose margins are lowest at the first start come first. Given starts
               keep to the rows that are lowest there
    sharpness: beta at the first and at the last step
    weighing:  tau at the first and at the last step, in units of the inverse margin at the start
    step:      length of the first and of the last step, in half widths of the box
    """

    steps: int = 60
    restarts: int = 16
    sets: int = 6
    sharpness: tuple[float, float] = (10.0, 400.0)
    weighing: tuple[float, float] = (1.0, 8.0)
    step: tuple[float, float] = (1.0, 0.05)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 0 or self.sets < 1:
            raise InputError(f"{self} cannot attack; pass steps >= 1, restarts >= 0, sets >= 1")

    def _search(
        self,
        graph: Graph,
        region: Region,
        spec: Spec,
        starts: Float[Tensor, "batch starts *shape"],
        generator: torch.Generator,
        budget: Budget,
    ) -> Float[Tensor, "batch candidates *shape"]:
        lower, upper = region.lower.unsqueeze(1), region.upper.unsqueeze(1)
        images = torch.cat([starts, self._random(region, generator)], 1).clamp(lower, upper)
        half = (upper - lower) / 2
        with torch.no_grad():
            begun = images[:, : starts.shape[1]]
            given = spec.values(graph(begun.flatten(0, 1))).unflatten(0, begun.shape[:2])
        chosen, scale = self._choose(given, spec.order, images.shape[1])
        best = images.clone()
        best_margin = images.new_full(images.shape[:2], torch.inf)
        for i in range(self.steps + 1):
            done = i / self.steps
            with torch.no_grad():
                margin = spec.margin(graph(images.flatten(0, 1))).unflatten(0, images.shape[:2])
                better = margin < best_margin
                best_margin = torch.where(better, margin, best_margin)
                best = torch.where(_like(better, best), images, best)
            if i == self.steps or budget.expired or bool((best_margin.amin(1) < -CLEAR).all()):
                break
            images = images.detach().requires_grad_(True)
            smooth = graph.values(images.flatten(0, 1), pool=SmoothPool(between(self.sharpness, done)))[-1]
            margins = spec.values(smooth).unflatten(0, images.shape[:2]).gather(-1, chosen)
            tau = between(self.weighing, done) / scale
            loss = (torch.logsumexp(tau * margins, -1) / tau.squeeze(-1)).sum()
            (gradient,) = torch.autograd.grad(loss, images)
            images = (images.detach() - between(self.step, done) * half * gradient.sign()).clamp(lower, upper)
        return best

    def _choose(
        self, given: Float[Tensor, "batch given rows"], order: int, count: int
    ) -> tuple[Int[Tensor, "batch count order"], Float[Tensor, "batch 1 1"]]:
        """A set of rows for each start, the given ones first, and the size of the margins there.

        A given start has the rows that are lowest there; the others have sets in turn.
        """
        margins = given[:, 0]
        lowest = margins.argsort(-1)
        near = min(margins.shape[-1], order + 3)
        held = max(0, order - self.sets + 1)  # so many of the lowest are in each of the first sets
        rests = sorted(itertools.combinations(range(held, near), order - held), key=sum)[: self.sets]
        sets = [(*range(held), *rest) for rest in rests]
        ranks = torch.tensor([sets[i % len(sets)] for i in range(count)], device=margins.device)
        chosen = lowest[:, ranks]
        chosen[:, : given.shape[1]] = given.argsort(-1)[..., :order]
        scale = margins.gather(-1, lowest[:, :near]).abs().mean(-1).clamp(min=1e-3)
        return chosen, scale[:, None, None]

    def _random(self, region: Region, generator: torch.Generator) -> Float[Tensor, "batch restarts *shape"]:
        shape = (len(region), self.restarts, *region.shape)
        weight = torch.rand(shape, generator=generator).to(region.lower)
        weight[:, ::2] = weight[:, ::2].round()
        return region.lower.unsqueeze(1) + weight * (region.upper - region.lower).unsqueeze(1)


CLEAR = 1e-3
"""Score units below zero at which the search stops: enough for the float64 replay to agree with float32."""


BRIEF = SmoothPgd(steps=12, restarts=4)
"""A first look: finds what is easily broken."""


@dataclass(frozen=True)
class SmoothPool:
    """A max-pool replaced by a log-sum-exp of the given sharpness."""

    beta: float

    def __call__(self, layer: Tensor, op: MaxPool) -> Tensor:  # noqa: D102
        (kh, kw), (ph, pw) = op.kernel, op.padding
        n, channels, height, width = layer.shape
        if op.stride == op.kernel and op.padding == (0, 0):
            oh, ow = height // kh, width // kw
            windows = layer[:, :, : oh * kh, : ow * kw].reshape(n, channels, oh, kh, ow, kw)
            pooled = torch.logsumexp(self.beta * windows, (3, 5)) / self.beta
        else:
            padded = F.pad(layer.reshape(n * channels, 1, height, width), (pw, pw, ph, ph), value=-1e6)
            windows = F.unfold(padded, op.kernel, stride=op.stride)
            oh = (height + 2 * ph - kh) // op.stride[0] + 1
            pooled = (torch.logsumexp(self.beta * windows, 1) / self.beta).reshape(n, channels, oh, -1)
        return pooled.relu() if op.rectify else pooled


def between(ends: tuple[float, float], done: float) -> float:
    """From the first end to the last, by equal factors."""
    return ends[0] * (ends[1] / ends[0]) ** done


def _like(flags: Tensor, images: Tensor) -> Tensor:
    return flags.reshape(*flags.shape, *[1] * (images.ndim - flags.ndim))
