"""The VNN-LIB reader against a naive evaluation of the same text, and its complaints."""

import itertools
from operator import ge, gt, le, lt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aureole.core import InputError
from aureole.verify import read_vnnlib

DECLARED = "".join(f"(declare-const {v} Real)\n" for v in ("X_0", "X_1", "Y_0", "Y_1"))
BOX = "(assert (>= X_0 -1)) (assert (<= X_0 1)) (assert (<= 0 X_1)) (assert (>= 2.5e-1 X_1))\n"


def points(values=(-1.5, -1.0, -0.25, 0.0, 0.25, 0.5, 1.0, 3.0)):
    for x0, x1, y0, y1 in itertools.product(values, repeat=4):
        yield torch.tensor([x0, x1], dtype=torch.float64), torch.tensor([y0, y1], dtype=torch.float64)


def test_plain():
    found = read_vnnlib(DECLARED + BOX + "; a comment (with brackets\n(assert (<= Y_0 Y_1))(assert (>= Y_0 (- 3)))")
    (case,) = found.cases
    assert (case.lower.tolist(), case.upper.tolist()) == ([-1.0, 0.0], [1.0, 0.25])
    (unsafe,) = case.unsafe
    assert unsafe.rows.tolist() == [[1.0, -1.0], [-1.0, 0.0]]
    assert unsafe.constants.tolist() == [0.0, -3.0]


def test_strings_hold_brackets_and_lines():
    notes = '(set-info :source "a (b; c\r\n(assert (<= Y_0 0))")\n(set-info :status |sat)\n|)\n'
    (unsafe,) = read_vnnlib(notes + DECLARED + BOX).cases[0].unsafe
    assert not unsafe.rows.any()  # the assertion in the string is none
    with pytest.raises(InputError, match="line 5: nonsense"):
        read_vnnlib(notes + "(nonsense)" + DECLARED)


def test_boxes_in_an_or_are_grouped():
    text = "(assert (or (and (<= X_0 0) (<= Y_0 1)) (and (<= X_0 0) (>= Y_0 2)) (and (>= X_0 0.5) (<= Y_1 0))))"
    found = read_vnnlib(DECLARED + BOX + text)
    assert [(case.upper[0].item(), len(case.unsafe)) for case in found.cases] == [(0.0, 2), (1.0, 1)]


def test_empty_boxes_and_false_conditions_leave_no_case():
    assert read_vnnlib(DECLARED + BOX + "(assert (>= X_0 2))(assert (<= Y_0 0))").cases == ()
    assert read_vnnlib(DECLARED + BOX + "(assert (<= Y_0 0))(assert (<= 2 1))").cases == ()
    assert read_vnnlib(DECLARED + BOX + "(assert (or))").cases == ()


def test_strict_limits():
    """Of two equal limits the strict one counts; a box without inside is none."""
    (case,) = read_vnnlib(DECLARED + BOX + "(assert (< X_0 1))(assert (> X_1 0))(assert (> Y_0 2))").cases
    assert (case.above.tolist(), case.below.tolist()) == ([False, True], [True, False])
    assert case.unsafe[0].strict.tolist() == [True]
    assert read_vnnlib(DECLARED + BOX + "(assert (> X_0 0.5))(assert (<= X_0 0.5))(assert (<= Y_0 0))").cases == ()
    assert read_vnnlib(DECLARED + BOX + "(assert (<= Y_0 0))(assert (< 1 1))").cases == ()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_in_every_way(end):
    text = DECLARED + BOX + "; a comment\n(assert (<= Y_0 7))\n"
    (case,) = read_vnnlib(text.replace("\n", end)).cases
    assert case.unsafe[0].constants.tolist() == [-7.0]
    with pytest.raises(InputError, match="line 8"):
        read_vnnlib((text + "(assert (<= Z 1))").replace("\n", end))


def test_without_a_condition_every_output_is_unsafe():
    found = read_vnnlib(DECLARED + BOX)
    assert found.violated(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))


def test_linear_arithmetic():
    (case,) = read_vnnlib(DECLARED + BOX + "(assert (<= (+ (* 2 Y_0) (- Y_1 1) (* Y_1 -3 2)) (- Y_0 4)))").cases
    assert case.unsafe[0].rows.tolist() == [[1.0, -5.0]] and case.unsafe[0].constants.tolist() == [3.0]


# formulas: (text, what it says of x and y)
NUMBERS = st.sampled_from([-1.0, -0.25, 0.0, 0.25, 0.5, 1.0])


@st.composite
def atoms(draw):
    sign, number = draw(st.sampled_from(["<=", ">=", "<", ">"])), draw(NUMBERS)
    name = draw(st.sampled_from(["X_0", "X_1", "Y_0", "Y_1"]))
    other = draw(st.sampled_from(["number", "Y_1" if name == "Y_0" else "number"]))
    sides = (name, str(number) if other == "number" else other)
    sides = sides[::-1] if draw(st.booleans()) else sides

    def value(side, x, y):
        return float(side) if side[0] not in "XY" else float((x if side[0] == "X" else y)[int(side[2])])

    def holds(x, y):
        left, right = (value(side, x, y) for side in sides)
        return {"<=": le, ">=": ge, "<": lt, ">": gt}[sign](left, right)

    return f"({sign} {sides[0]} {sides[1]})", holds


def joined(parts):
    kind, items = parts
    fold = all if kind == "and" else any
    return f"({kind} {' '.join(text for text, _ in items)})", lambda x, y: fold(holds(x, y) for _, holds in items)


formulas = st.recursive(
    atoms(),
    lambda inner: st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)).map(joined),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(formulas, min_size=1, max_size=3))
def test_any_nesting_means_what_it_says(assertions):
    found = read_vnnlib(DECLARED + BOX + "\n".join(f"(assert {text})" for text, _ in assertions))
    for x, y in points((-1.0, -0.25, 0.0, 0.25, 1.0)):
        inside = -1 <= x[0] <= 1 and 0 <= x[1] <= 0.25
        assert found.violated(x, y) == (inside and all(holds(x, y) for _, holds in assertions))


WRONG = {
    "(assert (<= X_0 1)": "line 5: a bracket opens",
    "\n)": "line 6: a bracket closes",
    "assert": "line 5: 'assert' stands outside",
    "(assert (<= X_0))": "line 5: <= takes 2 arguments, not 1",
    "(assert (<= X_0 1) (<= X_0 2))": "line 5: assert takes 1 arguments",
    "(assert (=> X_0 1))": "line 5: => is not a condition",
    "(assert X_0)": "line 5: 'X_0' is not a condition",
    "\n\n(assert (<= Z 1))": "line 7: 'Z' is neither",
    "(assert (<= X_0 nan))": "line 5: 'nan' is neither",
    "(assert (<= X_0 1e999))": "line 5: '1e999' is neither",
    "(assert (<= Y_0 (* Y_0 Y_1)))": "line 5: a product of two variables",
    "(assert (<= Y_0 (/ 1 2)))": "line 5: / is not linear",
    "(assert (<= Y_0 (* 1e300 1e300)))": "line 5: its numbers are too large",
    "(assert (<= Y_0 (+ 1e308 1e308 (- 1e308))))": "line 5: its numbers are too large",
    "(declare-const X_" + "9" * 5000 + " Real)": "is neither an input",
    "(assert (<= X_0 X_1))": "line 5: a condition relates",
    "(assert (<= X_0 Y_0))": "line 5: a condition relates",
    "(assert (<= X_0 1))": "input X_0 has no lower limit",
    "(declare-const X_0 Real)": "line 5: X_0 is declared twice (first on line 1)",
    "(declare-const X_3 Real)": "3 inputs and 2 outputs are declared",
    "(declare-const Z_0 Real)": "line 5: variable 'Z_0'",
    "(declare-const X_9 Int)": "line 5: a variable is declared as",
    "(define-fun f () Real 1)": "line 5: define-fun is not known",
    "(" * 200: "nested deeper",
    "(assert (and " + "(or (<= Y_0 0) (<= Y_1 0)) " * 20 + "))": "alternatives",
    "(assert (or (<= Y_0 0) (<= Y_1 0)))" * 20: "alternatives",
}


@pytest.mark.parametrize("text", WRONG)
def test_complaints(text):
    with pytest.raises(InputError) as caught:
        read_vnnlib(DECLARED + text)
    assert WRONG[text] in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.text("()XY_01. <=>-andorssert;\n", max_size=60))
def test_noise_never_ends_in_a_traceback(noise):
    try:
        read_vnnlib(DECLARED + BOX + noise)
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.shared
def test_properties_of_the_data_folder(data_root):
    paths = sorted(data_root.glob("vnnlib/**/*.vnnlib"))
    assert len(paths) > 30
    for path in paths:
        assert len(read_vnnlib(path.read_text()).cases) == 1
