"""Digit sets: single 28x28 digits from which scenes are composed."""

from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from aureole.core import InputError

SIDE = 28
CLASSES = 10


@dataclass(frozen=True, eq=False)
class DigitSet:
    """Single digits, each with its class; every class 0..9 occurs.

    images: 8-bit grey levels (255 is white, 0 is background); eight bits, so that a scene survives a PNG exactly
    labels: the digit that each image shows
    """

    images: UInt8[Tensor, "count 28 28"]
    labels: Int[Tensor, "count"]

    def __post_init__(self) -> None:
        missing = [c for c in range(CLASSES) if not bool((self.labels == c).any())]
        if missing:
            raise InputError(f"digit set has no image of {missing}; give at least one image per digit 0..9")
        if int(self.labels.min()) < 0 or int(self.labels.max()) >= CLASSES:
            raise InputError(
                f"digit labels lie in [{int(self.labels.min())}, {int(self.labels.max())}]; pass labels 0..9"
            )
        if not bool(self.images.flatten(1).any(dim=1).all()):
            raise InputError("digit set holds an image that is black everywhere; leave it out")

    def __len__(self) -> int:
        return len(self.labels)

    def members(self) -> list[Int[Tensor, "members"]]:
        """For each class, the positions of its images."""
        return [torch.nonzero(self.labels == c).flatten() for c in range(CLASSES)]
