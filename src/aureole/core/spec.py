"""Specs: what must hold for every image of a region."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.core.errors import InputError


class Spec(ABC):
    """An order statistic of linear rows: the `order`-th smallest of `rows(n) @ scores + offsets(n)` must be positive.

    With that, `margin > 0` says the spec holds; a tie counts as failure.
    """

    @property
    @abstractmethod
    def order(self) -> int:
        """Which of the sorted row values is the margin, counted from 1 at the smallest."""

    @property
    def claim(self) -> str:
        """What the spec says, in words that complete "Proved: ..."."""
        return "the conditions hold"

    @abstractmethod
    def rows(self, classes: int) -> Float[Tensor, "rows classes"]:
        """The linear rows over the scores (float64). InputError when they do not fit `classes` scores."""

    def offsets(self, classes: int) -> Float[Tensor, "rows"]:
        """The rows' constants (float64): zero, unless scores are compared with numbers."""
        return torch.zeros(len(self.rows(classes)), dtype=torch.float64)

    def values(self, scores: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch rows"]:
        """Every row's value."""
        classes = scores.shape[-1]
        return scores @ self.rows(classes).to(scores).T + self.offsets(classes).to(scores)

    def margin(self, scores: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
        """How far the spec is from failing, in score units; positive means it holds."""
        return torch.kthvalue(self.values(scores), self.order, dim=-1).values


def only_compares(rows: Float[Tensor, "rows classes"], constants: Float[Tensor, "rows"]) -> bool:
    """Whether every row compares two scores with each other: then their order is all that matters."""
    pairs = ((rows != 0).sum(1) <= 2) & (rows.sum(1) == 0)
    return bool(pairs.all()) and not bool(constants.any())


@dataclass(frozen=True)
class TopK(Spec):
    """The target stays among the k highest scores: `margin = - (k-th largest of F_c - F_target, c != target)`."""

    target: int
    k: int

    @property
    def order(self) -> int:  # noqa: D102
        return self.k

    @property
    def claim(self) -> str:  # noqa: D102
        what = f"stays among the {self.k} highest scores" if self.k > 1 else "keeps the highest score"
        return f"label {self.target} {what}"

    def rows(self, classes: int) -> Float[Tensor, "rows classes"]:  # noqa: D102
        return _over_others("target", self.target, self.k, classes)


@dataclass(frozen=True)
class OutOfTopK(Spec):
    """The label stays out of the k highest scores: the k-th largest score among the others stays above its own.

    `margin = k-th largest of F_c - F_label, c != label`. A tie counts as failure, as everywhere: it is neither proved
    to stay in (`TopK`) nor proved to stay out.

    classes: how many scores the network gives; the order statistic depends on it
    """

    label: int
    k: int
    classes: int

    @property
    def order(self) -> int:  # noqa: D102
        return self.classes - self.k

    @property
    def claim(self) -> str:  # noqa: D102
        place = f"out of the {self.k} highest scores" if self.k > 1 else "below the highest score"
        return f"label {self.label} stays {place}"

    def rows(self, classes: int) -> Float[Tensor, "rows classes"]:  # noqa: D102
        if classes != self.classes:
            raise InputError(f"the spec is about {self.classes} classes but the network gives {classes} scores")
        return -_over_others("label", self.label, self.k, classes)


@dataclass(frozen=True)
class AboveThreshold(Spec):
    """The label's score stays above the threshold: `margin = F_label - threshold`, in score units."""

    label: int
    threshold: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise InputError(f"threshold is {self.threshold}; pass a finite number in score units")

    @property
    def order(self) -> int:  # noqa: D102
        return 1

    @property
    def claim(self) -> str:  # noqa: D102
        return f"the score of label {self.label} stays above {self.threshold:g}"

    def rows(self, classes: int) -> Float[Tensor, "rows classes"]:  # noqa: D102
        check_label("label", self.label, classes)
        return torch.eye(classes, dtype=torch.float64)[self.label][None]

    def offsets(self, classes: int) -> Float[Tensor, "rows"]:  # noqa: D102
        return torch.tensor([-self.threshold], dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Rows(Spec):
    """Fewer than `nth` of the conditions `weights @ scores + constants <= 0` hold at once.

    With nth = 1, none of them holds; with nth = the number of rows, their conjunction does not (VNN-LIB).
    """

    weights: Float[Tensor, "rows classes"]
    constants: Float[Tensor, "rows"]
    nth: int

    def __post_init__(self) -> None:
        if not 1 <= self.nth <= len(self.weights):
            raise InputError(f"nth = {self.nth} does not fit {len(self.weights)} rows; pass 1..{len(self.weights)}")
        if self.constants.shape != self.weights.shape[:1]:
            raise InputError(f"{self.constants.numel()} constants for {len(self.weights)} rows; pass one per row")
        if not bool(self.weights.isfinite().all() and self.constants.isfinite().all()):
            raise InputError("the rows hold NaN or infinite numbers; pass finite weights and constants")
        if {self.weights.dtype, self.constants.dtype} != {torch.float64}:
            raise InputError("the rows are not float64; pass weights.double() and constants.double()")

    @property
    def order(self) -> int:  # noqa: D102
        return self.nth

    def rows(self, classes: int) -> Float[Tensor, "rows classes"]:  # noqa: D102
        if self.weights.shape[1] != classes:
            raise InputError(f"the rows are over {self.weights.shape[1]} scores but the network gives {classes}")
        return self.weights

    def offsets(self, classes: int) -> Float[Tensor, "rows"]:  # noqa: D102
        return self.constants


def check_label(name: str, label: int, classes: int) -> None:
    """InputError unless the label is one of the network's."""
    if not 0 <= label < classes:
        raise InputError(f"{name} {label} is not one of the network's {classes} classes; pass 0..{classes - 1}")


def _over_others(name: str, label: int, k: int, classes: int) -> Float[Tensor, "rows classes"]:
    """The label's score minus each other one."""
    check_label(name, label, classes)
    if not 1 <= k < classes:
        raise InputError(f"k = {k} does not fit {classes} classes; pass 1..{classes - 1}")
    eye = torch.eye(classes, dtype=torch.float64)
    return eye[label] - eye[[c for c in range(classes) if c != label]]
