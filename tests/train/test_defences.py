import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aureole.core import InputError
from aureole.train import BlackRectangle, LinfPgd, NoDefence, multi_label_loss, pgd

DEFENCES = [NoDefence(), BlackRectangle(1, 3), LinfPgd(radius=0.2, steps=3)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda d: type(d).__name__)
def test_every_defence_keeps_shape_range_input_and_gradients(defence, module, make_bars):
    images, labels = make_bars(10, 0)
    before = images.clone()
    first, again = (defence.apply(module, images, labels, 0.5, generator(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == images.shape and not first.requires_grad
    assert float(first.min()) >= 0 and float(first.max()) <= 1
    assert torch.equal(images, before)
    assert all(p.grad is None for p in module.parameters())


def test_no_defence_changes_nothing(module, make_bars):
    images, labels = make_bars(4, 0)
    assert torch.equal(NoDefence().apply(module, images, labels, 0.0, generator()), images)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(0, 12))
def test_rectangles_are_whole_black_and_of_the_asked_size(seed, smallest, more):
    defence = BlackRectangle(smallest, smallest + more)
    images = torch.ones(50, 2, 9, 11)
    changed = defence.apply(torch.nn.Identity(), images, torch.zeros(50, 1).long(), 0.0, generator(seed))
    for image in changed:
        assert torch.equal(image[0], image[1])
        black = image[0] == 0
        rows, columns = int(black.any(1).sum()), int(black.any(0).sum())
        assert int(black.sum()) == rows * columns
        for side, longest in ((rows, 9), (columns, 11)):
            assert smallest <= side <= min(smallest + more, longest)
    if more:
        assert len({int((image == 0).sum()) for image in changed}) > 1


def test_rectangles_reach_every_corner():
    images = torch.ones(2000, 1, 6, 6)
    changed = BlackRectangle(1, 2).apply(torch.nn.Identity(), images, torch.zeros(2000, 1).long(), 0.0, generator())
    assert float(changed.amin(dim=0).max()) == 0.0


def test_pgd_stays_in_the_ball_and_raises_the_loss(module, make_bars):
    images, labels = make_bars(32, 0)
    moved = pgd(module, images, labels, 0.1, 5, 0.04, generator())
    assert float((moved - images).abs().max()) <= 0.1 + 1e-6
    noise = pgd(module, images, labels, 0.1, 0, 0.04, generator())
    with torch.no_grad():
        clean, random, attacked = (multi_label_loss(module(x), labels) for x in (images, noise, moved))
    assert attacked > clean + 0.01 and attacked > random + 0.01


def test_pgd_with_radius_zero_is_the_image(module, make_bars):
    images, labels = make_bars(5, 0)
    assert torch.equal(pgd(module, images, labels, 0.0, 3, 0.1, generator()), images.clamp(0, 1))


def test_the_radius_grows_during_warm_up(module, make_bars):
    images, labels = make_bars(20, 0)
    defence = LinfPgd(radius=0.2, steps=2, warmup=0.5)
    reach = [
        float((defence.apply(module, images, labels, done, generator()) - images).abs().max())
        for done in (0.0, 0.25, 0.5, 1.0)
    ]
    assert reach == pytest.approx([0.0, 0.1, 0.2, 0.2], abs=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BlackRectangle(0, 3),
        lambda: BlackRectangle(5, 3),
        lambda: LinfPgd(radius=-1.0),
        lambda: LinfPgd(steps=0),
    ],
)
def test_impossible_settings_are_one_line(make):
    with pytest.raises(InputError):
        make()
