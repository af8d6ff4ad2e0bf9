"""The three trainings of the proposal: what happens to a batch before the network learns from it.

Mour 2023, section 4: no defence; L0, a random black rectangle per sample; Linf, adversarial examples of projected
gradient descent (Madry et al. 2018).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aureole.core import InputError
from aureole.train.loss import multi_label_loss


class Defence(ABC):
    """A way to change the images of a batch; the labels stay."""

    @abstractmethod
    def apply(
        self,
        module: nn.Module,
        images: Float[Tensor, "batch channels height width"],
        labels: Int[Tensor, "batch objects"],
        progress: float,
        generator: torch.Generator,
    ) -> Float[Tensor, "batch channels height width"]:
        """The images to learn from, in [0,1]; `progress` in [0,1] says how much of the training is over."""


@dataclass(frozen=True)
class NoDefence(Defence):
    """The images as they are."""

    def apply(  # noqa: D102
        self,
        module: nn.Module,
        images: Float[Tensor, "batch channels height width"],
        labels: Int[Tensor, "batch objects"],
        progress: float,
        generator: torch.Generator,
    ) -> Float[Tensor, "batch channels height width"]:
        return images


@dataclass(frozen=True)
class BlackRectangle(Defence):
    """One black rectangle per image, its sides uniform in `smallest..largest` pixels, anywhere inside the image."""

    smallest: int = 4
    largest: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.largest:
            raise InputError(
                f"no rectangle has sides of {self.smallest} to {self.largest} pixels; pass smallest >= 1 and largest "
                f">= {self.smallest}"
            )

    def apply(  # noqa: D102
        self,
        module: nn.Module,
        images: Float[Tensor, "batch channels height width"],
        labels: Int[Tensor, "batch objects"],
        progress: float,
        generator: torch.Generator,
    ) -> Float[Tensor, "batch channels height width"]:
        inside = [self._span(len(images), side, generator) for side in images.shape[-2:]]
        black = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return images.masked_fill(black, 0.0)

    def _span(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        length = torch.randint(self.smallest, min(self.largest, side) + 1, (count,), generator=generator)
        start = (torch.rand(count, generator=generator, dtype=torch.float64) * (side - length + 1)).long()
        at = torch.arange(side)
        return (at >= start[:, None]) & (at < (start + length)[:, None])


@dataclass(frozen=True)
class LinfPgd(Defence):
    """Adversarial examples: ascent of the loss by the gradient's sign inside a ball around each image.

    radius: of the ball, in pixel units; it grows from 0 over the first `warmup` share of the training
    steps:  gradient steps per batch, from a random start
    stride: one step's length as a share of the radius
    """

    radius: float = 0.05
    steps: int = 3
    stride: float = 0.5
    warmup: float = 0.5

    def __post_init__(self) -> None:
        usable = 0 <= self.radius < math.inf and 0 < self.stride < math.inf
        if not (usable and self.steps >= 1 and 0 <= self.warmup <= 1):
            raise InputError(f"{self} is no attack; pass a finite radius >= 0, steps >= 1, stride > 0, warmup in [0,1]")

    def apply(  # noqa: D102
        self,
        module: nn.Module,
        images: Float[Tensor, "batch channels height width"],
        labels: Int[Tensor, "batch objects"],
        progress: float,
        generator: torch.Generator,
    ) -> Float[Tensor, "batch channels height width"]:
        radius = self.radius * min(1.0, progress / self.warmup) if self.warmup else self.radius
        return pgd(module, images, labels, radius, self.steps, self.stride * radius, generator)


def pgd(
    module: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    labels: Int[Tensor, "batch objects"],
    radius: float,
    steps: int,
    step: float,
    generator: torch.Generator,
) -> Float[Tensor, "batch channels height width"]:
    """Images within `radius` of the given ones and in [0,1] on which the multi-label loss is higher.

    Projected gradient descent with a random start (Madry et al. 2018): `steps` steps of length `step` by the sign of
    the gradient, each followed by projection. The module's weights get no gradient.
    """
    lower, upper = (images - radius).clamp(0, 1), (images + radius).clamp(0, 1)
    x = lower + (upper - lower) * torch.rand(images.shape, generator=generator, dtype=images.dtype)
    for _ in range(steps):
        x.requires_grad_(True)
        (gradient,) = torch.autograd.grad(multi_label_loss(module(x), labels), x)
        x = torch.minimum(torch.maximum(x.detach() + step * gradient.sign(), lower), upper)
    return x
