import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aureole.core import InputError, Region, Rings
from nets_zoo import F64, seeded

HALF = torch.full((1, 2, 2), 0.5, dtype=F64)


@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from([torch.float32, F64]))
@settings(max_examples=60, deadline=None)
def test_clip_puts_images_inside_to_the_last_bit(seed, radius, dtype):
    g = seeded(seed)
    image = torch.rand((2, 3, 3), generator=g, dtype=dtype)
    region = Region.ball(image, radius)
    far = image + (torch.rand((5, 2, 3, 3), generator=g, dtype=dtype) - 0.5) * 4
    clipped = region.clip(far)
    assert bool((clipped >= region.lower).all() and (clipped <= region.upper).all())
    assert all(region.contains(c) for c in clipped)
    assert torch.equal(region.clip(clipped), clipped)
    inside = (far >= region.lower) & (far <= region.upper)
    assert torch.equal(clipped[inside], far[inside])
    assert region.contains(image)
    assert not region.contains(torch.nextafter(region.upper[0], torch.tensor(9.0, dtype=dtype)))


def test_zero_width_holds_one_image():
    region = Region.ball(HALF, 0.0)
    assert torch.equal(region.lower, region.upper)
    assert region.contains(HALF)
    assert not region.contains(HALF + 1e-16 * 4)
    assert torch.equal(region.center[0], HALF)


def test_the_clip_range_cuts_both_ends():
    image = torch.tensor([[[0.0, 0.05, 0.95, 1.0]]], dtype=F64)
    region = Region.ball(image, 0.1)
    last_bit = {"rtol": 0, "atol": 2e-16}  # limits are rounded inwards
    assert torch.allclose(region.lower[0], torch.tensor([[[0.0, 0.0, 0.85, 0.9]]], dtype=F64), **last_bit)
    assert torch.allclose(region.upper[0, 0, 0, :2], torch.tensor([0.1, 0.05 + 0.1], dtype=F64), **last_bit)
    assert torch.equal(region.upper[0, 0, 0, 2:], torch.ones(2, dtype=F64))
    assert torch.equal(Region.ball(image, torch.inf).upper, torch.ones(1, 1, 1, 4, dtype=F64))
    wide = Region.ball(image, 0.1, clip=(-5.0, 5.0))
    assert abs(float(wide.lower.min()) + 0.1) < 1e-15
    assert abs(float(wide.upper.max()) - 1.1) < 1e-15


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_ringed_moves_each_pixel_by_its_ring(seed):
    g = seeded(seed)
    mask = torch.rand((4, 5), generator=g) < 0.2
    mask[int(torch.randint(0, 4, (1,), generator=g)), 2] = True
    rings = Rings.around(mask)
    image = torch.rand((3, 4, 5), generator=g, dtype=F64)
    radii = torch.rand(len(rings), generator=g, dtype=F64)
    region = Region.ringed(image, rings, radii)
    for c in range(3):
        for i in range(4):
            for j in range(5):
                x, r = float(image[c, i, j]), float(radii[rings.index[i, j]])
                assert float(region.lower[0, c, i, j]) == max(x - r, 0.0)
                assert float(region.upper[0, c, i, j]) == min(x + r, 1.0)
    assert torch.equal(region.lower, Region.ringed(image, rings, radii.tolist()).lower)


def test_larger_radii_contain_smaller_ones():
    g = seeded(1)
    image = torch.rand((1, 3, 3), generator=g, dtype=F64)
    small, large = Region.ball(image, 0.1), Region.ball(image, 0.3)
    assert bool((large.lower <= small.lower).all() and (small.upper <= large.upper).all())


def test_batches_stack_and_come_apart():
    parts = [Region.ball(HALF, r) for r in (0.0, 0.1, 0.7)]
    batch = Region.stack(parts)
    assert len(batch) == 3
    assert batch.shape == (1, 2, 2)
    for i, part in enumerate(parts):
        assert torch.equal(batch[i].lower, part.lower)
        assert torch.equal(batch[i].upper, part.upper)
    assert batch.contains(HALF)
    assert not batch.contains(HALF + 0.05)  # not in the first
    assert batch.to(torch.float32).lower.dtype == torch.float32


@pytest.mark.parametrize("radius", [-0.1, float("nan")])
def test_bad_radii_are_told(radius):
    with pytest.raises(InputError, match="radi"):
        Region.ball(HALF, radius)
    rings = Rings.around(torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(InputError, match="radi"):
        Region.ringed(HALF, rings, [radius])


def test_bad_limits_are_told():
    nan = torch.full((1, 1, 2, 2), torch.nan, dtype=F64)
    with pytest.raises(InputError, match="NaN"):
        Region(nan, nan)
    with pytest.raises(InputError, match="lower"):
        Region(HALF[None], HALF[None] - 1e-12)
    with pytest.raises(InputError, match="2 radii for 1 rings"):
        Region.ringed(HALF, Rings.around(torch.ones(2, 2, dtype=torch.bool)), [0.1, 0.2])
