import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aureole.core import InputError, Rings
from nets_zoo import F64


@st.composite
def masks(drawn):
    height, width = drawn(st.integers(1, 7)), drawn(st.integers(1, 7))
    flags = drawn(st.lists(st.booleans(), min_size=height * width, max_size=height * width).filter(any))
    return torch.tensor(flags).reshape(height, width)


@given(masks())
@settings(max_examples=80, deadline=None)
def test_the_ring_is_the_chebyshev_distance_to_the_mask(mask):
    rings = Rings.around(mask)
    marked = mask.nonzero().tolist()
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            assert int(rings.index[i, j]) == min(max(abs(i - a), abs(j - b)) for a, b in marked)
    assert sum(rings.pixels) == mask.numel()
    assert len(rings.pixels) == len(rings) == int(rings.index.max()) + 1
    assert min(rings.pixels) >= 1


@given(masks())
@settings(max_examples=30, deadline=None)
def test_spread_total_and_peak_agree_with_loops(mask):
    rings = Rings.around(mask)
    values = torch.arange(mask.numel(), dtype=F64).reshape(mask.shape).sin()
    radii = torch.arange(len(rings), dtype=F64) + 0.25
    assert torch.equal(rings.spread(radii), rings.index.to(F64) + 0.25)
    for d in range(len(rings)):
        ring = values[rings.index == d]
        assert float(rings.total(values)[d]) == pytest.approx(float(ring.sum()), abs=1e-12)
        assert float(rings.peak(values)[d]) == float(ring.max())
    both = torch.stack([values, 2 * values])
    assert torch.allclose(rings.total(both)[1], 2 * rings.total(values))
    assert rings.spread(torch.stack([radii, radii])).shape == (2, *mask.shape)


def test_an_empty_mask_is_told():
    with pytest.raises(InputError, match="marks no pixel"):
        Rings.around(torch.zeros(3, 3, dtype=torch.bool))


@given(masks(), st.lists(st.integers(1, 9), unique=True, max_size=4).map(sorted))
@settings(max_examples=60, deadline=None)
def test_bands_group_the_rings(mask, more):
    rings = Rings.around(mask)
    bands = rings.banded([0, *more])
    assert rings.distances == tuple((d, d) for d in range(len(rings)))
    assert bands.bands is not None and len(bands.bands) == len(bands) == int(bands.index.max()) + 1
    for band, (first, last) in enumerate(bands.distances):
        inside = (rings.index >= first) & (rings.index <= last)
        assert torch.equal(bands.index == band, inside)
        assert first in (0, *more)
    assert bands.distances[-1][1] == len(rings) - 1
    assert sum(bands.pixels) == mask.numel()


@pytest.mark.parametrize("edges", [[], [1, 2], [0, 2, 2], [0, 3, 1], [-1, 0]])
def test_edges_that_make_no_bands_are_told(edges):
    with pytest.raises(InputError, match="start at 0 and rise"):
        Rings.around(torch.eye(3, dtype=torch.bool)).banded(edges)


def test_bands_make_no_bands():
    with pytest.raises(InputError, match="bands already"):
        Rings.around(torch.eye(3, dtype=torch.bool)).banded([0, 1]).banded([0, 1])


def test_masks_of_numbers():
    """Found in review: `~1` is -2, and not 0."""
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[1, 2] = True
    index = Rings.around(mask).index
    for kind in (torch.uint8, torch.int64, F64):
        assert torch.equal(Rings.around.__wrapped__(Rings, mask.to(kind)).index, index)
