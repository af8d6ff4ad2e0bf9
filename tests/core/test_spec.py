import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aureole.core import AboveThreshold, InputError, OutOfTopK, TopK
from nets_zoo import F64

SCORES = st.lists(st.integers(-3, 3), min_size=2, max_size=6)


@given(SCORES, st.data())
@settings(max_examples=150, deadline=None)
def test_the_margin_is_that_of_a_sort(scores, data):
    """Integers: many ties."""
    target = data.draw(st.integers(0, len(scores) - 1))
    k = data.draw(st.integers(1, len(scores) - 1))
    spec = TopK(target, k)
    margin = float(spec.margin(torch.tensor(scores, dtype=F64)))
    differences = sorted((s - scores[target] for c, s in enumerate(scores) if c != target), reverse=True)
    assert margin == -differences[k - 1]
    not_beaten = sum(s >= scores[target] for c, s in enumerate(scores) if c != target) < k
    assert (margin > 0) == not_beaten


def test_a_tie_is_a_failure():
    scores = torch.tensor([1.0, 1.0, 0.0], dtype=F64)
    assert float(TopK(0, 1).margin(scores)) == 0
    assert float(TopK(0, 2).margin(scores)) == 1
    assert float(TopK(2, 2).margin(scores)) == -1


@given(SCORES.filter(lambda s: len(s) > 2), st.floats(-1e3, 1e3))
@settings(max_examples=50, deadline=None)
def test_a_larger_k_and_a_common_shift(scores, shift):
    tensor = torch.tensor(scores, dtype=F64)
    margins = [float(TopK(0, k).margin(tensor)) for k in range(1, len(scores))]
    assert margins == sorted(margins)
    assert float(TopK(0, 1).margin(tensor + shift)) == pytest.approx(margins[0], abs=1e-9)


def test_batches_and_dtypes():
    scores = torch.tensor([[[1.0, 0.0, 2.0]], [[3.0, 0.0, 2.0]]])
    margin = TopK(0, 1).margin(scores)
    assert margin.dtype == torch.float32
    assert margin.tolist() == [[-1.0], [1.0]]
    rows = TopK(1, 1).rows(3)
    assert rows.tolist() == [[-1, 1, 0], [0, 1, -1]]


@pytest.mark.parametrize(("target", "k"), [(-1, 1), (3, 1), (0, 0), (0, 3), (0, -1)])
def test_specs_that_do_not_fit_are_told(target, k):
    with pytest.raises(InputError, match="pass"):
        TopK(target, k).rows(3)


@given(SCORES, st.data())
@settings(max_examples=150, deadline=None)
def test_out_of_the_top_k_is_that_of_a_sort(scores, data):
    """Integers: many ties, and with one neither `TopK` nor `OutOfTopK` holds."""
    label = data.draw(st.integers(0, len(scores) - 1))
    k = data.draw(st.integers(1, len(scores) - 1))
    tensor = torch.tensor(scores, dtype=F64)
    others = sorted((s for c, s in enumerate(scores) if c != label), reverse=True)
    out = float(OutOfTopK(label, k, len(scores)).margin(tensor))
    assert out == others[k - 1] - scores[label]
    stays = float(TopK(label, k).margin(tensor))
    assert stays == -out  # both are about the k-th highest of the others


def test_a_score_above_a_threshold():
    scores = torch.tensor([[0.5, -1.0], [2.0, 3.0]], dtype=F64)
    assert AboveThreshold(0, 0.5).margin(scores).tolist() == [0.0, 1.5]
    assert AboveThreshold(1, -2.0).margin(scores).tolist() == [1.0, 5.0]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (OutOfTopK(3, 1, 3), "label 3.*pass 0..2"),
        (OutOfTopK(0, 3, 3), "k = 3.*pass 1..2"),
        (OutOfTopK(0, 1, 4), "about 4 classes.*gives 3"),
        (AboveThreshold(-1, 0.0), "label -1.*pass 0..2"),
    ],
)
def test_named_specs_that_do_not_fit_are_told(spec, told):
    with pytest.raises(InputError, match=told):
        spec.rows(3)


def test_a_threshold_is_finite():
    with pytest.raises(InputError, match="finite"):
        AboveThreshold(0, float("nan"))


def test_claims_in_words():
    assert TopK(3, 2).claim == "label 3 stays among the 2 highest scores"
    assert TopK(3, 1).claim == "label 3 keeps the highest score"
    assert OutOfTopK(3, 2, 9).claim == "label 3 stays out of the 2 highest scores"
    assert AboveThreshold(3, 0.25).claim == "the score of label 3 stays above 0.25"
