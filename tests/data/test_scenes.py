import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aureole.core import InputError
from aureole.data import DigitSet, load_source_digits, make_batch, make_scene, make_scenes
from aureole.data.scenes import slot_scene

DIGITS = load_source_digits("test")
SIDES = {2: 64, 3: 84}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([2, 3]))
def test_a_scene_holds_each_digit_whole_in_its_own_slot(seed, objects):
    scene = make_scene(DIGITS, objects, generator(seed))
    side, slot = SIDES[objects], SIDES[objects] // objects
    assert scene.image.shape == (1, side, side)
    assert scene.image.dtype == torch.float64
    assert len(set(scene.labels)) == objects
    known = {
        (int(c), image[(image > 0).any(1)][:, (image > 0).any(0)].numpy().tobytes())
        for image, c in zip(DIGITS.images, DIGITS.labels, strict=True)
    }
    levels = (scene.image[0] * 255).round().to(torch.uint8)
    for i, (label, mask) in enumerate(zip(scene.labels, scene.masks, strict=True)):
        assert not bool(mask[:, : i * slot].any()) and not bool(mask[:, (i + 1) * slot :].any())
        alone = levels * mask
        cropped = alone[(alone > 0).any(1)][:, (alone > 0).any(0)].contiguous()
        assert (label, cropped.numpy().tobytes()) in known
    assert torch.equal(torch.stack(scene.masks).any(0), scene.image[0] > 0)


# as published (MultiDigitMNIST): top 0..35 and left 32 i + 0..3, or top 0..55 and left 28 i
@pytest.mark.parametrize(("objects", "last_row", "lefts"), [(2, 35 + 27, [(0, 3), (32, 35)]), (3, 55 + 27, [(0, 0)])])
def test_placement_covers_the_published_range(objects, last_row, lefts):
    digits = DigitSet(torch.full((10, 28, 28), 255, dtype=torch.uint8), torch.arange(10))  # white squares
    ink = make_batch(digits, 3000, objects, generator(1)).images[:, 0] > 0
    assert ink.any(0).any(1).nonzero().flatten().tolist() == list(range(last_row + 1))
    for first, last in lefts:
        assert bool(ink[:, :, last : first + 28].any(1).all())
        assert int(ink[:, :, : last + 28].any(0).any(0).nonzero().max()) == last + 27
        starts = (~ink.any(1)[:, first : last + 1]).sum(1)
        assert starts.unique().tolist() == list(range(last - first + 1))


def test_labels_are_uniform_and_different():
    labels = make_batch(DIGITS, 5000, 2, generator(2)).labels
    assert not bool((labels[:, 0] == labels[:, 1]).any())
    counts = torch.bincount(labels.flatten(), minlength=10)
    assert int(counts.min()) > 850 and int(counts.max()) < 1150


def test_the_seed_decides():
    first, again, other = (make_batch(DIGITS, 5, 2, generator(s)) for s in (7, 7, 8))
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)


def test_single_scenes_equal_batched_ones():
    scene = make_scene(DIGITS, 3, generator(4))
    batch = make_batch(DIGITS, 1, 3, generator(4))
    assert torch.equal(scene.image.float(), batch.images[0])
    assert list(scene.labels) == batch.labels[0].tolist()


def test_scene_i_does_not_depend_on_the_count():
    few, many = (list(make_scenes(DIGITS, n, 2, seed=3)) for n in (2, 4))
    assert torch.equal(few[1].image, many[1].image)
    assert [s.name for s in few] == ["scene-0000", "scene-0001"]


def test_every_source_image_can_be_chosen():
    labels = torch.arange(10).repeat(400)[:, None]
    from aureole.data.scenes import _pick

    chosen = _pick(DIGITS, labels, torch.rand(labels.shape, generator=generator(0), dtype=torch.float64))
    assert torch.equal(DIGITS.labels[chosen], labels)
    assert len(chosen.unique()) > 440
    top = _pick(DIGITS, torch.arange(10)[:, None], torch.full((10, 1), 1 - 2**-53, dtype=torch.float64))
    assert torch.equal(DIGITS.labels[top[:, 0]], torch.arange(10))


def test_bad_requests_are_one_line():
    with pytest.raises(InputError, match="pass 2 or 3"):
        make_scene(DIGITS, 4, generator(0))
    with pytest.raises(InputError, match="64x64"):
        slot_scene(torch.ones(84, 84, dtype=torch.uint8), (1, 2), "x")
