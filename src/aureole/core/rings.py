"""Rings: the pixels grouped by their Chebyshev distance to an object."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import index

import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_cdt
from torch import Tensor

from aureole.core.errors import InputError, times


@dataclass(frozen=True, eq=False)
class Rings:
    """A partition of the pixels: `index[i, j]` is the ring of pixel (i, j); ring 0 is the object itself.

    Layers `l_d` of Mour 2023, section 2. Every ring 0..len-1 has at least one pixel.

    bands: None, or the first and the last distance that each "ring" covers when it is a band of several; all that is
           said about rings then holds for bands.
    """

    index: Int[Tensor, "height width"]
    bands: tuple[tuple[int, int], ...] | None = None

    @classmethod
    def around(cls, mask: Bool[Tensor, "height width"]) -> "Rings":
        """Rings around the marked pixels, those that are not 0; InputError when none is marked."""
        if mask.ndim != 2:
            raise InputError(f"mask is {times(mask.shape)}; pass one of height x width")
        if not bool(mask.any()):
            raise InputError("mask marks no pixel; mark at least one pixel of the object (non-zero)")
        distance = distance_transform_cdt((mask == 0).cpu().numpy(), metric="chessboard")
        return cls(torch.as_tensor(distance, dtype=torch.int64, device=mask.device))

    def banded(self, edges: Sequence[int]) -> "Rings":
        """The same pixels in few bands: band i holds the rings from `edges[i]` to just before `edges[i + 1]`.

        The last band holds the rest; edges beyond the last ring make no band. InputError unless the edges are whole
        numbers that start at 0 and rise, and for bands already.
        """
        if self.bands is not None:
            raise InputError("these are bands already; make bands of the rings themselves")
        check_edges(edges)
        count = len(self)
        starts = [edge for edge in edges if edge < count]
        bands = tuple((start, end - 1) for start, end in pairwise([*starts, count]))
        limits = torch.tensor(starts[1:], dtype=self.index.dtype, device=self.index.device)
        return Rings(torch.bucketize(self.index, limits, right=True), bands)

    @property
    def distances(self) -> tuple[tuple[int, int], ...]:
        """The first and the last distance to the object in each ring: the same, unless it is a band."""
        return tuple((d, d) for d in range(len(self))) if self.bands is None else self.bands

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


def check_edges(edges: Sequence[int]) -> None:
    """InputError unless the first rings of bands start at 0 and rise."""
    try:
        whole = [index(edge) for edge in edges]
    except TypeError as error:
        raise InputError(f"bands {list(edges)} are not whole numbers; pass e.g. 0,1,4,16") from error
    if not whole or whole[0] != 0 or any(b <= a for a, b in pairwise(whole)):
        raise InputError(f"bands {','.join(map(str, edges))} do not start at 0 and rise; pass e.g. 0,1,4,16")
