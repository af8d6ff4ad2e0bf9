"""Patches: backward coefficients of neurons that see only a small window of a layer below."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Patch:
    """Linear coefficients of N neurons over windows of a (C,H,W) layer, on one side or on both.

    Where both sides are asked, coef[0, n] bounds neuron n from below and coef[1, n] bounds minus neuron n from below:
    every rule then only has to know lower bounds. Window n covers rows top[n].. and columns
    left[n]..; parts outside the layer are padding, where the layer is zero and every coefficient is dropped.
    """

    coef: Float[Tensor, "sides neurons channels h w"]
    top: Int[Tensor, "neurons"]
    left: Int[Tensor, "neurons"]
    batch: Int[Tensor, "neurons"]

    def gather(self, layer: Float[Tensor, "batch channels H W"]) -> Float[Tensor, "neurons channels h w"]:
        """Each neuron's window of a layer, zero outside of it."""
        channels, height, width = layer.shape[1:]
        rows, columns = self._lines()
        flat = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
        plane = self.batch[:, None] * channels + torch.arange(channels, device=layer.device)
        taken = torch.take(layer, plane[:, :, None, None] * (height * width) + flat[:, None])
        return taken * self.inside(height, width)

    def inside(self, height: int, width: int) -> Bool[Tensor, "neurons 1 h w"]:
        """Which parts of the windows lie on a layer of this size, not on its padding."""
        rows, columns = self._lines()
        row_inside, column_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        return (row_inside[:, :, None] & column_inside[:, None, :])[:, None]

    def _lines(self) -> tuple[Int[Tensor, "neurons h"], Int[Tensor, "neurons w"]]:
        h, w = self.coef.shape[-2:]
        return (
            self.top[:, None] + torch.arange(h, device=self.top.device),
            self.left[:, None] + torch.arange(w, device=self.left.device),
        )

    def merge(self, other: "Patch") -> "Patch":
        """The sum over one layer of two paths of the same neurons, on the union of the two windows.

        Raises ValueError when the windows' offset differs between neurons (paths of different total stride).
        """
        up, left = self.top - other.top, self.left - other.left
        if bool((up != up[0]).any() or (left != left[0]).any()):
            raise ValueError("the two paths have different strides")
        top, first = torch.minimum(self.top, other.top), torch.minimum(self.left, other.left)
        bottom = torch.maximum(self.top + self.coef.shape[-2], other.top + other.coef.shape[-2])
        last = torch.maximum(self.left + self.coef.shape[-1], other.left + other.coef.shape[-1])

        def grown(patch: Patch) -> Tensor:
            sides = (patch.left - first, last - patch.left - patch.coef.shape[-1])
            pad = (*sides, patch.top - top, bottom - patch.top - patch.coef.shape[-2])
            return F.pad(patch.coef, [int(p[0]) for p in pad])

        return replace(self, coef=grown(self) + grown(other), top=top, left=first)
