"""The answer: radii, their proof and their witnesses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from aureole.core import Verdict


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """What `maximize` found.

    verdict:      ROBUST when the radii are proved; UNKNOWN when the budget ended before the first proof (radii 0);
                  VULNERABLE when the floors asked for let an image fail (radii 0; `weakest` is that image)
    radii:        one per ring, pixel units, float64
    ring_pixels:  how many pixels each ring has
    size:         the objective's value, in pixel units: for `sum`, weights @ radii
    proof:        what proved the radii (`bounds`, `split`, `blocks`, `milp`: see `Why`)
    margin_bound: the proved lower bound of the margin over the region, in score units
    limits:       for each ring a radius at which, the others as they are, an image fails; the cap where none is known.
                  None when the method does not look or nothing is proved
    witnesses:    ring -> that image (replayed)
    capped:       rings whose radius is at the cap
    maximal:      whether every ring is capped or its limit is within delta of its radius; None when the method does not
                  look or nothing is proved
    open_rings:   the rings of which neither is known; None as for `maximal`
    upper_bound:  a proved upper bound of the best size; gap = 1 - size / upper_bound; None when not computed
    weakest:      the image of the region with the smallest margin met, and that margin
    calls:        prover calls by verdict and stage, e.g. {"ROBUST by bounds": 12}
    timeline:     (seconds, size) of every improvement
    interrupted:  whether Ctrl-C ended the search
    detail:       one line for people: why nothing was proved, or what is to be known about the proof
    bands:        the first and the last distance of each ring, when rings are bands (`Rings.banded`)
    prices:       by how much the margin that linear bounds certify falls at these radii per unit of each, in score
                  units per pixel unit; None when not computed
    """

    verdict: Verdict
    radii: Float[Tensor, "rings"]
    ring_pixels: tuple[int, ...]
    size: float
    proof: str
    margin_bound: float | None
    weakest: Float[Tensor, "channels height width"] | None
    weakest_margin: float | None
    limits: Float[Tensor, "rings"] | None = None
    witnesses: Mapping[int, Float[Tensor, "channels height width"]] = field(default_factory=dict)
    capped: tuple[int, ...] = ()
    maximal: bool | None = None
    open_rings: tuple[int, ...] | None = None
    upper_bound: float | None = None
    gap: float | None = None
    calls: Mapping[str, int] = field(default_factory=dict)
    timeline: tuple[tuple[float, float], ...] = ()
    seconds: float = 0.0
    interrupted: bool = False
    detail: str = ""
    bands: tuple[tuple[int, int], ...] | None = None
    prices: Float[Tensor, "rings"] | None = None

    def summary(self) -> dict[str, Any]:
        """The result as plain numbers and words, for JSON."""
        return {
            "verdict": str(self.verdict),
            "radii": self.radii.tolist(),
            "ring_pixels": list(self.ring_pixels),
            "size": self.size,
            "limits": None if self.limits is None else self.limits.tolist(),
            "maximal": self.maximal,
            "open_rings": None if self.open_rings is None else list(self.open_rings),
            "upper_bound": self.upper_bound,
            "gap": self.gap,
            "proof": self.proof,
            "margin_bound": self.margin_bound,
            "weakest_margin": self.weakest_margin,
            "witness_rings": sorted(self.witnesses),
            "capped": list(self.capped),
            "seconds": self.seconds,
            "calls": dict(self.calls),
            "timeline": [list(point) for point in self.timeline],
            "interrupted": self.interrupted,
            "detail": self.detail,
            "bands": None if self.bands is None else [list(band) for band in self.bands],
            "prices": None if self.prices is None else self.prices.tolist(),
        }
