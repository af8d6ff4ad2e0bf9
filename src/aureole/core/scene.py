"""A scene: an image, the labels of its objects, and one pixel mask per object."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.core.errors import InputError, times


@dataclass(frozen=True, eq=False)
class Scene:
    """An image in [0,1] with its labelled objects.

    image:  float64, pixel scale [0,1], shape (channels, height, width)
    labels: the class of each object
    masks:  for each object, the pixels that show it; same order as `labels`
    name:   a word for tables and file names
    """

    image: Float[Tensor, "channels height width"]
    labels: tuple[int, ...]
    masks: tuple[Bool[Tensor, "_ _"], ...]  # of the image's height and width: told by check_mask, in words for users
    name: str = "scene"

    def __post_init__(self) -> None:
        check_image(self.image)
        if len(self.labels) != len(self.masks):
            raise InputError(
                f"scene has {len(self.labels)} labels but {len(self.masks)} masks; give one mask per label"
            )
        for mask in self.masks:
            check_mask(mask, self.image)

    def mask(self, label: int) -> Bool[Tensor, "height width"]:
        """The pixels of all objects with this label; InputError when the scene has none."""
        if label not in self.labels:
            raise InputError(
                f"object {label} is not in scene {self.name} with labels {list(self.labels)}; name one of them"
            )
        return torch.stack([mask for own, mask in zip(self.labels, self.masks, strict=True) if own == label]).any(0)

    @property
    def distinct_labels(self) -> tuple[int, ...]:
        """Each label once."""
        return tuple(dict.fromkeys(self.labels))


def check_image(image: Float[Tensor, "*any"]) -> None:
    """InputError unless the image is a finite (C,H,W) tensor in [0,1]."""
    if image.ndim != 3:
        raise InputError(f"image has shape {tuple(image.shape)}; pass channels x height x width")
    if image.dtype != torch.float64:
        raise InputError(f"image holds {image.dtype} numbers; pass float64 (image.double()), pixels in [0,1]")
    if image.requires_grad:
        raise InputError("image requires a gradient; pass image.detach()")
    if not bool(image.isfinite().all()):
        raise InputError("image holds NaN or infinite values; pass finite pixels in [0,1]")
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        raise InputError(f"image values lie in [{low:g}, {high:g}]; scale pixels to [0,1]")


def check_mask(mask: Bool[Tensor, "mask_height mask_width"], image: Float[Tensor, "channels height width"]) -> None:
    """InputError unless the mask has the image's height and width and marks at least one pixel."""
    if mask.shape != image.shape[1:]:
        raise InputError(
            f"mask is {times(mask.shape)} but the image is {times(image.shape)}; "
            "pass a mask of the image's height and width"
        )
    if not bool(mask.any()):
        raise InputError("mask marks no pixel; mark at least one pixel of the object (non-zero)")
