"""Relu: exact where the sign is known, a triangle elsewhere (CROWN, Zhang et al. 2018)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.bounds.interval import Interval
from aureole.bounds.patch import Patch
from aureole.core.graph import Node


def relu_interval(node: Node, inputs: list[Interval]) -> Interval:
    """Monotone: both limits through the relu."""
    return Interval(inputs[0].lower.relu(), inputs[0].upper.relu())


@dataclass(frozen=True, eq=False)
class ReluRelaxation:
    """`slope_low z <= relu(z) <= slope_high z + offset`, where slope_low is free in [0,1] if z is unstable."""

    unstable: Bool[Tensor, "batch *shape"]
    slope_high: Float[Tensor, "batch *shape"]
    offset: Float[Tensor, "batch *shape"]
    slope_default: Float[Tensor, "batch *shape"]

    @classmethod
    def of(cls, node: Node, z: Interval) -> "ReluRelaxation":
        """From proved bounds of the relu's input."""
        unstable = z.unstable
        width = torch.where(unstable, z.upper - z.lower, torch.ones_like(z.upper))
        active = (z.lower >= 0).to(z.lower)
        slope = torch.where(unstable, z.upper / width, active)
        offset = torch.where(unstable, -z.lower * slope, torch.zeros_like(slope))
        # the lower line with the smaller area under the triangle
        default = torch.where(unstable, (z.upper > -z.lower).to(z.lower), active)
        return cls(unstable, slope, offset, default)

    def parameters(self, rows: int) -> dict[str, Float[Tensor, "batch rows *shape"]]:
        """The free slopes at their default, one set per row."""
        alpha = self.slope_default.unsqueeze(1)
        return {"alpha": alpha.expand(-1, rows, *alpha.shape[2:]).clone()}

    def rows(
        self, rows: Float[Tensor, "batch rows *shape"], parameters: dict[str, Tensor] | None
    ) -> tuple[Float[Tensor, "batch rows *shape"], Float[Tensor, "batch rows"]]:
        """Coefficients over the relu's output -> over its input, as lower bounds."""
        high = self.slope_high.unsqueeze(1)
        if parameters is None:
            low = self.slope_default.unsqueeze(1)
        else:
            low = torch.where(self.unstable.unsqueeze(1), parameters["alpha"], high)
        negative = rows.clamp(max=0)
        lowered = (rows - negative) * low + negative * high
        return lowered, (negative.flatten(2) @ self.offset.flatten(1).unsqueeze(-1)).squeeze(-1)

    def patch(self, patch: Patch) -> tuple[Patch, Float[Tensor, "sides neurons"]]:
        """`rows` on patches."""
        lines = torch.cat([self.slope_default, self.slope_high, self.offset], 1)
        low, high, offset = patch.gather(lines).chunk(3, 1)
        negative = patch.coef.clamp(max=0)
        lowered = (patch.coef - negative) * low + negative * high
        return Patch(lowered, patch.top, patch.left, patch.batch), (negative * offset).flatten(2).sum(-1)


def every_piece(count: int) -> Float[Tensor, "choices count"]:
    """All slopes 0 and 1 of so many relus; the first varies slowest."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * count).reshape(-1, count) if count else torch.zeros(1, 0)
