"""The images of a proved neighborhood that are nearest to failing, and what they say about growing its rings."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.core import Region
from aureole.neighborhood.problem import Problem


@dataclass(frozen=True, eq=False)
class Facing:
    """Images in N(radii), the one nearest to failing first.

    known:   the images as they were given; images: clipped into N(radii)
    margins: of the images clipped (score units); an upper bound of the margin over N(radii)
    prices:  by how much each image's margin falls when a ring's radius grows (score units per pixel unit), to first
             order: the steeper of what holds for the image as it was given and as it was clipped
    """

    known: tuple[Tensor, ...]
    images: Float[Tensor, "images channels height width"]
    margins: Float[Tensor, "images"]
    prices: Float[Tensor, "images rings"]

    @property
    def margin(self) -> float:
        """Of the nearest image."""
        return float(self.margins[0])

    def affordable(self, share: float) -> Float[Tensor, "rings"]:
        """How far each ring may grow alone before some image has lost this share of its margin."""
        return (share * self.margins[:, None] / self.prices.clamp(min=1e-12)).amin(0)


def facing(
    problem: Problem, radii: Float[Tensor, "rings"], images: Sequence[Float[Tensor, "channels height width"]], most: int
) -> Facing:
    """What images say of N(radii), clipped into it; the `most` of them that are nearest to failing there."""
    region = problem.region(radii)
    given = torch.stack(tuple(images)).to(torch.float64)
    inside = given.clamp(region.lower.double(), region.upper.double())
    with torch.no_grad():
        margins = problem.margin(problem.graph(inside)).double()
    order = margins.argsort()[:most]
    prices = torch.maximum(_prices(problem, inside[order]), _prices(problem, given[order]))
    return Facing(tuple(images[n] for n in order.tolist()), inside[order], margins[order], prices)


def pushed(
    problem: Problem,
    radii: Sequence[Float[Tensor, "rings"]],
    rings: Sequence[int],
    image: Float[Tensor, "channels height width"],
    steps: Sequence[float] = (1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.1, 0.1, 0.1, 0.1),
) -> Float[Tensor, "asked channels height width"]:
    """In each N(radii[n]) the image with only the pixels of ring rings[n] moved, down the margin's own slope.

    A vertex of the network's linear pieces that `Local` has found is lost by an attack's first step over all pixels.

    steps: in widths of the box; one that does not lower the margin is taken back
    """
    region = Region.stack([problem.region(each) for each in radii])
    lower, upper = region.lower.double(), region.upper.double()
    own = (problem.rings.index == torch.tensor(tuple(rings))[:, None, None])[:, None]
    best = image.to(torch.float64).clamp(lower, upper)
    for step in steps:
        margins, slope = _slope(problem, best)
        moved = torch.where(own, best - step * (upper - lower) * slope.sign(), best).clamp(lower, upper)
        with torch.no_grad():
            lower_now = problem.margin(problem.graph(moved)) < margins
        best = torch.where(lower_now[:, None, None, None], moved, best)
    return best


def _slope(
    problem: Problem, images: Float[Tensor, "images channels height width"]
) -> tuple[Float[Tensor, "images"], Float[Tensor, "images channels height width"]]:
    """The margins and their gradients."""
    images = images.detach().requires_grad_(True)
    margins = problem.margin(problem.graph(images))
    (slope,) = torch.autograd.grad(margins.sum(), images)
    return margins.detach(), slope


def _prices(problem: Problem, images: Float[Tensor, "images channels height width"]) -> Float[Tensor, "images rings"]:
    """How steeply each margin falls with each radius. Pixels that would have to leave [0,1] cost nothing."""
    _, slope = _slope(problem, images)
    free = torch.where(slope > 0, images > 0, images < 1)
    return problem.rings.total((slope.abs() * free).sum(1)).double()
