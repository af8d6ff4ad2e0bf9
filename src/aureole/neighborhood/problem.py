"""The question: how large may the rings' radii be?"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.core import Graph, InputError, Region, Rings, Spec, times
from aureole.core.graph import check_comparable
from aureole.core.scene import check_image
from aureole.neighborhood.objective import OBJECTIVES

HEAVIEST = 1e9
"""The largest weight, and one over the smallest: sizes are climbed in float32."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Maximise an objective of the radii over all radii for which the specs hold on the whole ringed neighborhood.

    graph:     the network
    image:     float64 in [0,1], shape (channels, height, width)
    rings:     the rings (or bands of rings) around the perturbed objects
    spec:      what must survive
    weights:   one weight >= 0 per ring (float64); 0, or from 1e-9 to 1e9
    delta:     a ring is maximal when growing its radius by delta (pixel units) breaks a spec
    cap:       the largest radius worth having, one number or one per ring; 1 is the width of the pixel range [0,1]
    floor:     the smallest radius that an answer may have, one number or one per ring. The search starts there; where
               the floors themselves fail or are not proved, there is no answer, and the result says so.
    objective: a name from `OBJECTIVES`: `sum`, `log` or `min`
    also:      further specs that must hold as well (several targets)
    """

    graph: Graph
    image: Float[Tensor, "channels height width"]
    rings: Rings
    spec: Spec
    weights: Float[Tensor, "rings"]
    delta: float = 1e-3
    cap: float | Float[Tensor, "_"] = 1.0
    floor: float | Float[Tensor, "_"] = 0.0
    objective: str = "sum"
    also: tuple[Spec, ...] = ()

    def __post_init__(self) -> None:
        check_image(self.image)
        if tuple(self.image.shape) != self.graph.input_shape:
            raise InputError(
                f"image is {times(self.image.shape)} but the network takes {times(self.graph.input_shape)}; "
                "pass an image of the network's shape"
            )
        if self.rings.index.shape != self.image.shape[1:]:
            raise InputError(
                f"rings are {times(self.rings.index.shape)} pixels but the image {times(self.image.shape)}; make them "
                "around a mask of the image's height and width"
            )
        object.__setattr__(self, "weights", torch.as_tensor(self.weights, dtype=torch.float64).detach())
        if self.weights.shape != (len(self.rings),):
            word = self._word
            raise InputError(
                f"{self.weights.numel()} weights for {len(self.rings)} {word}s; give one weight per {word}"
            )
        usual = (self.weights == 0) | ((self.weights >= 1 / HEAVIEST) & (self.weights <= HEAVIEST))
        if not bool(usual.all() and self.weights.any()):
            unusual = ", ".join(f"{weight:g}" for weight in self.weights[~usual].tolist()[:3]) or "all 0"
            raise InputError(f"weights are {unusual}; pass 0 or {1 / HEAVIEST:g} to {HEAVIEST:g}, and not all 0")
        if not 0 < self.delta < 1:
            raise InputError(f"delta is {self.delta:g}; pass a step in pixel units between 0 and 1")
        if self.objective not in OBJECTIVES:
            raise InputError(f"objective {self.objective!r} is unknown; pass one of {', '.join(OBJECTIVES)}")
        self._check_limits()
        scores = self.graph.replay(self.image)
        for spec in self.specs:
            check_comparable(self.graph, spec)
            margin = float(spec.margin(scores))
            if not margin > 0:
                which = "the spec" if len(self.specs) == 1 else f"the spec {spec}"
                raise InputError(
                    f"{which} already fails on the clean image (margin {margin:.4g}): the network does not predict "
                    "the target there; choose another target, image or k"
                )

    def _check_limits(self) -> None:
        for name, limits in (("floor", self.floors), ("cap", self.caps)):
            outside = (~((limits >= 0) & (limits <= 1))).nonzero().flatten().tolist()
            if outside:
                raise InputError(
                    f"the {name} of {self._word} {outside[0]} is {float(limits[outside[0]]):g}; pass radii in pixel "
                    "units, from 0 to 1"
                )
        crossed = (self.floors > self.caps).nonzero().flatten().tolist()
        if crossed:
            ring = crossed[0]
            floor, cap = float(self.floors[ring]), float(self.caps[ring])
            raise InputError(
                f"the floor {floor:g} of {self._word} {ring} is above its cap {cap:g}; pass floors <= caps"
            )

    @property
    def clean_margin(self) -> float:
        """The margin of the image itself (score units)."""
        return float(self.margin(self.graph.replay(self.image)))

    @property
    def _word(self) -> str:
        return "ring" if self.rings.bands is None else "band"

    @property
    def specs(self) -> tuple[Spec, ...]:
        """All that must survive."""
        return (self.spec, *self.also)

    @cached_property
    def caps(self) -> Float[Tensor, "rings"]:
        """The largest radius of each ring (float64)."""
        return self._per_ring("cap", self.cap)

    @cached_property
    def floors(self) -> Float[Tensor, "rings"]:
        """The smallest radius of each ring (float64)."""
        return self._per_ring("floor", self.floor)

    def _per_ring(self, name: str, given: float | Tensor) -> Tensor:
        values = torch.as_tensor(given, dtype=torch.float64, device=self.weights.device).detach()
        if values.ndim and values.shape != self.weights.shape:
            word, count = self._word, len(self.rings)
            raise InputError(f"{values.numel()} {name}s for {count} {word}s; give one number, or one per {word}")
        return values.expand(len(self.rings)).clone()

    def within(self, radii: Float[Tensor, "rings"]) -> Float[Tensor, "rings"]:
        """The radii moved between the floors and the caps."""
        return torch.minimum(torch.maximum(radii, self.floors.to(radii)), self.caps.to(radii))

    def region(self, radii: Float[Tensor, "rings"]) -> Region:
        """The ringed neighborhood N(radii)."""
        return Region.ringed(self.image, self.rings, radii)

    def margin(self, scores: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
        """The smallest margin of all specs: positive when every one holds. Differentiable."""
        return torch.stack([spec.margin(scores) for spec in self.specs]).amin(0)

    @cached_property
    def every_row(self) -> tuple[Float[Tensor, "rows classes"], Float[Tensor, "rows"]]:
        """The rows of all specs and their constants, one spec after the other."""
        classes = self.graph.classes
        return (
            torch.cat([spec.rows(classes) for spec in self.specs]),
            torch.cat([spec.offsets(classes) for spec in self.specs]),
        )

    def least(self, values: Float[Tensor, "*batch rows"]) -> Float[Tensor, "*batch"]:
        """The margin from the values of `every_row`, or a bound of it from bounds of these. Differentiable."""
        return self._margins(values).amin(0)

    def failing_rows(self, values: Float[Tensor, "batch rows"]) -> Bool[Tensor, "batch rows"]:
        """The rows that have to fall for a spec to fail: the lowest ones of the spec whose margin is smallest."""
        parts = self._by_spec(values)
        lowest = [part.argsort(-1).argsort(-1) < spec.order for part, spec in zip(parts, self.specs, strict=True)]
        chosen = torch.nn.functional.one_hot(self._margins(values).argmin(0), len(self.specs)).bool()
        return torch.cat([rows & chosen[:, n : n + 1] for n, rows in enumerate(lowest)], -1)

    def _margins(self, values: Float[Tensor, "*batch rows"]) -> Float[Tensor, "specs *batch"]:
        parts = zip(self._by_spec(values), self.specs, strict=True)
        return torch.stack([torch.kthvalue(part, spec.order).values for part, spec in parts])

    def _by_spec(self, values: Float[Tensor, "*batch rows"]) -> tuple[Tensor, ...]:
        return values.split([len(spec.rows(self.graph.classes)) for spec in self.specs], -1)

    def value(self, radii: Float[Tensor, "*batch rings"]) -> Float[Tensor, "*batch"]:
        """The objective, in pixel units and never negative; differentiable, in the dtype of `radii`."""
        return OBJECTIVES[self.objective](radii, self.weights)

    def size(self, radii: Float[Tensor, "rings"]) -> float:
        """The objective as a number (float64): what a result reports as its size."""
        return float(self.value(radii.to(torch.float64)))


WEIGHTS = ("uniform", "object", "near", "far", "pixels")


def named_weights(name: str, rings: Rings) -> Float[Tensor, "rings"]:
    """Weights by name, one per ring or band.

    uniform: all 1; object: the object's ring alone; near, far: falling or rising with the distance to the object (a
    band's is the middle of its rings); pixels: how many pixels there are, 1 on average.
    """
    first, last = torch.tensor(rings.distances, dtype=torch.float64).unbind(1)
    distance = (first + last) / 2
    match name:
        case "uniform":
            return torch.ones_like(distance)
        case "object":
            return (first == 0).to(torch.float64)
        case "near":
            return 1 / (1 + distance)
        case "far":
            return (1 + distance) / (1 + distance[-1])
        case "pixels":
            pixels = torch.tensor(rings.pixels, dtype=torch.float64)
            return pixels / pixels.mean()
    raise InputError(f"weights {name!r} are unknown; pass one of {', '.join(WEIGHTS)}, or numbers")
