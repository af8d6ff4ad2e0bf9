"""Max-pooling, alone or with a floor at zero (a relu before or after it).

For y = max_j z_j over a window with z_j in [l_j, u_j] and m = max_j l_j (with the floor: also 0):

* candidates are the j with u_j > m and the input that attains m; nothing else can be the maximum;
* lower: y >= sum_j mu_j z_j for any mu >= 0 with sum 1 (the floor is one more candidate, of value 0);
* upper: y <= c + sum_j (u_j - c)+ / (u_j - l_j) (z_j - l_j) for any level c in [m, max u], because
  max_j z_j <= c + sum_j (z_j - c)+ and the chord of (z_j - c)+ lies above it. At the same level this is never looser
  than mixing its two ends c = m and c = max u; and with the floor it is tighter than a pool followed by a relu.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.bounds.interval import Interval
from aureole.bounds.patch import Patch
from aureole.core.graph import MaxPool, Node, apply

Windows = Float[Tensor, "*lead channels inputs outputs"]


def pool_interval(node: Node, inputs: list[Interval]) -> Interval:
    """Monotone: both limits through the pool."""
    lower = apply(node.op, [inputs[0].lower], node.shape)
    return Interval(lower, apply(node.op, [inputs[0].upper], node.shape))


def to_windows(
    layer: Float[Tensor, "*lead channels H W"], op: MaxPool, fill: float = 0.0
) -> Float[Tensor, "*lead channels inputs outputs"]:
    """Every window's inputs; `fill` stands for padding."""
    (kh, kw), (ph, pw) = op.kernel, op.padding
    height, width = layer.shape[-2:]
    lead = layer.shape[:-2]
    if op.stride == op.kernel and op.padding == (0, 0):  # windows are disjoint: no copy beyond a transpose
        oh, ow = height // kh, width // kw
        blocks = layer[..., : oh * kh, : ow * kw].reshape(*lead, oh, kh, ow, kw)
        return blocks.movedim((-3, -1), (-4, -3)).reshape(*lead, kh * kw, oh * ow)
    padded = F.pad(layer.reshape(-1, 1, height, width), (pw, pw, ph, ph), value=fill)
    return F.unfold(padded, op.kernel, stride=op.stride).unflatten(0, lead)


def from_windows(
    windows: Float[Tensor, "*lead channels inputs outputs"], op: MaxPool, height: int, width: int
) -> Float[Tensor, "*lead channels {height} {width}"]:
    """The transpose of `to_windows`: what belongs to one input is added up."""
    lead = windows.shape[:-2]
    (kh, kw), (oh, ow) = op.kernel, (height // op.kernel[0], width // op.kernel[1])
    if op.stride == op.kernel and op.padding == (0, 0) and (oh * kh, ow * kw) == (height, width):
        return windows.reshape(*lead, kh, kw, oh, ow).movedim((-4, -3), (-3, -1)).reshape(*lead, height, width)
    flat = windows.reshape(-1, *windows.shape[-2:])
    return F.fold(flat, (height, width), op.kernel, padding=op.padding, stride=op.stride).reshape(*lead, height, width)


@dataclass(frozen=True, eq=False)
class PoolRelaxation:
    """Bounds of one pooling layer's windows; see the formulas at the top of this file."""

    op: MaxPool
    below: tuple[int, ...]
    above: tuple[int, ...]
    lower: Float[Tensor, "batch channels inputs outputs"]
    upper: Float[Tensor, "batch channels inputs outputs"]
    candidates: Bool[Tensor, "batch channels inputs outputs"]
    floor: Float[Tensor, "batch channels outputs"]
    top: Float[Tensor, "batch channels outputs"]
    zero: Bool[Tensor, "batch channels outputs"]  # the rectifier's 0 may be the maximum

    @classmethod
    def of(cls, node: Node, z: Interval) -> "PoolRelaxation":
        """From proved bounds of the pool's input."""
        op = node.op
        assert isinstance(op, MaxPool)
        lower, upper = to_windows(z.lower, op, -torch.inf), to_windows(z.upper, op, -torch.inf)
        best, winner = lower.max(-2)
        zero = (best < 0) if op.rectify else torch.zeros_like(best, dtype=torch.bool)
        floor = torch.where(zero, torch.zeros_like(best), best)
        attains = F.one_hot(winner, lower.shape[-2]).movedim(-1, -2).bool() & ~zero.unsqueeze(-2)
        candidates = (upper > floor.unsqueeze(-2)) | attains
        top = torch.maximum(upper.amax(-2), floor)
        pad = ~lower.isfinite()
        return cls(
            op, tuple(z.lower.shape[1:]), node.shape, lower.masked_fill(pad, 0), upper.masked_fill(pad, 0),
            candidates & ~pad, floor, top, zero,
        )  # fmt: skip

    def parameters(self, rows: int) -> dict[str, Tensor]:
        """Pool weights' logits (the floor's last) and level in [0,1] at their default, one set per row."""
        logits = torch.where(self.candidates, self.lower - self.floor.unsqueeze(-2), 0.0)
        scale = (self.top - self.floor).clamp(min=1e-12).unsqueeze(-2)
        logits = torch.cat([logits, torch.zeros_like(scale)], -2) * (4 / scale)
        level = (self._default_level() - self.floor) / scale.squeeze(-2)
        values = {"mu": logits, "level": level.clamp(0, 1)}
        return {name: v.detach().unsqueeze(1).expand(-1, rows, *v.shape[1:]).clone() for name, v in values.items()}

    def _default_level(self) -> Float[Tensor, "batch channels outputs"]:
        """The level with the lowest upper bound at the box's middle: the third largest u_j, at least m."""
        if self.upper.shape[-2] < 3:
            return self.floor
        reach = torch.where(self.candidates, self.upper, self.floor.unsqueeze(-2))
        return torch.maximum(reach.topk(3, dim=-2).values[..., 2, :], self.floor)

    def _lines(
        self, parameters: dict[str, Tensor] | None
    ) -> tuple[Windows, Windows, Float[Tensor, "*lead channels outputs"]]:
        """Lower slopes, upper slopes and the upper line's constant, with a row axis (of 1 for the defaults)."""
        lower, upper = self.lower.unsqueeze(1), self.upper.unsqueeze(1)
        candidates, floor = self.candidates.unsqueeze(1), self.floor.unsqueeze(1)
        if parameters is None:
            best = torch.where(candidates, lower, -torch.inf).argmax(-2)
            low = F.one_hot(best, lower.shape[-2]).movedim(-1, -2).to(lower)
            leaning = torch.where(candidates, upper + lower, -torch.inf).amax(-2) > 0
            low = low * (leaning | ~self.zero.unsqueeze(1)).unsqueeze(-2)
            level = self._default_level().unsqueeze(1)
        else:
            open_ = torch.cat([candidates, self.zero.unsqueeze(1).unsqueeze(-2)], -2)
            low = parameters["mu"].masked_fill(~open_, -torch.inf).softmax(-2)[..., :-1, :]
            level = floor + parameters["level"] * (self.top.unsqueeze(1) - floor)
        width = torch.where(candidates & (upper > lower), upper - lower, torch.ones_like(lower))
        high = (upper - level.unsqueeze(-2)).clamp(min=0) / width * (candidates & (upper > lower))
        # an input of no width that attains m is already counted in the level
        return low, high, level - (high * lower).sum(-2)

    def rows(
        self, rows: Float[Tensor, "batch rows channels h w"], parameters: dict[str, Tensor] | None
    ) -> tuple[Float[Tensor, "batch rows channels H W"], Float[Tensor, "batch rows"]]:
        """Coefficients over the pool's output -> over its input, as lower bounds."""
        low, high, constant = self._lines(parameters)
        flat = rows.flatten(-2)
        negative = flat.clamp(max=0)
        windows = (flat - negative).unsqueeze(-2) * low + negative.unsqueeze(-2) * high
        return from_windows(windows, self.op, *self.below[1:]), (negative * constant).sum((-1, -2))

    def patch(self, patch: Patch) -> tuple[Patch, Float[Tensor, "sides neurons"]]:
        """The same on patches, with default parameters."""
        low, high, constant = (part.squeeze(1) for part in self._lines(None))
        inputs, (h, w) = low.shape[-2], patch.coef.shape[-2:]
        height, width = self.above[1:]
        lines = torch.cat([low.flatten(1, 2), high.flatten(1, 2), constant], 1).unflatten(-1, (height, width))
        gathered = patch.gather(lines)
        channels = constant.shape[1]
        low, high, constant = gathered.split([channels * inputs, channels * inputs, channels], 1)
        negative = patch.coef.clamp(max=0)

        def over_inputs(coef: Tensor, slopes: Tensor) -> Tensor:
            return coef.unsqueeze(3) * slopes.unflatten(1, (channels, inputs))

        windows = over_inputs(patch.coef - negative, low) + over_inputs(negative, high)
        size = tuple((n - 1) * s + k for n, s, k in zip((h, w), self.op.stride, self.op.kernel, strict=True))
        folded = F.fold(windows.reshape(-1, channels * inputs, h * w), size, self.op.kernel, stride=self.op.stride)
        below = Patch(
            folded.reshape(2, -1, channels, *size),
            patch.top * self.op.stride[0] - self.op.padding[0],
            patch.left * self.op.stride[1] - self.op.padding[1],
            patch.batch,
        )
        return below, (negative * constant).flatten(2).sum(-1)
