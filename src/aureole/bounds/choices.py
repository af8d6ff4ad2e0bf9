"""Lower bounds of rows that choose the relus' pieces, position by position.

A row over the last relus of a convolutional network is a sum over positions, each a function of its own window of the
image. There, a relu that the row wants high, `v relu(z)` with v < 0, is the smaller of 0 and `v z`: choosing one of the
two is exact where a chord is not. One that it wants low, v > 0, lies above `a v z` for every a in [0,1]: each choice of
the others may take the better end. The least linear bound over all choices of a position is a lower bound of its part;
with m relus chosen these are 2^m, while the positions only add. Where the first convolution's windows do not overlap,
its relus are chosen in the same way.

Windows of different positions may overlap: each part then takes its own worst image, and the sum of the least values is
still a lower bound, only looser. On the author's network x2 (no overlap) at radius 0.01 rows rose from -1.25 to 0.24
where the attack has 1.80 and where the solver took a minute.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from aureole.bounds.intermediate import is_local, patch_bounds
from aureole.bounds.linear import Relaxations
from aureole.bounds.ops.relu import ReluRelaxation, every_piece
from aureole.bounds.patch import Patch
from aureole.core import Graph, Region
from aureole.core.graph import Conv, Linear, MaxPool, Relu, Reshape

CHUNK_ELEMENTS = 2**21
"""Parts are taken in chunks of about so many coefficients (16 MiB in float64, which stays near the cache)."""


@dataclass(frozen=True)
class Choices:
    """How many relus are chosen at most: per position of the last relu, and per window of the first convolution.

    overlapping: whether to try where the positions' windows of the image overlap. On the author's x3, where they do,
                 nine rows took 2.6 s and rose from -7.7 .. -13.7 to -6.6 .. -13.1 only.
    """

    last: int = 5
    first: int = 3
    overlapping: bool = False


def choice_bounds(
    graph: Graph,
    region: Region,
    rows: Float[Tensor, "rows classes"],
    relaxations: Relaxations,
    choices: Choices = Choices(),
) -> Float[Tensor, "rows"] | None:
    """Lower bounds of rows over the scores on a region of batch 1; None where the network is not of this kind.

    It must end in a relu of shape (channels, height, width) that sees the image through convolutions, pools and
    additions, then linear layers.
    """
    found = _head(graph, rows)
    if found is None or (_overlap(graph, found[0]) and not choices.overlapping):
        return None
    i, rows, constant = found
    relu = relaxations[i]
    assert isinstance(relu, ReluRelaxation)
    z = graph.nodes[i].inputs[0]
    channels, height, width = graph.nodes[i].shape
    v = rows.reshape(len(rows), channels, -1).transpose(1, 2).flatten(0, 1)  # a part for every row and position
    place = torch.arange(height * width, device=rows.device).repeat(len(rows))
    values = torch.cat(
        [
            _parts(graph, region, z, part, where, relu, relaxations, choices)
            for part, where in zip(v.split(1024), place.split(1024), strict=True)
        ]
    )
    values = constant + values.reshape(len(rows), -1).sum(1)
    return torch.where(values.isfinite(), values, -torch.inf)


def _head(graph: Graph, rows: Tensor) -> tuple[int, Tensor, Tensor] | None:
    """Rows over the scores -> the last relu, the rows over it, and their constants."""
    i, constant = len(graph.nodes) - 1, rows.new_zeros(len(rows))
    while isinstance(op := graph.nodes[i].op, Linear | Reshape):
        if isinstance(op, Linear):
            rows, constant = rows @ op.weight, constant + rows @ op.bias
        i = graph.nodes[i].inputs[0]
    if not isinstance(op, Relu) or not is_local(graph, graph.nodes[i].inputs[0]):
        return None
    return i, rows, constant


def _overlap(graph: Graph, i: int) -> bool:
    """Whether two positions of node i see a common pixel."""
    size, step = [1, 1], [1, 1]
    while i:
        node = graph.nodes[i]
        if len(node.inputs) > 1:
            return True
        if isinstance(op := node.op, Conv | MaxPool):
            kernel = op.weight.shape[2:] if isinstance(op, Conv) else op.kernel
            dilation = op.dilation if isinstance(op, Conv) else (1, 1)
            for axis in (0, 1):
                size[axis] = (size[axis] - 1) * op.stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
                step[axis] *= op.stride[axis]
        i = node.inputs[0]
    return any(n > s for n, s in zip(size, step, strict=True))


def _parts(
    graph: Graph, region: Region, z: int, v: Float[Tensor, "parts channels"], place: Int[Tensor, "parts"],
    relu: ReluRelaxation, relaxations: Relaxations, choices: Choices,
) -> Float[Tensor, "parts"]:  # fmt: skip
    """The least value of `v @ relu(z)` at each position, over the choices."""
    width = graph.nodes[z].shape[2]

    def at(layer: Tensor) -> Tensor:
        return layer[0].flatten(1).T[place]

    # at least one, because patches come in pairs
    index, chosen = _largest(at(relu.offset) * v.abs(), max(1, choices.last))
    weight = v.gather(1, index) * chosen
    rest = v.scatter(1, index, torch.where(chosen, 0.0, v.gather(1, index)))
    slope = torch.where(rest < 0, at(relu.slope_high), at(relu.slope_default))
    constant = (rest.clamp(max=0) * at(relu.offset)).sum(1)
    pieces = every_piece(index.shape[1]).to(v)
    full = (rest * slope).unsqueeze(1).expand(-1, len(pieces), -1)
    full = full.scatter_add(2, index.unsqueeze(1).expand(-1, len(pieces), -1), pieces * weight.unsqueeze(1))
    half = len(pieces) // 2
    coef = full.unflatten(1, (2, half)).movedim(1, 0).flatten(1, 2)
    where = place.repeat_interleave(half)
    patch = Patch(coef[..., None, None], where // width, where % width, torch.zeros_like(where))

    def shortcut(i: int, above: Patch) -> Tensor | None:
        return _first(graph, region, i, above, relaxations, choices.first)

    values = patch_bounds(graph, region, z, patch, relaxations, shortcut)
    return constant + _least(values.unflatten(1, (-1, half)).movedim(0, 1).flatten(1), weight)


def _first(
    graph: Graph, region: Region, i: int, patch: Patch, relaxations: Relaxations, most: int
) -> Float[Tensor, "sides neurons"] | None:
    """Lower bounds of patches over the relus after the first convolution; None where its windows overlap."""
    relu, conv = relaxations.get(i), graph.nodes[graph.nodes[i].inputs[0]]
    if not isinstance(relu, ReluRelaxation) or not isinstance(conv.op, Conv) or conv.inputs[0] != 0:
        return None
    op = conv.op
    kernel = tuple(op.weight.shape[2:])
    if op.groups > 1 or any(d * (k - 1) >= s for d, k, s in zip(op.dilation, kernel, op.stride, strict=True)):
        return None

    def pixels(image: Tensor) -> Tensor:
        return F.unfold(image, kernel, op.dilation, op.padding, op.stride).unflatten(2, conv.shape[1:])

    middle, radius = region.center, region.radius
    tall = torch.cat([relu.slope_default, relu.slope_high, relu.offset, pixels(middle), pixels(radius)], 1)
    window = patch.coef.shape[-2] * patch.coef.shape[-1] * tall.shape[1] * 2 ** (most + 1)
    values = []
    for chunk in torch.arange(patch.coef.shape[1]).split(max(1, CHUNK_ELEMENTS // window)):
        part = Patch(patch.coef[:, chunk], patch.top[chunk], patch.left[chunk], patch.batch[chunk])
        layer = part.gather(tall).flatten(2).transpose(1, 2)  # chunk, windows, channels
        coef = (part.coef * part.inside(*conv.shape[1:])).flatten(3).transpose(2, 3)
        values.append(_windows(coef, layer, op, most))
    return torch.cat(values, 1)


def _windows(
    v: Float[Tensor, "2 n windows channels"], layer: Float[Tensor, "n windows stacked"], op: Conv, most: int
) -> Float[Tensor, "2 n"]:
    """The sum over windows of the least value of `v @ relu(conv(x))`; `layer` stacks lines and pixels."""
    weight, count = op.weight.flatten(1), v.shape[-1]
    low, high, offset, middle, radius = layer.split([count, count, count, weight.shape[1], weight.shape[1]], -1)
    index, chosen = _largest(offset * v.abs(), most)
    picked = v.gather(3, index) * chosen
    rest = v.scatter(3, index, torch.where(chosen, 0.0, v.gather(3, index)))
    sloped = rest * torch.where(rest < 0, high, low)
    constant = (rest.clamp(max=0) * offset).sum(-1) + sloped @ op.bias
    pieces = every_piece(index.shape[-1]).to(v)
    slopes = (pieces * picked.unsqueeze(-2)).unsqueeze(-2)  # ..., pieces, 1, chosen
    coef = (sloped @ weight).unsqueeze(-2) + (slopes @ weight[index].unsqueeze(-3)).squeeze(-2)
    value = constant.unsqueeze(-1) + (slopes.squeeze(-2) * op.bias[index].unsqueeze(-2)).sum(-1)
    value = value + (coef @ middle.unsqueeze(-1)).squeeze(-1) - (coef.abs() @ radius.unsqueeze(-1)).squeeze(-1)
    return _least(value.flatten(0, 2), picked.flatten(0, 2)).reshape(v.shape[:3]).sum(-1)


def _largest(gap: Float[Tensor, "*any channels"], most: int) -> tuple[Tensor, Tensor]:
    """The channels with the largest gaps, and whether there is a gap at all (a stable relu has none)."""
    value, index = gap.topk(min(most, gap.shape[-1]), dim=-1)
    return index, value > 0


def _least(values: Float[Tensor, "n choices"], weight: Float[Tensor, "n chosen"]) -> Float[Tensor, "n"]:
    """The least value over the pieces of relus with negative weight, of the best over those with positive weight."""
    count = weight.shape[1]
    cube = values.reshape(len(values), *[2] * count)
    flags = weight > 0
    for axis in range(count):  # for each choice of the others the better end: first all of these, then the least
        flag = flags[:, axis].reshape(-1, *[1] * count)
        cube = torch.where(flag, cube.amax(axis + 1, keepdim=True), cube)
    return cube.reshape(len(values), -1).amin(1)
