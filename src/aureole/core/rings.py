"""Rings: the pixels grouped by their Chebyshev distance to an object."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_cdt
from torch import Tensor

from aureole.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Rings:
    """A partition of the pixels: `index[i, j]` is the ring of pixel (i, j); ring 0 is the object itself.

    Layers `l_d` of Mour 2023, section 2. Every ring 0..len-1 has at least one pixel.
    """

    index: Int[Tensor, "height width"]

    @classmethod
    def around(cls, mask: Bool[Tensor, "height width"]) -> "Rings":
        """Rings around the marked pixels; InputError when none is marked."""
        if not bool(mask.any()):
            raise InputError("mask marks no pixel; mark at least one pixel of the object (non-zero)")
        distance = distance_transform_cdt((~mask).cpu().numpy(), metric="chessboard")
        return cls(torch.as_tensor(distance, dtype=torch.int64, device=mask.device))

    def __len__(self) -> int:
        return int(self.index.max()) + 1

    @property
    def pixels(self) -> tuple[int, ...]:
        """How many pixels each ring has."""
        return tuple(torch.bincount(self.index.flatten(), minlength=len(self)).tolist())

    def spread(self, radii: Float[Tensor, "*batch rings"]) -> Float[Tensor, "*batch height width"]:
        """Each pixel's radius."""
        return radii[..., self.index]

    def total(self, values: Float[Tensor, "*batch height width"]) -> Float[Tensor, "*batch rings"]:
        """The sum of `values` over each ring."""
        flat = values.flatten(-2)
        sums = flat.new_zeros(*flat.shape[:-1], len(self))
        return sums.index_add(-1, self.index.flatten(), flat)

    def peak(self, values: Float[Tensor, "height width"]) -> Float[Tensor, "rings"]:
        """The largest of `values` over each ring."""
        out = values.new_full((len(self),), -torch.inf)
        return out.scatter_reduce(0, self.index.flatten(), values.flatten(), "amax")
