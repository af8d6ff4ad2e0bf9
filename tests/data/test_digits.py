import pytest
import torch

from aureole.core import InputError
from aureole.data import DigitSet, load_source_digits


def test_the_split_is_stratified_disjoint_and_complete():
    train, test = load_source_digits("train"), load_source_digits("test")
    assert len(train) + len(test) == 1797
    for digit in range(10):
        held = int((test.labels == digit).sum())
        assert held == (held + int((train.labels == digit).sum())) // 4
    seen = {image.numpy().tobytes() for image in train.images}
    assert not any(image.numpy().tobytes() in seen for image in test.images)


def test_digits_use_the_whole_range_and_have_a_true_background():
    digits = load_source_digits("test")
    assert digits.images.shape[1:] == (28, 28)
    assert int(digits.images.max()) == 255
    background = (digits.images == 0).float().mean()
    assert 0.3 < background < 0.6
    assert not bool(((digits.images > 0) & (digits.images < 13)).any())


def test_a_set_without_one_class_is_refused():
    digits = load_source_digits("test")
    kept = digits.labels != 3
    with pytest.raises(InputError, match=r"no image of \[3\]"):
        DigitSet(digits.images[kept], digits.labels[kept])


def test_a_black_image_is_refused():
    digits = load_source_digits("test")
    images = digits.images.clone()
    images[5] = 0
    with pytest.raises(InputError, match="black"):
        DigitSet(images, digits.labels)


def test_members_list_each_image_once():
    digits = load_source_digits("test")
    members = digits.members()
    assert torch.equal(torch.cat(members).sort().values, torch.arange(len(digits)))
    assert all(bool((digits.labels[m] == c).all()) for c, m in enumerate(members))
