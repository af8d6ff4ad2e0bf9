import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aureole.core import InputError, TopK
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
    assert TopK(1, 1).intruders(3) == (0, 2)


@pytest.mark.parametrize(("target", "k"), [(-1, 1), (3, 1), (0, 0), (0, 3), (0, -1)])
def test_specs_that_do_not_fit_are_told(target, k):
    with pytest.raises(InputError, match="pass"):
        TopK(target, k).rows(3)
