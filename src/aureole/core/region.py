"""Regions: boxes of images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.core.errors import InputError
from aureole.core.rings import Rings


@dataclass(frozen=True, eq=False)
class Region:
    """A batch of boxes `lower <= x <= upper`, one pair of limits per pixel, in pixel units.

    The first axis counts the boxes; a single box has batch 1. Width zero is allowed everywhere.
    """

    lower: Float[Tensor, "batch *shape"]
    upper: Float[Tensor, "batch *shape"]

    def __post_init__(self) -> None:
        if not bool((self.lower <= self.upper).all()):  # catches NaN as well
            raise InputError("region has a lower limit above its upper limit (or NaN); pass lower <= upper")

    @classmethod
    def ball(cls, image: Float[Tensor, "*shape"], radius: float, clip: tuple[float, float] = (0.0, 1.0)) -> "Region":
        """All images whose every pixel differs from `image` by at most `radius`, inside the clip range.

        In float64: in fewer digits a region that is rounded inwards could be much smaller.
        """
        return cls._around(image.double(), torch.full_like(image, radius, dtype=torch.float64), clip)

    @classmethod
    def ringed(
        cls,
        image: Float[Tensor, "channels height width"],
        rings: Rings,
        radii: Float[Tensor, "rings"] | Sequence[float],
        clip: tuple[float, float] = (0.0, 1.0),
    ) -> "Region":
        """The ringed neighborhood N(radii): pixels of ring d move by at most radii[d], inside the clip range.

        In float64, as `ball`.
        """
        image = image.double()
        radii = torch.as_tensor(radii, dtype=image.dtype, device=image.device)
        if radii.shape != (len(rings),):
            raise InputError(f"{radii.numel()} radii for {len(rings)} rings; give one radius per ring")
        return cls._around(image, rings.spread(radii).expand_as(image), clip)

    @classmethod
    def _around(
        cls, image: Float[Tensor, "*shape"], radius: Float[Tensor, "*shape"], clip: tuple[float, float]
    ) -> "Region":
        if not bool((radius >= 0).all()):
            raise InputError(f"radius {float(radius.min()):g} is negative or NaN; pass radii >= 0")
        low, high = clip
        lower, upper = (image - radius).clamp(low, high), (image + radius).clamp(low, high)
        # round inwards, so that no member is a last bit further from the image than the radius
        lower = torch.where(image - lower > radius, torch.nextafter(lower, image), lower)
        upper = torch.where(upper - image > radius, torch.nextafter(upper, image), upper)
        return cls(lower[None], upper[None])

    def __len__(self) -> int:
        return self.lower.shape[0]

    def __getitem__(self, index: int) -> "Region":
        return Region(self.lower[index][None], self.upper[index][None])

    @property
    def shape(self) -> tuple[int, ...]:
        """One image's shape."""
        return tuple(self.lower.shape[1:])

    @property
    def center(self) -> Float[Tensor, "batch *shape"]:
        """The boxes' midpoints."""
        return (self.lower + self.upper) / 2

    @property
    def radius(self) -> Float[Tensor, "batch *shape"]:
        """How far each pixel reaches from the midpoint."""
        return (self.upper - self.lower) / 2

    def clip(self, images: Float[Tensor, "*any"]) -> Float[Tensor, "batch *shape"]:
        """The nearest images inside the boxes, to the last bit; one image or one per box."""
        return torch.minimum(torch.maximum(images, self.lower), self.upper)

    def nearest(self, image: Float[Tensor, "*shape"], precision: torch.dtype) -> Float[Tensor, "batch *shape"]:
        """The image clipped into the boxes and, where a box holds one, on a number of the given dtype.

        So a model that reads `precision` sees the image itself. A side too narrow to hold such a number keeps the
        clipped value, and the model then rounds it.
        """
        clipped = self.clip(image)
        if precision == clipped.dtype:
            return clipped
        coarse = clipped.to(precision)
        ends = torch.full_like(coarse, torch.inf)
        up, down = torch.nextafter(coarse, ends), torch.nextafter(coarse, -ends)
        for candidate in (up, down, coarse):  # the last that fits wins: the nearest, if it lies inside
            exact = candidate.to(clipped.dtype)
            clipped = torch.where((self.lower <= exact) & (exact <= self.upper), exact, clipped)
        return clipped

    def contains(self, image: Float[Tensor, "*shape"]) -> bool:
        """Whether one image lies in every box of the batch."""
        return bool(((self.lower <= image) & (image <= self.upper)).all())

    def to(self, dtype: torch.dtype, device: torch.device | str | None = None) -> "Region":
        """The same boxes in another dtype or on another device (rounded, not outward)."""
        return Region(self.lower.to(device, dtype), self.upper.to(device, dtype))

    @staticmethod
    def stack(regions: "Sequence[Region]") -> "Region":
        """One batch out of several."""
        return Region(torch.cat([r.lower for r in regions]), torch.cat([r.upper for r in regions]))
