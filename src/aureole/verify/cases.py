"""Lower bounds of a sum of maxima (`maxima`) for many cases at once.

Going backward from the row, a maximum that the row wants low (coefficient a > 0) lies above every mix of its candidates
z_j. One that it wants high (a < 0) lies below a plane over the box of its z_j, or is *decided*: -max_j z_j is the least
of the -z_j, so the cases "z_j is what counts" may be bounded one by one, without any constraint between them.

Cells are bounded as windows are in `bounds.stem`: the pieces of the relus that cost most are tried together, in closed
form. Where cells share pixels each takes its own copy, and prices make the copies agree. A case may also have a part of
the pixels' box only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.bounds.ops.relu import every_piece
from aureole.verify.maxima import Cells, Maxima

PIECES = 4
"""So many relus of a cell at most have their pieces tried together."""

LEVELS = 10
"""Planes over a maximum's box that are tried for a start."""


@dataclass(frozen=True, eq=False)
class Cases:
    """What each case allows, and the free parameters of its bound; the first axis of every tensor is the case.

    allowed: for each layer, which candidates may count (among those is the largest, for every point of the case)
    mixes:   for each layer, logits of the weights below maxima
    planes:  for each layer, slopes in [0,1] of the planes above maxima
    prices:  how much each cell takes of its pixels' coefficients, besides its share
    slopes:  of the lines below the cells' relus, in [0,1]
    lower, upper: the pixels' box
    """

    allowed: tuple[Bool[Tensor, "..."], ...]
    mixes: tuple[Float[Tensor, "..."], ...]
    planes: tuple[Float[Tensor, "..."], ...]
    prices: Float[Tensor, "cases cells inputs"]
    slopes: Float[Tensor, "cases cells relus"]
    lower: Float[Tensor, "cases pixels"]
    upper: Float[Tensor, "cases pixels"]

    def __len__(self) -> int:
        return len(self.prices)

    def __getitem__(self, case: int) -> "Cases":
        """One of them."""
        return self.map(lambda t: t[case : case + 1])

    @classmethod
    def whole(cls, row: Maxima) -> "Cases":
        """One case that allows all, with the usual lines and planes."""
        mixes, planes = [], []
        for layer in row.layers:
            low, high = layer.low, layer.high
            base, top = layer.largest(low).unsqueeze(1), layer.largest(high).unsqueeze(1)
            levels = base + (top - base) * torch.linspace(0, 0.9, LEVELS).to(low)[:, None, None]
            tried = ((high - levels) / (high - low).clamp(min=1e-12)).clamp(0, 1) * layer.real
            heights = levels[..., 0] + (tried * (high - low)).sum(-1) / 2  # in the middle of the box
            planes.append(tried[heights.argmin(0), torch.arange(len(low))][None])
            middle = (low + high) / 2
            behind = (middle - layer.largest(middle).unsqueeze(1)) / (top - base).clamp(min=1e-12)
            mixes.append((8 * behind).clamp(min=-8)[None])
        box = torch.ones_like(row.objective[None, : row.pixels])
        return cls(
            tuple(layer.real[None] for layer in row.layers), tuple(mixes), tuple(planes),
            torch.zeros_like(row.cells.share)[None], (row.cells.bias > 0).to(row.cells.bias)[None], -box, box,
        )  # fmt: skip

    def map(self, change: Callable[[Tensor], Tensor]) -> "Cases":
        """Every tensor changed in the same way."""
        return Cases.combined(change, self)

    def to(self, dtype: torch.dtype) -> "Cases":
        """The same in another precision."""
        return self.map(lambda t: t.to(dtype) if t.is_floating_point() else t)

    @staticmethod
    def cat(parts: Sequence["Cases"]) -> "Cases":
        """All cases of several."""
        return Cases.combined(lambda *same: torch.cat(same), *parts)

    @staticmethod
    def combined(change: Callable[..., Tensor], *several: "Cases") -> "Cases":
        """Each tensor from those in the same place of several."""
        made: dict[str, Any] = {}
        for part in fields(Cases):
            values = [getattr(cases, part.name) for cases in several]
            layered = isinstance(values[0], tuple)
            made[part.name] = tuple(change(*same) for same in zip(*values, strict=True)) if layered else change(*values)
        return Cases(**made)


@dataclass(frozen=True, eq=False)
class Boxes:
    """What follows from the cases' boxes: pixels' middles and half widths, also cell by cell, and the relus' chords.

    center: what the relus are taken of in the middle
    """

    middle: Float[Tensor, "cases pixels"]
    half: Float[Tensor, "cases pixels"]
    cell_middle: Float[Tensor, "cases cells inputs"]
    cell_half: Float[Tensor, "cases cells inputs"]
    center: Float[Tensor, "cases cells relus"]
    unstable: Bool[Tensor, "cases cells relus"]
    chord: Float[Tensor, "cases cells relus"]
    offset: Float[Tensor, "cases cells relus"]

    @classmethod
    def of(cls, row: Maxima, cases: Cases) -> "Boxes":
        """Chords are exact where a relu does not switch in the box."""
        cells = row.cells
        middle, half = (cases.upper + cases.lower) / 2, (cases.upper - cases.lower) / 2
        cell_half = half[:, cells.pixels] * cells.real
        center, reach = row.inner(middle), torch.einsum("ncq,ckq->nck", cell_half, cells.weight.abs())
        low, high = center - reach, center + reach
        unstable = (low < 0) & (high > 0)
        chord = torch.where(unstable, high / (high - low).clamp(min=1e-12), (low >= 0).to(low))
        offset = torch.where(unstable, -chord * low, 0.0)
        return cls(middle, half, middle[:, cells.pixels] * cells.real, cell_half, center, unstable, chord, offset)


@dataclass(frozen=True, eq=False)
class Pieces:
    """The slopes of the relus' lines where the cells are least, and which of them are pieces (the others: chords)."""

    slope: Float[Tensor, "cases cells relus"]
    exact: Bool[Tensor, "cases cells relus"]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a bound is made of, for those who look for its weak places.

    falling:  for each layer, last one first: how far the row falls with each maximum (<= 0), and the plane above it:
              slopes and constant
    pieces:   where the cells are least
    cells:    coefficients of the relus, of their lines, of the pixels without and with the lines; the least values
    """

    falling: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    cells: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]] = field(default_factory=list)
    pieces: list[Pieces] = field(default_factory=list)


def bound(
    row: Maxima,
    cases: Cases,
    boxes: Boxes,
    shift: Float[Tensor, "cases pixels"] | None = None,
    seen: Seen | None = None,
    pieces: Pieces | None = None,
) -> Float[Tensor, "cases"]:
    """A lower bound of the row in each case; sound for any parameters (slopes and planes in [0,1]).

    shift:  added to the pixels' coefficients; at 0, the gradient there is a point where the bound has its minimum
    pieces: of cases much like these, to save the search for them; the value is then no bound, but nearly one
    """
    above = row.objective.expand(len(cases), -1)
    constant = above.new_full((len(cases),), row.constant)
    for i in reversed(range(len(row.layers))):
        layer, allowed = row.layers[i], cases.allowed[i]
        here = above[:, layer.here]
        rising, falling = here.clamp(min=0), here.clamp(max=0)
        weights = cases.mixes[i].masked_fill(~layer.real, -torch.inf).softmax(-1)
        plane = cases.planes[i] * allowed
        # max_j z_j - plane @ z, largest over the box of z: z_j high where j counts, low elsewhere
        tops = (layer.high - plane * (layer.high - layer.low)).masked_fill(~allowed, -torch.inf).amax(-1)
        rest = tops - (plane * layer.low).sum(-1)
        pairs = rising.unsqueeze(-1) * weights + falling.unsqueeze(-1) * plane
        constant = constant + (pairs * layer.constants).sum((1, 2)) + (falling * rest).sum(1)
        above = above[:, : layer.first] + layer.slopes.down(pairs.flatten(1))
        if seen is not None:
            seen.falling.append((falling, plane, rest))
    pixels = above[:, : row.pixels] if shift is None else above[:, : row.pixels] + shift
    free = ((pixels * boxes.middle - pixels.abs() * boxes.half) * ~row.cells.covered).sum(1)
    return constant + free + _cells(row.cells, above, pixels, cases, boxes, seen, pieces)


def _cells(
    cells: Cells,
    above: Tensor,
    pixels: Tensor,
    cases: Cases,
    boxes: Boxes,
    seen: Seen | None,
    pieces: Pieces | None,
) -> Float[Tensor, "cases"]:
    """The sum of the cells' least values."""
    if not len(cells):
        return pixels.new_zeros(len(cases))
    v = above[:, cells.units] * cells.alive  # cases, cells, relus
    price = cases.prices * cells.real
    taken = torch.zeros_like(pixels).index_add(1, cells.pixels.flatten(), price.flatten(1))
    shares = (pixels - taken)[:, cells.pixels] * cells.share + price
    if pieces is None:
        with torch.no_grad():  # where the least piece stays the same, so does the gradient
            pieces = _least_pieces(cells, v, shares, cases.slopes, boxes)
    tilt = v * torch.where((v > 0) & boxes.unstable, cases.slopes, pieces.slope)
    offset = boxes.offset.masked_fill(pieces.exact, 0.0)
    lines = shares + _through(tilt, cells.weight)
    least = (tilt * boxes.center).sum(-1) + (v.clamp(max=0) * offset).sum(-1)
    least = least + (shares * boxes.cell_middle).sum(-1) - (lines.abs() * boxes.cell_half).sum(-1)
    if seen is not None:
        seen.cells.append((v, tilt, shares, lines, least))
        seen.pieces.append(pieces)
    return least.sum(1)


def _least_pieces(cells: Cells, v: Tensor, shares: Tensor, slopes: Tensor, boxes: Boxes) -> Pieces:
    """The relus' lines where each cell is least: of those wanted high, the ones whose chords cost most try pieces."""
    slope = torch.where((v > 0) & boxes.unstable, slopes, boxes.chord)
    free = (v < 0) & boxes.unstable
    if v.shape[2] <= PIECES:
        pieces = every_piece(v.shape[2]).to(v)
        tried = torch.where(free.unsqueeze(2), pieces, slope.unsqueeze(2))  # cases, cells, pieces, relus
    else:
        index = (boxes.offset * (-v).clamp(min=0)).topk(PIECES, -1).indices
        free = torch.zeros_like(free).scatter(2, index, free.gather(2, index))
        pieces = every_piece(PIECES).to(v)
        some = torch.where(free.gather(2, index).unsqueeze(2), pieces, slope.gather(2, index).unsqueeze(2))
        every = slope.unsqueeze(2).expand(-1, -1, len(pieces), -1)
        tried = every.scatter(3, index.unsqueeze(2).expand(-1, -1, len(pieces), -1), some)
    tilts = tried * v.unsqueeze(2)
    lines = _through(tilts.transpose(1, 2).flatten(0, 1), cells.weight).unflatten(0, (len(v), -1)).transpose(1, 2)
    lines = lines + shares.unsqueeze(2)
    value = (tilts @ boxes.center.unsqueeze(-1) - lines.abs_() @ boxes.cell_half.unsqueeze(-1)).squeeze(-1)
    least = value.argmin(-1)[..., None, None].expand(-1, -1, 1, v.shape[2])
    return Pieces(tried.gather(2, least).squeeze(2), free)


def _through(
    tilt: Float[Tensor, "any cells relus"], weight: Float[Tensor, "cells relus inputs"]
) -> Float[Tensor, "any cells inputs"]:
    return torch.bmm(tilt.transpose(0, 1), weight).transpose(0, 1)
