"""Damaged VNN-LIB text: an error of one line that names a line of the file, or a property that reads as it says."""

import re

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aureole.core import InputError
from aureole.verify import read_vnnlib

GOOD = """; a small property
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(assert (<= X_0 0.5))
(assert (>= X_0 -0.5))
(assert (and (<= X_1 1e0) (>= X_1 (- 1))))
(assert (or (and (<= Y_0 Y_1) (>= Y_0 0.25)) (and (>= X_0 0.25) (< (+ Y_0 (* 2 Y_1)) 3))))
"""
TOKENS = re.findall(r"[()]|[^\s()]+|\s+", GOOD)
STRANGE = ["(", ")", "X_2", "X_-1", "Y_0", "X_0", "Z", "<=", "=", "or", "and", "assert", "declare-const", "Real", "Int",
           "nan", "inf", "1e400", "-", "0x10", "1_000", "", " ", "\n", ";", "\x00", "\u00e9", "*", "/", "*  *", "not",
           "9" * 400, "(" * 150, "(or" * 30, "let", "X_" + "9" * 5000, "1e300", "1e-320", "\ufeff"]  # fmt: skip


@st.composite
def damaged(draw) -> str:
    tokens = list(TOKENS)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(tokens) - 1)))
        if not tokens:
            break
        match draw(st.sampled_from(["drop", "twice", "swap", "replace", "insert", "cut"])):
            case "drop":
                del tokens[at]
            case "twice":
                tokens.insert(at, tokens[at])
            case "swap":
                other = draw(st.integers(0, len(tokens) - 1))
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case "replace":
                tokens[at] = draw(st.sampled_from(STRANGE))
            case "insert":
                tokens.insert(at, draw(st.sampled_from(STRANGE)))
            case "cut":
                tokens = tokens[: at + 1]
    return "".join(tokens)


@settings(max_examples=300, deadline=None)
@given(damaged())
def test_one_line_or_a_property(text):
    try:
        found = read_vnnlib(text)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
        return
    for case in found.cases:  # every number that comes out is one to compute with
        assert bool((case.lower <= case.upper).all()) and bool(
            case.lower.isfinite().all() & case.upper.isfinite().all()
        )
        for unsafe in case.unsafe:
            assert unsafe.rows.shape[1] == found.outputs
            assert bool(unsafe.rows.isfinite().all() and unsafe.constants.isfinite().all())
    middle = [(case.lower + case.upper) / 2 for case in found.cases]
    for x in middle:
        assert found.violated(x, torch.zeros(found.outputs, dtype=torch.float64)) in (True, False)
