"""The question "is there an image on which at least k rows are not positive?" as a mixed-integer linear program.

Built from the graph, node by node, for any supported network (Tjeng et al., ICLR 2019), with savings of our own:
neurons whose sign is known disappear into sparse linear expressions, what no row feels is dropped, and a maximum that
rows want only low (or only high) gets only that half of its encoding.

Sigmoid and Tanh have no exact encoding: they are held between a few lines. Infeasible then still is a proof, but a
solution may be no image's (`inexact` names the operator).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix, diags_array
from torch import Tensor

from aureole.bounds import Bounds, Interval
from aureole.bounds.ops.maxpool import to_windows
from aureole.bounds.ops.squash import SquashRelaxation, squash_interval
from aureole.core import Graph, Region
from aureole.core.graph import Add, Conv, Linear, MaxPool, Node, Relu, Reshape, Sigmoid, Squash, Tanh
from aureole.verify.rounding import errors
from aureole.verify.signs import Pull, pulls
from aureole.verify.solver import Program


@dataclass(frozen=True, eq=False)
class Pixels:
    """Which pixel each of a program's first variables moves, from the region's middle (-1 and 1 are its limits)."""

    moved: np.ndarray
    middle: np.ndarray
    radius: np.ndarray
    shape: tuple[int, ...]

    def image(self, solution: np.ndarray) -> Float[Tensor, "*shape"]:
        """The image of a point, inside the region up to rounding (clip it)."""
        flat = self.middle.copy()
        flat[self.moved] += self.radius[self.moved] * np.clip(solution[: len(self.moved)], -1.0, 1.0)
        return torch.from_numpy(flat.reshape(self.shape))

    def point(self, image: Float[Tensor, "*shape"]) -> Float[Tensor, "moved"]:
        """The other way round."""
        moved = (image.flatten().numpy() - self.middle)[self.moved] / self.radius[self.moved]
        return torch.from_numpy(np.clip(moved, -1.0, 1.0))


@dataclass(frozen=True, eq=False)
class Choice:
    """A maximum of which the program must know who attains it.

    layer:      the node whose values it is taken over; candidates: where these are, the layer flattened
    zero:       0 is another candidate, without a variable
    wins:       a binary variable for each candidate
    """

    layer: int
    candidates: np.ndarray
    zero: bool
    wins: range


@dataclass(frozen=True, eq=False)
class Encoding:
    """A program, the maxima that its binaries decide, and the way back from a solution to an image.

    With these binaries fixed the rest is linear, but for the choice of rows where there are more than must fail.
    """

    program: Program
    pixels: Pixels
    choices: tuple[Choice, ...] = ()

    def image(self, solution: np.ndarray) -> Float[Tensor, "*shape"]:
        """The image of a solution, inside the region up to rounding (clip it)."""
        return self.pixels.image(solution)


Terms = tuple[np.ndarray, np.ndarray]
"""A sparse linear expression: variables and their coefficients."""

NOTHING: Terms = (np.empty(0, dtype=np.int64), np.empty(0))


@dataclass(frozen=True, eq=False)
class Maximum:
    """Variable y as `max_j terms[j] @ variables + constants[j]`, and 0 if `zero`; each candidate between its limits.

    at: the relu or pool, by its node and its place there, whose value y is; None for a value that is let through
    """

    y: int
    terms: tuple[Terms, ...]
    constants: np.ndarray
    low: np.ndarray
    high: np.ndarray
    zero: bool
    at: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Composed:
    """A network's scores as `matrix @ variables + constants`; the variables are the pixels moved, then the maxima."""

    pixels: Pixels
    maxima: tuple[Maximum, ...]
    matrix: csr_matrix
    constants: np.ndarray

    @property
    def entries(self) -> int:
        """How many coefficients there are."""
        return sum(len(columns) for m in self.maxima for columns, _ in m.terms)


@dataclass
class _Builder:
    """Variables and rows as they come; local to one encoding.

    errors: by how much rounding may have moved the bounds and the expressions of each node's values. Limits and rows
            give way by as much: a limit that cuts off a last bit of a neuron may cut off much of the pixels that it
            reads where these have small weights in it, and large ones elsewhere
    bare:   variables and maxima only, without the rows that tie them together
    """

    errors: Sequence[np.ndarray] = ()
    bare: bool = False

    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    integer: list[bool] = field(default_factory=list)
    columns: list[np.ndarray] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    row_upper: list[float] = field(default_factory=list)
    maxima: list[Maximum] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)

    def variables(self, lower: Sequence[float], upper: Sequence[float], integer: bool = False) -> range:
        first = len(self.lower)
        self.lower += list(lower)
        self.upper += list(upper)
        self.integer += [integer] * len(lower)
        return range(first, len(self.lower))

    def at_most(self, terms: Terms, extra: Mapping[int, float], upper: float) -> None:
        """`terms + extra <= upper`; no variable stands in both."""
        self.columns.append(np.concatenate([terms[0], np.fromiter(extra.keys(), np.int64, len(extra))]))
        self.values.append(np.concatenate([terms[1], np.fromiter(extra.values(), np.float64, len(extra))]))
        self.row_upper.append(upper)

    def program(self, objective: Terms) -> Program:
        count = len(self.lower)
        starts = np.cumsum([0, *(len(c) for c in self.columns)])
        columns, values = (np.concatenate([n, *p]) for n, p in zip(NOTHING, (self.columns, self.values), strict=True))
        matrix = csr_matrix((values, columns, starts), shape=(len(self.columns), count))
        goal = np.zeros(count)
        goal[objective[0]] = objective[1]
        upper = np.array(self.row_upper)
        return Program(
            goal, matrix, np.full_like(upper, -np.inf), upper,
            np.array(self.lower), np.array(self.upper), np.array(self.integer),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Expression:
    """Each value of a node as `matrix @ variables + constant`; rows of values that do not matter are zero.

    passed, low, high: which values a relu or a pool let through as they are, and between which limits these lie
    """

    matrix: csr_matrix
    constant: np.ndarray
    passed: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    low: np.ndarray = field(default_factory=lambda: np.empty(0))
    high: np.ndarray = field(default_factory=lambda: np.empty(0))

    def terms(self, i: int, factor: float = 1.0) -> Terms:
        part = slice(self.matrix.indptr[i], self.matrix.indptr[i + 1])
        return self.matrix.indices[part], factor * self.matrix.data[part]

    @classmethod
    def of(cls, terms: Sequence[Terms], constant: np.ndarray, width: int) -> "_Expression":
        starts = np.cumsum([0, *(len(columns) for columns, _ in terms)])
        data, columns = np.concatenate([v for _, v in terms]), np.concatenate([c for c, _ in terms])
        return cls(csr_matrix((data, columns, starts), shape=(len(terms), width)), constant)


SHARES = (0.0, 0.25, 0.5, 1.0)
"""The points of contact of a Sigmoid's or Tanh's lines, besides the default one (`SquashRelaxation.parameters`)."""


def inexact(graph: Graph) -> str:
    """The first operator of the graph that the encoding relaxes; empty when there is none."""
    return next((type(node.op).__name__ for node in graph.nodes if isinstance(node.op, Squash)), "")


def encode(
    graph: Graph, region: Region, rows: Float[Tensor, "rows classes"], order: int, bounds: Bounds, slack: float
) -> Encoding:
    """At least `order` of `rows @ scores` at most `slack`, somewhere in a region of batch 1.

    bounds: proved float64 bounds of every node over the region.
    The objective is how far below zero the highest of the chosen rows is; infeasible means the spec holds.
    """
    builder = _Builder([error[0].flatten().numpy() for error in errors(graph, region)])
    scores, pixels = _network(builder, graph, region, rows, bounds)
    _existence(builder, rows.numpy(), scores, order, slack, bounds[len(graph.nodes) - 1])
    depth = np.array([len(builder.lower) - 1])
    return Encoding(builder.program((depth, np.ones(1))), pixels, tuple(builder.choices))


def compose(graph: Graph, region: Region, bounds: Bounds) -> Composed:
    """The scores on a region of batch 1 as pixels and maxima; the graph has no Sigmoid and no Tanh (`inexact`)."""
    builder = _Builder(bare=True)
    every = torch.eye(graph.classes, dtype=torch.float64)
    scores, pixels = _network(builder, graph, region, every, bounds)
    return Composed(pixels, tuple(builder.maxima), _widen(scores.matrix, len(builder.lower)), scores.constant)


def _network(
    builder: _Builder, graph: Graph, region: Region, rows: Tensor, bounds: Bounds
) -> tuple[_Expression, Pixels]:
    """Everything below the rows: the scores as expressions of variables, of which the pixels come first."""
    pull = pulls(graph, rows, bounds)
    lower, upper = region.lower[0].flatten().numpy(), region.upper[0].flatten().numpy()
    middle, radius = (lower + upper) / 2, (upper - lower) / 2
    touched = np.zeros_like(lower, dtype=bool) if 0 not in pull else pull[0].any.flatten().numpy()
    moved = np.flatnonzero(touched & (radius > 0))
    builder.variables([-1.0] * len(moved), [1.0] * len(moved))  # scaled, so that tolerances mean the same everywhere
    spread = csr_matrix((radius[moved], (moved, np.arange(len(moved)))), shape=(len(lower), len(moved)))
    values = {0: _Expression(spread, middle)}
    for i, node in enumerate(graph.nodes[1:], 1):
        if i in pull:
            values[i] = _node(builder, graph, i, [values[j] for j in node.inputs], pull[i], bounds)
    return values[len(graph.nodes) - 1], Pixels(moved, middle, radius, region.shape)


def _existence(
    builder: _Builder, rows: np.ndarray, scores: _Expression, order: int, slack: float, limits: Interval
) -> None:
    """The chosen rows lie at most at -depth; depth >= -slack is the last variable."""
    values = _Expression(csr_matrix(csr_matrix(rows) @ scores.matrix), rows @ scores.constant)
    low, high = limits.lower[0].numpy(), limits.upper[0].numpy()
    highest = np.clip(rows, 0, None) @ high + np.clip(rows, None, 0) @ low
    deepest = -(np.clip(rows, 0, None) @ low + np.clip(rows, None, 0) @ high).min()
    if len(rows) > order:
        chosen = builder.variables([0.0] * len(rows), [1.0] * len(rows), integer=True)
        builder.at_most(NOTHING, dict.fromkeys(chosen, -1.0), -float(order))
    (depth,) = builder.variables([-slack], [max(float(deepest), 0.0)])
    for r in range(len(rows)):
        if len(rows) > order:
            reach = float(highest[r] + max(deepest, 0.0))
            builder.at_most(values.terms(r), {depth: 1.0, chosen[r]: reach}, reach - float(values.constant[r]))
        else:
            builder.at_most(values.terms(r), {depth: 1.0}, -float(values.constant[r]))


def _node(builder: _Builder, graph: Graph, i: int, args: list[_Expression], pull: Pull, bounds: Bounds) -> _Expression:
    node = graph.nodes[i]
    shape = graph.nodes[node.inputs[0]].shape
    match node.op:
        case Linear() as op:
            return _affine(builder, csr_matrix(op.weight.numpy()), op.bias.numpy(), args[0])
        case Conv() as op:
            weight = _conv_matrix(op, shape, node.shape, pull.any.flatten().numpy())
            bias = np.repeat(op.bias.numpy(), node.shape[1] * node.shape[2])
            return _affine(builder, weight, bias, args[0])
        case Add():
            width = len(builder.lower)
            matrix = _widen(args[0].matrix, width) + _widen(args[1].matrix, width)
            return _Expression(csr_matrix(matrix), args[0].constant + args[1].constant)
        case Relu():
            windows = np.arange(args[0].matrix.shape[0])[None]
            return _maxima(builder, args[0], windows, True, pull, i, node.inputs[0], bounds)
        case MaxPool() as op:
            index = torch.arange(int(np.prod(shape)), dtype=torch.float64).reshape(1, *shape)
            windows = to_windows(index, op, -1.0)[0].movedim(1, 0).flatten(1).to(torch.int64).numpy()
            return _maxima(builder, args[0], windows, op.rectify, pull, i, node.inputs[0], bounds)
        case Sigmoid() | Tanh():
            return _between_lines(builder, node, i, args[0], pull, bounds)
        case Reshape():
            return args[0]  # keeps the order
    raise TypeError(f"no encoding for {node.op}")


def _affine(builder: _Builder, weight: csr_matrix, bias: np.ndarray, z: _Expression) -> _Expression:
    """`weight @ z + bias`; values let through become variables, with one candidate, where that saves coefficients."""
    matrix = csr_matrix(weight @ z.matrix)
    if builder.bare and len(z.passed):
        sizes = np.diff(z.matrix.indptr)[z.passed]
        long = (weight.getnnz(axis=0)[z.passed] > 0) & (sizes > 1)
        if weight.nnz + sizes[long].sum() < matrix.nnz:
            z = _named(builder, z, long)
            matrix = csr_matrix(weight @ z.matrix)
    return _Expression(matrix, weight @ z.constant + bias)


def _named(builder: _Builder, z: _Expression, which: np.ndarray) -> _Expression:
    """The same values; of those let through, some are variables now."""
    made = builder.variables(z.low[which].tolist(), z.high[which].tolist())
    rest, constant = np.ones(len(z.constant)), z.constant.copy()
    for y, i, low, high in zip(made, z.passed[which], z.low[which], z.high[which], strict=True):
        limits = np.array([low]), np.array([high])
        builder.maxima.append(Maximum(y, (z.terms(int(i)),), z.constant[[i]], *limits, zero=False))
        rest[i] = constant[i] = 0.0
    own = csr_matrix((np.ones(len(made)), (z.passed[which], made)), shape=(len(rest), len(builder.lower)))
    return _Expression(csr_matrix(_widen(csr_matrix(diags_array(rest) @ z.matrix), len(builder.lower)) + own), constant)


def _conv_matrix(op: Conv, below: tuple[int, ...], above: tuple[int, ...], wanted: np.ndarray) -> csr_matrix:
    """The convolution as a sparse matrix; rows of outputs nobody wants stay empty."""
    outputs = np.flatnonzero(wanted)
    out_channels, inner, kh, kw = op.weight.shape
    channel, rest = np.divmod(outputs, above[1] * above[2])
    row, column = np.divmod(rest, above[2])
    group = channel // (out_channels // op.groups)
    r = row[:, None] * op.stride[0] - op.padding[0] + np.arange(kh) * op.dilation[0]
    c = column[:, None] * op.stride[1] - op.padding[1] + np.arange(kw) * op.dilation[1]
    plane = group[:, None] * inner + np.arange(inner)
    index = (plane[:, :, None, None] * below[1] + r[:, None, :, None]) * below[2] + c[:, None, None, :]
    inside = ((r >= 0) & (r < below[1]))[:, None, :, None] & ((c >= 0) & (c < below[2]))[:, None, None, :]
    inside = np.broadcast_to(inside, index.shape)
    value = op.weight.numpy()[channel]
    lines = np.broadcast_to(outputs[:, None, None, None], index.shape)
    return csr_matrix((value[inside], (lines[inside], index[inside])), shape=(int(np.prod(above)), int(np.prod(below))))


def _maxima(
    builder: _Builder, z: _Expression, windows: np.ndarray, rectify: bool, pull: Pull, i: int, layer: int,
    bounds: Bounds,
) -> _Expression:  # fmt: skip
    """Node i: `max over each window (and 0)` of a layer; windows holds positions in it per output, -1 for padding."""
    low = np.append(bounds[layer].lower[0].flatten().numpy(), -np.inf)
    high = np.append(bounds[layer].upper[0].flatten().numpy(), -np.inf)
    wants_high, wants_low = pull.high.flatten().numpy(), pull.low.flatten().numpy()
    wanted = np.flatnonzero(wants_high | wants_low)
    inputs = windows[:, wanted]
    lows, best = low[inputs], low[inputs].max(0)
    floor = np.maximum(best, 0.0) if rectify else best
    zero = (best < 0) & rectify
    counts = high[inputs] > floor
    # with no candidate the maximum is the floor; else, the one that attains the floor may have no width
    lacks = np.flatnonzero(counts.any(0) & ~zero & ~(counts & (lows >= best)).any(0))
    counts[lows.argmax(0)[lacks], lacks] = True
    count = counts.sum(0)
    alone = (count == 1) & ~zero
    constant = np.zeros(windows.shape[1])
    constant[wanted[count == 0]] = floor[count == 0]
    winners = inputs[counts.argmax(0), np.arange(len(wanted))][alone]
    constant[wanted[alone]] = z.constant[winners]
    several = np.flatnonzero((count > 0) & ~alone)
    lower, upper = (
        (low, high) if builder.bare else (low[:-1] - builder.errors[layer], high[:-1] + builder.errors[layer])
    )
    made = [
        _maximum(
            builder, z, (i, int(wanted[n])), layer, inputs[counts[:, n], n].tolist(), lower, upper,
            bool(zero[n]), bool(wants_high[wanted[n]]), bool(wants_low[wanted[n]]),
        )
        for n in several
    ]  # fmt: skip
    width, outputs = len(builder.lower), windows.shape[1]
    passed = csr_matrix((np.ones(len(winners)), (wanted[alone], winners)), shape=(outputs, z.matrix.shape[0]))
    own = csr_matrix((np.ones(len(made)), (wanted[several], np.array(made, dtype=np.int64))), shape=(outputs, width))
    matrix = csr_matrix(_widen(csr_matrix(passed @ z.matrix), width) + own)
    return _Expression(matrix, constant, wanted[alone], low[winners], high[winners])


def _maximum(
    builder: _Builder, z: _Expression, at: tuple[int, int], layer: int, candidates: list[int], low: np.ndarray,
    high: np.ndarray, zero: bool, wants_high: bool, wants_low: bool,
) -> int:  # fmt: skip
    """One variable y for `max(z_j, 0 if zero)`, with the half of its encoding that the rows need."""
    floor = 0.0 if zero else float(low[candidates].max())
    (y,) = builder.variables([floor], [max(float(high[candidates].max()), floor)])
    if builder.bare:
        terms = tuple(z.terms(j) for j in candidates)
        builder.maxima.append(Maximum(y, terms, z.constant[candidates], low[candidates], high[candidates], zero, at))
        return y
    error = builder.errors[layer]
    if wants_low:
        for j in candidates:
            builder.at_most(z.terms(j), {y: -1.0}, float(error[j] - z.constant[j]))
    if wants_high:
        wins = builder.variables([0.0] * len(candidates), [1.0] * len(candidates), integer=True)
        builder.choices.append(Choice(layer, np.array(candidates), zero, wins))
        builder.at_most(NOTHING, dict.fromkeys(wins, 1.0), 1.0)
        if not zero:
            builder.at_most(NOTHING, dict.fromkeys(wins, -1.0), -1.0)
        reach = {win: -float(high[j]) for win, j in zip(wins, candidates, strict=True)}
        builder.at_most(NOTHING, {y: 1.0, **reach}, 0.0)
        for win, j in zip(wins, candidates, strict=True):
            others = [float(high[i]) for i in candidates if i != j] + ([0.0] if zero else [])
            gap = max(others) - float(low[j])
            builder.at_most(z.terms(j, -1.0), {y: 1.0, win: gap}, gap + float(error[j] + z.constant[j]))
    return y


def _between_lines(
    builder: _Builder, node: Node, place: int, z: _Expression, pull: Pull, bounds: Bounds
) -> _Expression:
    """A variable per value, under lines where the rows want it high and above lines where they want it low."""
    found = squash_interval(node, [bounds[node.inputs[0]]])
    relaxation = SquashRelaxation.of(node, bounds[node.inputs[0]])
    default = relaxation.parameters(1)
    shares = [default, *({name: torch.full_like(v, share) for name, v in default.items()} for share in SHARES)]
    lines = [[part[0, 0].flatten().numpy() for part in relaxation.lines(given)] for given in shares]
    top, bottom = (line[0].flatten().numpy() for line in (found.upper, found.lower))
    wants_high, wants_low = pull.high.flatten().numpy(), pull.low.flatten().numpy()
    error = builder.errors[place]  # more than that of z, by which slopes of at most 1 move a line
    constant, terms = np.zeros(len(top)), [NOTHING] * len(top)
    for i in np.flatnonzero(wants_high | wants_low):
        (y,) = builder.variables([float(bottom[i] - error[i])], [float(top[i] + error[i])])
        terms[i] = np.array([y]), np.ones(1)
        for low, low_offset, high, high_offset in lines:
            if wants_high[i]:
                upper = float(high_offset[i] + high[i] * z.constant[i] + error[i])
                builder.at_most(z.terms(int(i), -float(high[i])), {y: 1.0}, upper)
            if wants_low[i]:
                upper = -float(low_offset[i] + low[i] * z.constant[i] - error[i])
                builder.at_most(z.terms(int(i), float(low[i])), {y: -1.0}, upper)
    return _Expression.of(terms, constant, len(builder.lower))


def _widen(matrix: csr_matrix, width: int) -> csr_matrix:
    if matrix.shape[1] == width:
        return matrix
    return csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], width))
