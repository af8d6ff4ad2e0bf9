"""The boxes that input splitting works on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor

from aureole.bounds import Bounds, Interval
from aureole.core import Region


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of a region that are left to prove.

    bound: the best bound of the margin on each
    axis:  the input to halve
    signs: by node, what is known of the sign of a relu's inputs: -1, 0 (either) or 1; it stays true in the halves
    """

    region: Region
    bound: Float[Tensor, "boxes"]
    axis: Int[Tensor, "boxes"]
    signs: Mapping[int, Int8[Tensor, "boxes *shape"]]

    def __len__(self) -> int:
        return len(self.bound)

    def take(self, which: Int[Tensor, "some"]) -> "Boxes":
        """Some of the boxes."""
        region = Region(self.region.lower[which], self.region.upper[which])
        return Boxes(region, self.bound[which], self.axis[which], {i: s[which] for i, s in self.signs.items()})

    def join(self, other: "Boxes") -> "Boxes":
        """These boxes and others."""
        signs = {i: torch.cat([s, other.signs[i]]) for i, s in self.signs.items()}
        both = Region.stack([self.region, other.region])
        return Boxes(both, torch.cat([self.bound, other.bound]), torch.cat([self.axis, other.axis]), signs)

    def halves(self) -> Region:
        """Both halves of every box along its axis; they share the middle, so nothing is lost in between."""
        lower, upper = self.region.lower.flatten(1), self.region.upper.flatten(1)
        lead = torch.arange(len(self))
        middle = (lower[lead, self.axis] + upper[lead, self.axis]) / 2
        left, right = upper.clone(), lower.clone()
        left[lead, self.axis], right[lead, self.axis] = middle, middle
        shape = (2 * len(self), *self.region.shape)
        return Region(torch.cat([lower, right]).reshape(shape), torch.cat([left, upper]).reshape(shape))

    def within(self, region: Region) -> "Boxes":
        """What of the boxes lies in a region.

        Of a box that only touches it nothing is left: closed boxes that cover the region's inside cover its faces too.
        """
        lower, upper = torch.maximum(self.region.lower, region.lower), torch.minimum(self.region.upper, region.upper)
        wide = region.lower < region.upper
        meets = torch.where(wide, lower < upper, lower <= upper).flatten(1).all(1).nonzero().squeeze(1)
        boxes = replace(self.take(meets), region=Region(lower[meets], upper[meets]))
        low, high = boxes.region.lower.flatten(1), boxes.region.upper.flatten(1)
        first, last = (side.gather(1, boxes.axis[:, None])[:, 0] for side in (low, high))
        middle = (first + last) / 2
        narrow = (middle <= first) | (middle >= last)  # nothing is left to halve there
        return replace(boxes, axis=torch.where(narrow, (high - low).argmax(1), boxes.axis))

    def hints(self) -> Bounds:
        """The signs as bounds of both halves."""
        hints = {}
        for i, sign in self.signs.items():
            both = torch.cat([sign, sign]).to(self.bound)
            infinite = torch.full_like(both, torch.inf)
            hints[i] = Interval(torch.where(both > 0, 0.0, -infinite), torch.where(both < 0, 0.0, infinite))
        return hints


@dataclass(frozen=True, eq=False)
class Leaves:
    """What splitting has left of a region: everything outside of the boxes has a margin of at least `proved`."""

    boxes: Boxes
    proved: float
