"""A row over the scores as a sum of its tiles' shares, each with a search of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aureole.verify.tiles import Part
from aureole.verify.tree import ERROR, Tree


@dataclass(frozen=True, eq=False)
class Share:
    """A tile and the search for its minimum."""

    part: Part
    tree: Tree

    @property
    def floor(self) -> float:
        """A proved lower bound."""
        return max(self.part.floor, self.tree.floor - ERROR)

    @property
    def room(self) -> float:
        """How much the floor could still rise; 0 where the search is at its end."""
        return 0.0 if self.tree.done else max(self.tree.ceiling - self.floor, 0.0)

    @property
    def image(self) -> Float[Tensor, "*shape"]:
        """The worst image met; pixels that the tile does not see are in the middle."""
        return self.part.tile.pixels.image(self.tree.point)

    def apart(self, other: "Share") -> float:
        """By how much the worst images of two tiles disagree where both see pixels (pixel units, added up)."""
        both = np.intersect1d(self.part.tile.pixels.moved, other.part.tile.pixels.moved)
        return float((self.image - other.image).abs().flatten()[torch.from_numpy(both)].sum())


@dataclass(frozen=True, eq=False)
class Sum:
    """A row over the scores: a constant and the shares of all tiles."""

    constant: float
    shares: Sequence[Share]

    @property
    def floor(self) -> float:
        """A proved lower bound."""
        return self.constant + sum(share.floor for share in self.shares)

    @property
    def ceiling(self) -> float:
        """No floor can be higher."""
        return self.constant + sum(share.tree.ceiling for share in self.shares)

    def widest(self, count: int) -> list[Share]:
        """The shares with the most room, if they have any."""
        return sorted((share for share in self.shares if share.room > 0), key=lambda share: -share.room)[:count]


def grow(shares: Sequence[Share], pool: Executor, stop: Callable[[], bool], part: float = 1.0) -> None:
    """The searches of several tiles at the same time; one alone has all threads. `stop`, `part`: see `Tree.grow`."""
    if len(shares) == 1:
        shares[0].tree.grow(stop, part, pool)
    else:
        list(pool.map(lambda share: share.tree.grow(stop, part), shares))
