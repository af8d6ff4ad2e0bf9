"""Changes that made an image fail, in units of the rings' radii: what failed once often fails at other radii, too.

An attack takes twenty passes down and up the network; a known change, scaled to other radii, takes one pass up.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.neighborhood.problem import Problem


class Patterns:
    """The changes met so far, the newest first; grows by `add`.

    device: where attacks that go on from them run
    most:   so many are kept
    best:   so many of them are looked at closely

    changes: in units of the radii (float32)
    """

    def __init__(self, problem: Problem, device: torch.device | str = "cpu", most: int = 96, best: int = 6) -> None:
        self.device = device
        self._problem, self._most, self._best = problem, most, best
        self._fast = problem.graph.to(torch.float32)
        self._image = problem.image.float()
        self.changes = self._image.new_empty(0, *self._image.shape)

    def add(self, image: Float[Tensor, "channels height width"], radii: Float[Tensor, "rings"]) -> None:
        """Remember an image of N(radii) that fails."""
        change = in_radii(image.float() - self._image, self._problem.rings.spread(radii).float())
        self.changes = torch.cat([change[None], self.changes])[: self._most]

    def at(self, levels: list[Tensor]) -> tuple[Float[Tensor, "levels best *shape"], Float[Tensor, "levels best"]]:
        """Images in each N(level) by the changes that do best in the first, and their margins (float32), least first.

        Before any change is known, the image itself.
        """
        if not len(self.changes):
            images = self._image.expand(len(levels), 1, *self._image.shape)
            return images, torch.full(images.shape[:2], torch.inf)
        first, _ = self._tried(levels[:1], self.changes)
        chosen = self.changes[first[0].argsort()[: self._best]]
        margins, images = self._tried(levels, chosen)
        order = margins.argsort(1)
        return images[torch.arange(len(levels))[:, None], order], margins.gather(1, order)

    def _tried(self, levels: list[Tensor], changes: Tensor) -> tuple[Tensor, Tensor]:
        reach = self._problem.rings.spread(torch.stack(levels)).float()
        images = (self._image + reach[:, None, None] * changes).clamp(0, 1)
        with torch.no_grad():
            margins = self._problem.margin(self._fast(images.flatten(0, 1)))
        return margins.reshape(len(levels), len(changes)), images


def in_radii(change: Tensor, reach: Tensor) -> Tensor:
    """A change of pixels in units of their radii, in [-1,1]; 0 where the radius is 0."""
    return torch.where(reach > 0, change / reach.clamp(min=1e-30), 0.0).clamp(-1, 1)
