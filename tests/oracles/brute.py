"""The exact minimum of a margin over a box, by enumerating activation patterns: only for tiny networks.

Every relu is on or off and every pool has one winner. Within a pattern the scores are affine, so for every set of
`order` rows one LP tells how far below zero they can lie together. No bound, relaxation or big-M is involved, and the
code shares nothing with the package but the graph's data.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog

from aureole.core import Graph, Region
from aureole.core.graph import Add, Conv, Input, Linear, MaxPool, Relu, Reshape, apply


@dataclass
class _Search:
    graph: Graph
    rows: np.ndarray
    order: int
    lower: np.ndarray
    upper: np.ndarray
    best: float = np.inf

    def run(self) -> float:
        self._nodes(1, {0: np.hstack([np.eye(len(self.lower)), np.zeros((len(self.lower), 1))])}, [])
        return self.best

    def _range(self, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b = affine[..., :-1], affine[..., -1]
        up, down = np.clip(a, 0, None), np.clip(a, None, 0)
        return up @ self.lower + down @ self.upper + b, up @ self.upper + down @ self.lower + b

    def _nodes(self, i: int, values: dict[int, np.ndarray], cuts: list[np.ndarray]) -> None:
        """From node i on; `values` are affine maps [A | b] of the image, `cuts` say `a x + b <= 0`."""
        if i == len(self.graph.nodes):
            self._leaf(values[i - 1], cuts)
            return
        node = self.graph.nodes[i]
        args = [values[j] for j in node.inputs]
        match node.op:
            case Relu():
                windows = [((j,), True) for j in range(len(args[0]))]
            case MaxPool() as op:
                windows = [(w, op.rectify) for w in _windows(op, self.graph.nodes[node.inputs[0]].shape)]
            case Add():
                self._nodes(i + 1, values | {i: args[0] + args[1]}, cuts)
                return
            case op:
                self._nodes(i + 1, values | {i: _affine(op, args[0], self.graph, node)}, cuts)
                return
        self._maxima(i, values, cuts, args[0], windows, [])

    def _maxima(self, i: int, values: dict, cuts: list, z: np.ndarray, windows: list, done: list[np.ndarray]) -> None:
        """Branch on which input of each window wins (or the zero)."""
        if len(done) == len(windows):
            self._nodes(i + 1, values | {i: np.array(done)}, cuts)
            return
        inputs, zero = windows[len(done)]
        options = [z[j] for j in inputs] + ([np.zeros(z.shape[1])] if zero else [])
        low, high = self._range(np.array(options))
        for winner, value in enumerate(options):
            if high[winner] < low.max() or any(np.array_equal(value, o) for o in options[:winner]):
                continue
            more = [o - value for k, o in enumerate(options) if k != winner and high[k] > low[winner]]
            if len(cuts) % 2 and more and not self._possible(cuts + more):
                continue
            self._maxima(i, values, cuts + more, z, windows, [*done, value])

    def _possible(self, cuts: list[np.ndarray]) -> bool:
        return self._solve(cuts, None) is not None

    def _leaf(self, scores: np.ndarray, cuts: list[np.ndarray]) -> None:
        rows = self.rows @ scores
        low = self._range(rows)[0]
        for chosen in itertools.combinations(range(len(rows)), self.order):
            if low[list(chosen)].max() < self.best:  # else no image of this pattern improves on what is known
                found = self._solve(cuts, rows[list(chosen)])
                if found is not None:
                    self.best = min(self.best, found)

    def _solve(self, cuts: list[np.ndarray], below: np.ndarray | None) -> float | None:
        """The least t with all of `below` <= t and all cuts kept; None when no image keeps the cuts."""
        free = self.upper > self.lower
        fixed = np.where(free, 0.0, self.lower)
        both = np.array(cuts + ([] if below is None else list(below))).reshape(-1, len(fixed) + 1)
        constant = both[:, -1] + both[:, :-1] @ fixed
        column = np.r_[np.zeros(len(cuts)), -np.ones(len(both) - len(cuts))][:, None]
        matrix = np.hstack([both[:, :-1][:, free], column])
        limits = [*zip(self.lower[free], self.upper[free], strict=True), (None if below is not None else 0, None)]
        goal = np.r_[np.zeros(free.sum()), 1.0]
        result = linprog(goal, A_ub=matrix, b_ub=-constant, bounds=limits, method="highs")
        return float(result.fun) if result.status == 0 else None


def _windows(op: MaxPool, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    channels, height, width = shape
    (kh, kw), (sh, sw), (ph, pw) = op.kernel, op.stride, op.padding
    windows = []
    for c in range(channels):
        for top in range(-ph, height + ph - kh + 1, sh):
            for left in range(-pw, width + pw - kw + 1, sw):
                inside = [
                    (c * height + r) * width + s
                    for r in range(max(top, 0), min(top + kh, height))
                    for s in range(max(left, 0), min(left + kw, width))
                ]
                windows.append(tuple(inside))
    return windows


def _affine(op: Conv | Linear | Reshape, z: np.ndarray, graph: Graph, node: object) -> np.ndarray:
    """[A | b] through an affine operator: its action on every column, with the bias once."""
    if isinstance(op, Reshape):
        return z
    below = graph.nodes[node.inputs[0]].shape
    columns = torch.from_numpy(z.T.copy()).reshape(-1, *below)
    still = type(op)(**{**vars(op), "bias": torch.zeros_like(op.bias)})
    out = apply(still, [columns], node.shape)
    out[-1] = apply(op, [columns[-1:]], node.shape)[0]
    return out.flatten(1).T.numpy().copy()


def least_margin(graph: Graph, region: Region, rows: torch.Tensor, order: int) -> float:
    """The exact minimum over the region of the `order`-th smallest of `rows @ scores`."""
    assert isinstance(graph.nodes[0].op, Input)
    lower, upper = region.lower[0].flatten().numpy(), region.upper[0].flatten().numpy()
    return _Search(graph, rows.numpy(), order, lower, upper).run()
