"""Sigmoid and Tanh: a chord or a tangent on either side, the point of contact free (CROWN, Zhang et al. 2018).

Both are odd about (0, f(0)), convex below 0 and concave above. On [l, u], with `turn` the point >= 0 whose tangent
meets the graph again at l (0 where l >= 0):

* u <= turn: the chord lies above f;
* else every tangent at p in [max(turn, l), u] does. Its largest error is least near the middle, which is the default.

Below, the same on [-u, -l]. No line is trusted: given its slope, its offset is raised until it clears f at the ends and
at the point of contact, where `f(x) - slope x` has its maximum, and by `ALLOWANCE` for rounding.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.bounds.interval import Interval
from aureole.bounds.patch import Patch
from aureole.core.graph import Node, Sigmoid, apply

ALLOWANCE = 16.0
"""How far lines are moved outwards, in units in the last place of 1 + max(|l|, |u|).

f is taken to be right to 4 of them (torch's are to 2), its slope then is to 3, and the line through two points of the
graph to 5; the products and sums of an offset add at most 2 (`tests/bounds` measures all this in rational arithmetic).
"""

HALVINGS = 40
"""Of the search for `turn`: it is exact to float64, and nothing but tightness depends on it."""


def squash_interval(node: Node, inputs: list[Interval]) -> Interval:
    """Monotone: both limits through the operator, moved outwards by its rounding."""
    lower, upper = (apply(node.op, [limit], node.shape) for limit in (inputs[0].lower, inputs[0].upper))
    spare = 4 * torch.finfo(lower.dtype).eps
    least = 0.0 if isinstance(node.op, Sigmoid) else -1.0
    return Interval((lower - spare).clamp(min=least), (upper + spare).clamp(max=1.0))


@dataclass(frozen=True, eq=False)
class _Above:
    """Lines above `f` on [lower, upper]; those below it are the mirror image, by `f(-x) = 2 f(0) - f(x)`.

    turn: the least point of contact of a tangent; curved: where tangents are used, not the chord
    """

    node: Node
    lower: Float[Tensor, "batch *shape"]
    upper: Float[Tensor, "batch *shape"]
    turn: Float[Tensor, "batch *shape"]
    curved: Bool[Tensor, "batch *shape"]

    @classmethod
    def of(cls, node: Node, lower: Tensor, upper: Tensor) -> "_Above":
        with torch.no_grad():
            low, high = torch.zeros_like(lower), upper.clamp(min=0)
            value = apply(node.op, [lower], node.shape)
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                clears = _value(node, middle) + _slope(node, middle) * (lower - middle) >= value
                low, high = torch.where(clears, low, middle), torch.where(clears, middle, high)
            turn = torch.maximum(high, lower)
        return cls(node, lower, upper, turn, (turn < upper) & (upper > 0))

    def default(self) -> Float[Tensor, "batch *shape"]:
        """The default point of contact as a share of the way from `turn` to the upper end."""
        middle = torch.maximum((self.lower + self.upper) / 2, self.turn)
        room = torch.where(self.curved, self.upper - self.turn, torch.ones_like(middle))
        return torch.where(self.curved, (middle - self.turn) / room, torch.zeros_like(middle)).clamp(0, 1)

    def lines(self, share: Float[Tensor, "batch rows *shape"]) -> tuple[Tensor, Tensor]:
        """Slope and offset for points of contact at the given shares, with an axis for rows."""
        lower, upper = self.lower.unsqueeze(1), self.upper.unsqueeze(1)
        curved, turn = self.curved.unsqueeze(1), self.turn.unsqueeze(1)
        contact = torch.where(curved, turn + share.clamp(0, 1) * (upper - turn), upper)
        at_low, at_high, at_contact = (_value(self.node, x) for x in (lower, upper, contact))
        wide = upper > lower
        chord = (at_high - at_low) / torch.where(wide, upper - lower, torch.ones_like(lower))
        tangent = _slope(self.node, contact)
        slope = torch.where(curved | ~wide, tangent, chord).clamp(0, 1)
        offset = torch.maximum(at_low - slope * lower, at_high - slope * upper)
        offset = torch.maximum(offset, torch.where(curved, at_contact - slope * contact, offset))
        reach = 1 + torch.maximum(lower.abs(), upper.abs())
        return slope, offset + ALLOWANCE * torch.finfo(lower.dtype).eps * reach


def _value(node: Node, x: Tensor) -> Tensor:
    return apply(node.op, [x], node.shape)


def _slope(node: Node, x: Tensor) -> Tensor:
    value = _value(node, x)
    return value * (1 - value) if isinstance(node.op, Sigmoid) else 1 - value * value


@dataclass(frozen=True, eq=False)
class SquashRelaxation:
    """Lines above and below; `center` is 2 f(0)."""

    above: _Above
    mirrored: _Above
    center: float

    @classmethod
    def of(cls, node: Node, z: Interval) -> "SquashRelaxation":
        """From proved bounds of the operator's input."""
        center = 1.0 if isinstance(node.op, Sigmoid) else 0.0
        return cls(_Above.of(node, z.lower, z.upper), _Above.of(node, -z.upper, -z.lower), center)

    def parameters(self, rows: int) -> dict[str, Float[Tensor, "batch rows *shape"]]:
        """Where the lines touch, as shares in [0,1], at their default; one set per row."""
        shares = {"touch_high": self.above.default(), "touch_low": self.mirrored.default()}
        return {n: v.detach().unsqueeze(1).expand(-1, rows, *v.shape[1:]).clone() for n, v in shares.items()}

    def lines(self, parameters: dict[str, Tensor] | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Slope and offset of the lower line, slope and offset of the upper one."""
        given = parameters if parameters is not None else self.parameters(1)
        high, high_offset = self.above.lines(given["touch_high"])
        low, low_offset = self.mirrored.lines(given["touch_low"])
        return low, self.center - low_offset, high, high_offset

    def rows(
        self, rows: Float[Tensor, "batch rows *shape"], parameters: dict[str, Tensor] | None
    ) -> tuple[Float[Tensor, "batch rows *shape"], Float[Tensor, "batch rows"]]:
        """Coefficients over the operator's output -> over its input, as lower bounds."""
        low, low_offset, high, high_offset = self.lines(parameters)
        negative = rows.clamp(max=0)
        positive = rows - negative
        return positive * low + negative * high, (positive * low_offset + negative * high_offset).flatten(2).sum(-1)

    def patch(self, patch: Patch) -> tuple[Patch, Float[Tensor, "sides neurons"]]:
        """The same on patches, with default points of contact."""
        lines = torch.cat([part.squeeze(1) for part in self.lines(None)], 1)
        low, low_offset, high, high_offset = patch.gather(lines).chunk(4, 1)
        negative = patch.coef.clamp(max=0)
        positive = patch.coef - negative
        constant = (positive * low_offset + negative * high_offset).flatten(2).sum(-1)
        return Patch(positive * low + negative * high, patch.top, patch.left, patch.batch), constant
