"""VNN-LIB 1.0: a property of a network as boxes of inputs and, for each, what makes an output unsafe.

Inputs are X_0, X_1, …, outputs Y_0, Y_1, …, both in row-major order. Assertions say what a counterexample looks like:
the property holds (`unsat`) when no input satisfies them all. Comparisons may be strict or not. Proofs take strict ones
for the others, so that a tie is never proved away; a counterexample satisfies them as they are written.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.core import InputError
from aureole.verify.sexpr import Group, Word, parse

MOST_DISJUNCTS = 20_000
"""So many alternatives may come out of nested and / or."""


@dataclass(frozen=True, eq=False)
class Unsafe:
    """A conjunction over the outputs: unsafe where `rows @ y + constants <= 0` in every row, `< 0` in `strict` ones."""

    rows: Float[Tensor, "rows outputs"]
    constants: Float[Tensor, "rows"]
    strict: Bool[Tensor, "rows"]

    def holds(self, y: Float[Tensor, "outputs"]) -> bool:
        """Whether y is unsafe by this conjunction."""
        values = self.rows @ y + self.constants
        return bool(((values < 0) | ((values == 0) & ~self.strict)).all())


@dataclass(frozen=True, eq=False)
class Case:
    """A box of inputs, `lower <= x <= upper`, and the conjunctions of which none may hold for its outputs.

    above, below: where the lower and the upper limit are strict
    """

    lower: Float[Tensor, "inputs"]
    upper: Float[Tensor, "inputs"]
    above: Bool[Tensor, "inputs"]
    below: Bool[Tensor, "inputs"]
    unsafe: tuple[Unsafe, ...]

    @property
    def strict(self) -> bool:
        """Whether some comparison is strict."""
        return any(bool(part.any()) for part in (self.above, self.below, *(unsafe.strict for unsafe in self.unsafe)))

    def within(self, margin: float) -> "Case | None":
        """What is left where strict limits of inputs hold by a last bit and those of outputs by a margin.

        No comparison of it is strict. None where no input is left.
        """
        lower = torch.where(self.above, torch.nextafter(self.lower, self.upper), self.lower)
        upper = torch.where(self.below, torch.nextafter(self.upper, self.lower), self.upper)
        if not bool((lower <= upper).all()):
            return None
        unsafe = (Unsafe(u.rows, u.constants + margin * u.strict, torch.zeros_like(u.strict)) for u in self.unsafe)
        loose = torch.zeros_like(self.above)
        return Case(lower, upper, loose, loose, tuple(unsafe))

    def violated(self, x: Float[Tensor, "inputs"], y: Float[Tensor, "outputs"]) -> bool:
        """Whether x lies in the box and its output y is unsafe."""
        inside = (self.lower <= x) & (x <= self.upper)
        on_edge = (self.above & (x == self.lower)) | (self.below & (x == self.upper))
        return bool((inside & ~on_edge).all()) and any(unsafe.holds(y) for unsafe in self.unsafe)


@dataclass(frozen=True, eq=False)
class Property:
    """What a VNN-LIB file says; without cases no input can satisfy it."""

    inputs: int
    outputs: int
    cases: tuple[Case, ...]

    def violated(self, x: Float[Tensor, "inputs"], y: Float[Tensor, "outputs"]) -> bool:
        """Whether input x with output y is a counterexample."""
        return any(case.violated(x, y) for case in self.cases)


@dataclass(frozen=True)
class _Sum:
    """`sum of factors * variables + constant`; as a condition: that this is <= 0, or < 0 where `strict`."""

    factors: Mapping[str, float]
    constant: float
    line: int
    strict: bool = False

    def plus(self, other: "_Sum", sign: float) -> "_Sum":
        factors = dict(self.factors)
        for name, factor in other.factors.items():
            factors[name] = factors.get(name, 0.0) + sign * factor
        return _Sum({n: f for n, f in factors.items() if f != 0}, self.constant + sign * other.constant, self.line)

    def times(self, factor: float) -> "_Sum":
        return _Sum(
            {n: factor * f for n, f in self.factors.items() if factor * f != 0}, factor * self.constant, self.line
        )


_Conjunction = tuple[_Sum, ...]
_VARIABLE = re.compile(r"[XY]_(0|[1-9]\d{0,8})")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_IGNORED = ("set-logic", "set-info", "set-option", "check-sat", "get-model", "exit")


def read_vnnlib(text: str) -> Property:
    """Read a property; InputError, one line with the line's number, for what is not VNN-LIB or not supported.

    Supported: declare-const of X_i and Y_j, assert of <=, >=, <, >, = under any nesting of and / or, linear arithmetic.
    Not supported: conditions that relate several inputs, or inputs and outputs (an input condition is a box).
    """
    declared: dict[str, int] = {}
    always: list[_Sum] = []
    choices: list[list[_Conjunction]] = []
    for group in parse(text):
        match group.head:
            case "declare-const" | "declare-fun":
                _declare(group, declared)
            case "assert":
                found = _formula(_arguments(group, 1)[0], declared)
                if len(found) == 1:
                    always += found[0]
                else:
                    choices.append(found)
            case head if head not in _IGNORED:
                raise InputError(f"line {group.line}: {head[:40] or 'an empty list'} is not known; expected assert")
    inputs, outputs = (sum(name[0] == kind for name in declared) for kind in "XY")
    if not inputs or not outputs or any(int(n[2:]) >= (inputs if n[0] == "X" else outputs) for n in declared):
        raise InputError(f"{inputs} inputs and {outputs} outputs are declared; declare X_0, X_1, … and Y_0, … in full")
    if math.prod(len(choice) for choice in choices) > MOST_DISJUNCTS:
        raise InputError(f"the property has more than {MOST_DISJUNCTS} alternatives; split it")
    return _property(inputs, outputs, always, itertools.product(*choices))


def _declare(group: Group, declared: dict[str, int]) -> None:
    words = [item.text for item in group.items if isinstance(item, Word)]
    if len(words) != 3 or words[2] != "Real":
        raise InputError(f"line {group.line}: a variable is declared as (declare-const X_0 Real)")
    if not _VARIABLE.fullmatch(words[1]):
        raise InputError(f"line {group.line}: variable {words[1][:40]!r} is neither an input X_i nor an output Y_j")
    if words[1] in declared:
        raise InputError(f"line {group.line}: {words[1]} is declared twice (first on line {declared[words[1]]})")
    declared[words[1]] = group.line


def _arguments(group: Group, count: int) -> tuple[Word | Group, ...]:
    if len(group.items) != count + 1:
        raise InputError(f"line {group.line}: {group.head} takes {count} arguments, not {len(group.items) - 1}")
    return group.items[1:]


def _formula(item: Word | Group, declared: Mapping[str, int]) -> list[_Conjunction]:
    """The formula as a disjunction of conjunctions."""
    if isinstance(item, Word):
        raise InputError(f"line {item.line}: {item.text[:40]!r} is not a condition")
    match item.head:
        case "and":
            parts = [_formula(part, declared) for part in item.items[1:]]
            if math.prod(len(part) for part in parts) > MOST_DISJUNCTS:
                raise InputError(f"line {item.line}: more than {MOST_DISJUNCTS} alternatives; split the property")
            return [tuple(itertools.chain(*choice)) for choice in itertools.product(*parts)]
        case "or":
            return [conjunction for part in item.items[1:] for conjunction in _formula(part, declared)]
        case "<=" | "<" | ">=" | ">" | "=":
            left, right = (_sum(side, declared) for side in _arguments(item, 2))
            below, above = left.plus(right, -1.0), right.plus(left, -1.0)
            if not all(map(math.isfinite, (below.constant, *below.factors.values()))):
                raise InputError(f"line {item.line}: its numbers are too large for float64")
            found = {"<": (below,), ">": (above,), "=": (below, above)}[item.head[0]]
            return [tuple(replace(each, strict=item.head in ("<", ">")) for each in found)]
    raise InputError(f"line {item.line}: {item.head[:40] or 'a list'} is not a condition; expected <=, >=, and, or")


def _sum(item: Word | Group, declared: Mapping[str, int]) -> _Sum:
    if isinstance(item, Word):
        if item.text in declared:
            return _Sum({item.text: 1.0}, 0.0, item.line)
        if _NUMBER.fullmatch(item.text) and math.isfinite(float(item.text)):
            return _Sum({}, float(item.text), item.line)
        raise InputError(f"line {item.line}: {item.text[:40]!r} is neither a number nor a declared variable")
    parts = [_sum(part, declared) for part in item.items[1:]]
    if parts:
        match item.head:
            case "+":
                return _reduce(parts, lambda a, b: a.plus(b, 1.0))
            case "-":
                return parts[0].times(-1.0) if len(parts) == 1 else _reduce(parts, lambda a, b: a.plus(b, -1.0))
            case "*":
                return _reduce(parts, _product)
    raise InputError(f"line {item.line}: {item.head[:40] or 'a list'} is not linear arithmetic; expected +, - or *")


def _reduce(parts: list[_Sum], step: Callable[[_Sum, _Sum], _Sum]) -> _Sum:
    total = parts[0]
    for part in parts[1:]:
        total = step(total, part)
    return total


def _product(a: _Sum, b: _Sum) -> _Sum:
    if a.factors and b.factors:
        raise InputError(f"line {a.line}: a product of two variables is not linear")
    return a.times(b.constant) if not b.factors else b.times(a.constant)


def _property(inputs: int, outputs: int, always: list[_Sum], choices: Iterable[tuple[_Conjunction, ...]]) -> Property:
    first: _Box = ([(-math.inf, False)] * inputs, [(math.inf, False)] * inputs)
    rest = [s for s in always if not _narrow(first, s)]
    boxes: dict[tuple[tuple[_End, ...], ...], list[Unsafe]] = {}
    for choice in choices:
        box = (list(first[0]), list(first[1]))
        conditions = [s for s in itertools.chain(rest, *choice) if not _narrow(box, s)]
        if any(not s.factors and (s.constant > 0 or (s.strict and s.constant == 0)) for s in conditions):
            continue  # a condition without variables that does not hold
        if all(
            low < high or (low == high and not (above or below))
            for (low, above), (high, below) in zip(*box, strict=True)
        ):
            key = (tuple(box[0]), tuple(box[1]))
            boxes.setdefault(key, []).append(_unsafe([s for s in conditions if s.factors], outputs))
    for low, high in boxes:
        for i, ends in enumerate(zip(low, high, strict=True)):
            if not all(math.isfinite(end) for end, _ in ends):
                side = "lower" if ends[0][0] == -math.inf else "upper"
                raise InputError(f"input X_{i} has no {side} limit; assert one")
    return Property(inputs, outputs, tuple(_case(low, high, tuple(unsafe)) for (low, high), unsafe in boxes.items()))


_End = tuple[float, bool]
"""A limit of an input, and whether it is strict."""

_Box = tuple[list[_End], list[_End]]


def _case(low: Sequence[_End], high: Sequence[_End], unsafe: tuple[Unsafe, ...]) -> Case:
    (lower, above), (upper, below) = (zip(*ends, strict=True) for ends in (low, high))
    return Case(_tensor(lower), _tensor(upper), torch.tensor(above), torch.tensor(below), unsafe)


def _narrow(box: _Box, condition: _Sum) -> bool:
    """Apply a condition on one input to the box; False when it is about outputs (or nothing)."""
    among_inputs = [name for name in condition.factors if name[0] == "X"]
    if not among_inputs:
        return False
    if len(condition.factors) > 1:
        raise InputError(
            f"line {condition.line}: a condition relates {', '.join(list(condition.factors)[:3])}; "
            "only limits of single inputs are supported"
        )
    ((name, factor),) = condition.factors.items()
    i, end = int(name[2:]), -condition.constant / factor
    if factor > 0:  # of two equal limits the strict one counts
        box[1][i] = min(box[1][i], (end, condition.strict), key=lambda limit: (limit[0], not limit[1]))
    else:
        box[0][i] = max(box[0][i], (end, condition.strict))
    return True


def _unsafe(conditions: list[_Sum], outputs: int) -> Unsafe:
    rows = torch.zeros(max(1, len(conditions)), outputs, dtype=torch.float64)  # no condition: 0 <= 0 always holds
    for row, condition in zip(rows, conditions, strict=False):
        for name, factor in condition.factors.items():
            row[int(name[2:])] = factor
    constants = _tensor([condition.constant for condition in conditions] or [0.0])
    return Unsafe(rows, constants, torch.tensor([condition.strict for condition in conditions] or [False]))


def _tensor(values: Iterable[float]) -> Float[Tensor, "values"]:
    return torch.tensor(list(values), dtype=torch.float64)
