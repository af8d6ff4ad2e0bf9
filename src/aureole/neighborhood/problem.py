"""The question: how large may the rings' radii be?"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.core import Graph, InputError, Region, Rings, Spec
from aureole.core.scene import check_image


@dataclass(frozen=True, eq=False)
class Problem:
    """Maximise `weights @ radii` over the radii for which the spec holds on the whole ringed neighborhood.

    graph:   the network
    image:   float64 in [0,1], shape (channels, height, width)
    rings:   the rings around the perturbed object
    spec:    what must survive
    weights: one weight >= 0 per ring (float64)
    delta:   a ring is maximal when growing its radius by delta (pixel units) breaks the spec
    cap:     the largest radius worth having: the width of the pixel range [0,1]
    """

    graph: Graph
    image: Float[Tensor, "channels height width"]
    rings: Rings
    spec: Spec
    weights: Float[Tensor, "rings"]
    delta: float = 1e-3
    cap: float = 1.0

    def __post_init__(self) -> None:
        check_image(self.image)
        if tuple(self.image.shape) != self.graph.input_shape:
            raise InputError(
                f"image is {_by(self.image.shape)} but the network takes {_by(self.graph.input_shape)}; "
                "pass an image of the network's shape"
            )
        if self.weights.shape != (len(self.rings),):
            raise InputError(f"{self.weights.numel()} weights for {len(self.rings)} rings; give one weight per ring")
        if not bool((self.weights >= 0).all() and self.weights.isfinite().all() and self.weights.any()):
            raise InputError("weights must be finite, >= 0 and not all zero")
        if not 0 < self.delta < 1:
            raise InputError(f"delta is {self.delta:g}; pass a step in pixel units between 0 and 1")
        margin = float(self.spec.margin(self.graph.replay(self.image)))
        if not margin > 0:
            raise InputError(
                f"the spec already fails on the clean image (margin {margin:.4g}): the network does not predict "
                "the target there; choose another target, image or k"
            )

    def region(self, radii: Float[Tensor, "rings"]) -> Region:
        """The ringed neighborhood N(radii)."""
        return Region.ringed(self.image, self.rings, radii)

    def size(self, radii: Float[Tensor, "rings"]) -> float:
        """The weighted sum of the radii."""
        return float(self.weights @ radii)


WEIGHTS = ("uniform", "object", "near", "far", "pixels")


def named_weights(name: str, rings: Rings) -> Float[Tensor, "rings"]:
    """Weights by name: all 1; the object's ring alone; falling or rising with distance; ring sizes (mean 1)."""
    count = len(rings)
    distance = torch.arange(count, dtype=torch.float64)
    match name:
        case "uniform":
            return torch.ones(count, dtype=torch.float64)
        case "object":
            return (distance == 0).to(torch.float64)
        case "near":
            return 1 / (1 + distance)
        case "far":
            return (1 + distance) / count
        case "pixels":
            pixels = torch.tensor(rings.pixels, dtype=torch.float64)
            return pixels / pixels.mean()
    raise InputError(f"weights {name!r} are unknown; pass one of {', '.join(WEIGHTS)}, or a comma-separated list")


def _by(shape: torch.Size | tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)
