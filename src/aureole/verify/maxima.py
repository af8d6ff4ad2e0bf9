"""Rows over a network's scores, on a box, as sums of maxima of affine functions (`cases.Maxima`).

Every relu and pool is `y = max_j z_j` with z_j affine in the pixels and in maxima before it (0 counts as one of them).
The first relus are grouped into cells: those that read the same pixels. `cases` bounds such a sum, `tree` searches.
"""

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import chain
from statistics import median
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from aureole.verify.cases import Cases, Maxima
from aureole.verify.encoding import Composed, Maximum, Pixels

WIDE = 2
"""Relus that read the pixels alone are in no cell if they read so many times more of them than most."""

LEVELS = np.linspace(0, 0.9, 10)[:, None]
"""Planes over a maximum's ranges that are tried for a start, by how far up their kink lies."""

NONE = (np.empty(0, dtype=np.int64), np.empty(0))
"""The candidate 0."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Rows over a network's scores as sums of the same maxima.

    parts:     without objective
    matrix, constants: the scores over the variables of `parts`
    pixels:    what its pixels are
    at:        by the node of a relu or pool, which of the variables are its values, and at which places of the node
    """

    parts: Maxima
    matrix: csr_matrix
    constants: Float[np.ndarray, "scores"]
    pixels: Pixels
    at: Mapping[int, tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]]

    @classmethod
    def of(cls, scores: Composed) -> "Sums":
        """Every score of a network, or of its part."""
        moved = len(scores.pixels.moved)
        depth = np.zeros(moved + len(scores.maxima), dtype=np.int64)
        for m in scores.maxima:
            depth[m.y] = 1 + max((depth[columns].max(initial=0) for columns, _ in m.terms), default=0)
        cells = _cells([m for m in scores.maxima if depth[m.y] == 1 and m.zero and len(m.terms) == 1])
        first = list(chain(*cells.values()))
        taken = {m.y for m in first}
        later = sorted((m for m in scores.maxima if m.y not in taken), key=lambda m: depth[m.y])
        order = np.array([*range(moved), *(m.y for m in [*first, *later])], dtype=np.int64)
        place = np.argsort(order)
        reads = _joined(cells, np.int64)
        readers = np.bincount(reads, minlength=moved)
        weight = np.zeros((len(first), max((len(key) for key in cells), default=0)))
        for r, (key, m) in enumerate((key, m) for key, members in cells.items() for m in members):
            np.add.at(weight[r], np.searchsorted(key, m.terms[0][0]), m.terms[0][1])
        candidates = [part for m in later for part in (*m.terms, *[NONE] * m.zero)]
        parts = Maxima(
            objective=np.zeros(len(order)),
            constant=0.0,
            relus=_starts(cells.values()),
            inputs=_starts(cells),
            reads=reads,
            share=1 / readers[reads],
            covered=readers > 0,
            weight=weight,
            bias=np.array([m.constants[0] for m in first], dtype=np.float64),
            starts=_starts([[*m.terms, *[NONE] * m.zero] for m in later]),
            rows=_starts([columns for columns, _ in candidates]),
            columns=place[_joined((columns for columns, _ in candidates), np.int64)],
            slopes=_joined((values for _, values in candidates), np.float64),
            constants=_joined((np.append(m.constants, [0.0] * m.zero) for m in later), np.float64),
            low=_joined((np.append(m.low, [0.0] * m.zero) for m in later), np.float64),
            high=_joined((np.append(m.high, [0.0] * m.zero) for m in later), np.float64),
        )
        named = [(*m.at, place[m.y]) for m in scores.maxima if m.at is not None]
        at = {
            node: (np.array([y for i, _, y in named if i == node]), np.array([n for i, n, _ in named if i == node]))
            for node in {i for i, _, _ in named}
        }
        return cls(parts, csr_matrix(scores.matrix[:, order]), scores.constants, scores.pixels, at)

    def row(
        self,
        weights: Float[np.ndarray, "scores"],
        prices: Float[np.ndarray, "all"],
        inner: Mapping[int, Float[np.ndarray, "_"]] = MappingProxyType({}),
    ) -> Maxima:
        """`weights @ scores + prices @ (image - middle)`, one price per pixel of the image.

        Pixels that the scores do not depend on are taken where they cost least.

        inner: prices of a node's values, too, which count where these are variables
        """
        objective = weights @ self.matrix
        for node, (variables, places) in self.at.items():
            if node in inner:
                objective[variables] += inner[node][places]
        priced = prices * self.pixels.radius
        objective[: self.parts.pixels] += priced[self.pixels.moved]
        alone = np.abs(np.delete(priced, self.pixels.moved)).sum()
        return self.parts._replace(objective=objective, constant=float(weights @ self.constants - alone))


def whole(row: Maxima) -> Cases:
    """One case that allows all, with the usual lines and planes."""
    mixes, planes = np.empty_like(row.low), np.empty_like(row.low)
    for begin, end in zip(row.starts, row.starts[1:], strict=False):
        low, high = row.low[begin:end], row.high[begin:end]
        base, top = low.max(), high.max()
        tried = np.clip((high - (base + (top - base) * LEVELS)) / np.maximum(high - low, 1e-12), 0, 1)
        heights = (base + (top - base) * LEVELS[:, 0]) + (tried * (high - low)).sum(1) / 2  # in the box's middle
        planes[begin:end] = tried[heights.argmin()]
        middle = (low + high) / 2
        mixes[begin:end] = np.maximum(8 * (middle - middle.max()) / max(top - base, 1e-12), -8)
    slopes, prices = (row.bias > 0).astype(float), np.zeros_like(row.share)
    parameters = np.concatenate([mixes, planes, slopes, prices]).astype(np.float32)
    box = np.ones((1, row.pixels), dtype=np.float32)
    return Cases(np.ones((1, len(row.low)), dtype=np.bool_), parameters[None], -box, box)


def contents(row: Maxima) -> bytes:
    """Equal for equal rows: what is found of one holds for the other."""
    return b"|".join(np.asarray(field).tobytes() for field in row)


def _cells(relus: Sequence[Maximum]) -> dict[tuple[int, ...], list[Maximum]]:
    """By the pixels they read, without those that read many more than most."""
    usual = WIDE * (median(len(m.terms[0][0]) for m in relus) if relus else 0)
    found: dict[tuple[int, ...], list[Maximum]] = {}
    for m in relus:
        if len(m.terms[0][0]) <= usual:
            found.setdefault(tuple(np.unique(m.terms[0][0]).tolist()), []).append(m)
    return found


def _starts(groups: Iterable[Sized]) -> Int[np.ndarray, "_"]:
    """Where each group begins when they stand in a row, and the end."""
    return np.cumsum([0, *map(len, groups)])


def _joined(parts: Iterable[Sequence[int] | np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.empty(0, kind), *parts]).astype(kind)


def part(row: Maxima) -> Maxima:
    """The same sum without the variables that it does not depend on."""
    pixels, relus, maxima = row.pixels, len(row.bias), len(row.starts) - 1
    needed = row.objective != 0
    for m in range(maxima - 1, -1, -1):
        if needed[pixels + relus + m]:
            needed[row.columns[row.rows[row.starts[m]] : row.rows[row.starts[m + 1]]]] = True
    alive = np.flatnonzero(needed[pixels : pixels + relus])
    cell_of = np.repeat(np.arange(len(row.relus) - 1), np.diff(row.relus))[alive]
    cells = np.unique(cell_of)
    inputs = _spans(row.inputs, cells)
    needed[row.reads[inputs]] = True
    kept = np.flatnonzero(needed)
    place = np.cumsum(needed) - 1
    later = kept[kept >= pixels + relus] - pixels - relus
    candidates = _spans(row.starts, later)
    entries = _spans(row.rows, candidates)
    reads = place[row.reads[inputs]]
    moved = int(needed[:pixels].sum())
    readers = np.bincount(reads, minlength=moved)
    return Maxima(
        objective=row.objective[kept],
        constant=row.constant,
        relus=np.append(0, np.cumsum(np.bincount(cell_of, minlength=len(row.relus))[cells])),
        inputs=_ends(row.inputs, cells),
        reads=reads,
        share=1 / readers[reads],
        covered=readers > 0,
        weight=row.weight[alive],
        bias=row.bias[alive],
        starts=_ends(row.starts, later),
        rows=_ends(row.rows, candidates),
        columns=place[row.columns[entries]],
        slopes=row.slopes[entries],
        constants=row.constants[candidates],
        low=row.low[candidates],
        high=row.high[candidates],
    )


def _spans(starts: Int[np.ndarray, "_"], groups: Int[np.ndarray, "groups"]) -> Int[np.ndarray, "_"]:
    """The positions of all members of some groups."""
    lengths = starts[groups + 1] - starts[groups]
    first = np.repeat(starts[groups] - _ends(starts, groups)[:-1], lengths)
    return first + np.arange(lengths.sum())


def _ends(starts: Int[np.ndarray, "_"], groups: Int[np.ndarray, "groups"]) -> Int[np.ndarray, "_"]:
    return np.append(0, np.cumsum(starts[groups + 1] - starts[groups]))
