"""Gradient attack through smoothed max-pools on the order-statistic margin.

A max-pool passes its gradient to one of its inputs, so sign-gradient steps stall. The search therefore climbs a copy
of the network in which each max is `logsumexp(beta z) / beta`, with beta rising along the run until the copy is nearly
the network; every image met is judged on the network itself (verification notes, section 4, has the measurements).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from aureole.attacks.base import Attack
from aureole.core import Budget, Graph, Region, Spec
from aureole.core.graph import MaxPool


@dataclass(frozen=True)
class SmoothPgd(Attack):
    """Sign-gradient steps from many starts at once.

    steps:     per start
    restarts:  starts per region, half of them corners of the box, besides those given
    sharpness: beta at the first and at the last step
    step:      length of the first and of the last step, in half widths of the box
    joint:     share of the run on the sum of the smallest margins, before the order statistic alone
    """

    steps: int = 60
    restarts: int = 16
    sharpness: tuple[float, float] = (5.0, 200.0)
    step: tuple[float, float] = (0.5, 0.02)
    joint: float = 0.6

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
        rows = spec.rows(graph.classes).to(images)
        best = images.clone()
        best_margin = images.new_full(images.shape[:2], torch.inf)
        for i in range(self.steps + 1):
            done = i / self.steps
            beta = self.sharpness[0] * (self.sharpness[1] / self.sharpness[0]) ** done
            with torch.no_grad():
                scores = graph(images.flatten(0, 1)).unflatten(0, images.shape[:2])
                margin = spec.margin(scores)
                better = margin < best_margin
                best_margin = torch.where(better, margin, best_margin)
                best = torch.where(_like(better, best), images, best)
            if i == self.steps or budget.expired or bool((best_margin.amin(1) < -CLEAR).all()):
                break
            images = images.detach().requires_grad_(True)
            smooth = graph.values(images.flatten(0, 1), pool=_Smooth(beta))[-1]
            lowest = (smooth @ rows.T).topk(spec.order, dim=-1, largest=False).values
            loss = lowest.sum() if done < self.joint else lowest[:, -1].sum()
            (gradient,) = torch.autograd.grad(loss, images)
            length = self.step[0] * (self.step[1] / self.step[0]) ** done
            images = (images.detach() - length * half * gradient.sign()).clamp(lower, upper)
        return best

    def _random(self, region: Region, generator: torch.Generator) -> Float[Tensor, "batch restarts *shape"]:
        shape = (len(region), self.restarts, *region.shape)
        weight = torch.rand(shape, generator=generator).to(region.lower)
        weight[:, ::2] = weight[:, ::2].round()
        return region.lower.unsqueeze(1) + weight * (region.upper - region.lower).unsqueeze(1)


CLEAR = 1e-3
"""Score units below zero at which the search stops: enough for the float64 replay to agree with float32."""


@dataclass(frozen=True)
class _Smooth:
    """A max-pool replaced by a log-sum-exp of the given sharpness."""

    beta: float

    def __call__(self, layer: Tensor, op: MaxPool) -> Tensor:
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


def _like(flags: Tensor, images: Tensor) -> Tensor:
    return flags.reshape(*flags.shape, *[1] * (images.ndim - flags.ndim))
