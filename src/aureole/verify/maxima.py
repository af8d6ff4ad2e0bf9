"""A row of a network over a box as a sum of maxima of affine functions, as dense tensors.

Every relu and pool is `y = max_j z_j` with z_j affine in the pixels and in maxima before it (0 counts as one of them).
The first relus are grouped into *cells*: those that read the same pixels. `cases` bounds such a sum, `tree` searches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor

from aureole.verify.encoding import Composed, Maximum
from aureole.verify.table import Table

WIDE = 2
"""Relus that read the pixels alone are in no cell if they read so many times more of them than most."""


@dataclass(frozen=True, eq=False)
class Layer:
    """Maxima over the variables before them: pixels first, then the maxima of earlier layers.

    slopes:    pairs of unit and candidate x variables before
    low, high: of each candidate
    real:      which candidates are none that pad
    first:     the position of the layer's first unit among all variables
    """

    slopes: Table
    constants: Float[Tensor, "units candidates"]
    low: Float[Tensor, "units candidates"]
    high: Float[Tensor, "units candidates"]
    real: Bool[Tensor, "units candidates"]
    first: int

    @property
    def here(self) -> slice:
        """Where its units lie among all variables."""
        return slice(self.first, self.first + len(self.constants))

    def largest(self, candidates: Float[Tensor, "*any units candidates"]) -> Float[Tensor, "*any units"]:
        """The maximum over the candidates of each unit."""
        return candidates.masked_fill(~self.real, -torch.inf).amax(-1)


@dataclass(frozen=True, eq=False)
class Cells:
    """Relus that read the pixels alone, grouped by which; padded with zeros.

    units, pixels: positions among the variables
    alive, real:   which relus and inputs are none that pad
    share:         of a pixel's coefficient, what each cell takes at first: one over the number of cells that read it
    covered:       the pixels that some cell reads
    """

    weight: Float[Tensor, "cells relus inputs"]
    bias: Float[Tensor, "cells relus"]
    units: Int[Tensor, "cells relus"]
    pixels: Int[Tensor, "cells inputs"]
    alive: Bool[Tensor, "cells relus"]
    real: Bool[Tensor, "cells inputs"]
    share: Float[Tensor, "cells inputs"]
    covered: Bool[Tensor, "pixels"]

    def __len__(self) -> int:
        return len(self.bias)


@dataclass(frozen=True, eq=False)
class Maxima:
    """A row as `objective @ variables + constant`; the variables are pixels in [-1, 1], then maxima, cells first."""

    pixels: int
    cells: Cells
    layers: tuple[Layer, ...]
    objective: Float[Tensor, "variables"]
    constant: float

    @classmethod
    def of(cls, row: Composed, prices: np.ndarray) -> "Maxima":
        """A row plus `prices @ (image - middle)`, one price per pixel of the image."""
        moved = row.pixels.moved
        depth: dict[int, int] = {}
        for m in row.maxima:
            depth[m.y] = 1 + max((depth.get(int(c), 0) for columns, _ in m.terms for c in columns), default=0)
        first = [m for m in row.maxima if depth[m.y] == 1 and m.zero and len(m.terms) == 1]
        usual = WIDE * (median(len(m.terms[0][0]) for m in first) if first else 0)
        first = [m for m in first if len(m.terms[0][0]) <= usual]
        taken = {m.y for m in first}
        later = sorted((m for m in row.maxima if m.y not in taken), key=lambda m: depth[m.y])
        place = {i: i for i in range(len(moved))}
        place |= {m.y: len(moved) + i for i, m in enumerate([*first, *later])}
        groups = [[m for m in later if depth[m.y] == d] for d in sorted({depth[m.y] for m in later})]
        objective = np.zeros(len(place))
        objective[[place[int(column)] for column in row.terms[0]]] = row.terms[1]
        objective[: len(moved)] += (prices * row.pixels.radius)[moved]
        layers = tuple(_layer(group, place) for group in groups)
        return cls(len(moved), _cells(first, place, len(moved)), layers, torch.from_numpy(objective), row.constant)

    def to(self, dtype: torch.dtype) -> "Maxima":
        """The same in another precision."""
        layers = tuple(_cast(layer, dtype) for layer in self.layers)
        return replace(self, cells=_cast(self.cells, dtype), layers=layers, objective=self.objective.to(dtype))

    def at(
        self, points: Float[Tensor, "points pixels"]
    ) -> tuple[Float[Tensor, "points"], list[Float[Tensor, "points units candidates"]]]:
        """The row's value, and every layer's candidates."""
        cells = self.cells
        values = torch.cat([points, points.new_zeros(len(points), len(self.objective) - self.pixels)], 1)
        if len(cells):
            values[:, cells.units[cells.alive]] = self.inner(points)[:, cells.alive].relu()
        candidates = []
        for layer in self.layers:
            z = layer.slopes.up(values[:, : layer.first]).unflatten(1, layer.constants.shape) + layer.constants
            values[:, layer.here] = layer.largest(z)
            candidates.append(z)
        return values @ self.objective + self.constant, candidates

    def inner(self, points: Float[Tensor, "points pixels"]) -> Float[Tensor, "points cells relus"]:
        """What the cells' relus are taken of."""
        return torch.einsum("ncq,ckq->nck", points[:, self.cells.pixels], self.cells.weight) + self.cells.bias


Part = TypeVar("Part", Layer, Cells)


def _cast(part: Part, dtype: torch.dtype) -> Part:
    values: dict[str, Any] = {f.name: getattr(part, f.name) for f in fields(part)}
    changed: dict[str, Any] = {
        n: v.to(dtype)
        for n, v in values.items()
        if isinstance(v, Table) or (isinstance(v, Tensor) and v.is_floating_point())
    }
    return replace(part, **changed)


def _layer(group: Sequence[Maximum], place: Mapping[int, int]) -> Layer:
    first = place[group[0].y]
    most = max(len(m.terms) + m.zero for m in group)
    constants, low, high = (np.zeros((len(group), most)) for _ in range(3))
    real = np.zeros((len(group), most), dtype=bool)
    terms = [
        (u * most + j, place[int(c)], float(v))
        for u, m in enumerate(group)
        for j, (columns, values) in enumerate(m.terms)
        for c, v in zip(columns, values, strict=True)
    ]
    rows, columns, values = (np.array(part) for part in zip(*terms, strict=True)) if terms else (np.empty(0),) * 3
    slopes = csr_matrix((values, (rows, columns)), shape=(len(group) * most, first))
    for u, m in enumerate(group):
        n = len(m.terms)
        constants[u, :n], low[u, :n], high[u, :n] = m.constants, m.low, m.high
        real[u, : n + m.zero] = True
    t = torch.from_numpy
    return Layer(Table.of(slopes), t(constants), t(low), t(high), t(real), first)


def _cells(group: Sequence[Maximum], place: Mapping[int, int], pixels: int) -> Cells:
    found: dict[tuple[int, ...], list[Maximum]] = {}
    for m in group:
        found.setdefault(tuple(sorted({int(c) for c in m.terms[0][0]})), []).append(m)
    relus = max((len(members) for members in found.values()), default=0)
    inputs = max((len(key) for key in found), default=0)
    weight, bias = np.zeros((len(found), relus, inputs)), np.zeros((len(found), relus))
    units, alive = np.zeros(bias.shape, dtype=np.int64), np.zeros(bias.shape, dtype=bool)
    where, real = np.zeros((len(found), inputs), dtype=np.int64), np.zeros((len(found), inputs), dtype=bool)
    for c, (key, members) in enumerate(found.items()):
        where[c, : len(key)], real[c, : len(key)] = key, True
        for k, m in enumerate(members):
            columns, values = m.terms[0]
            np.add.at(weight[c, k], np.searchsorted(key, columns), values)
            bias[c, k], units[c, k], alive[c, k] = m.constants[0], place[m.y], True
    readers = np.bincount(where[real], minlength=pixels)
    share = real / np.maximum(readers[where], 1) if pixels else real.astype(float)
    t = torch.from_numpy
    return Cells(t(weight), t(bias), t(units), t(where), t(alive), t(real), t(share), t(readers > 0))
