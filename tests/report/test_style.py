import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure

from aureole import neighborhood
from aureole.report import style
from aureole.report.panels import log_axis_with_zero, radius_norm, signed_ticks
from aureole.report.words import band_names, labels, spans


@given(arrays(bool, (5, 6)))
def test_outline_has_one_edge_per_border_between_pixels(mask):
    padded = np.pad(mask, 1)
    count = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    segments = style.edges(mask)
    assert segments.shape == (count, 2, 2)
    assert (np.abs(segments[:, 0] - segments[:, 1]).sum(1) == 1).all()


def test_signed_scale_is_symmetrical():
    norm = style.signed_norm(np.array([-0.1, 0.0, 0.05]))
    assert isinstance(norm, Normalize) and not isinstance(norm, SymLogNorm)
    assert (norm.vmin, norm.vmax) == (-0.1, 0.1)


def test_signed_scale_keeps_small_changes_visible():
    norm = style.signed_norm(np.array([0.001] * 50 + [-1.0]))
    assert isinstance(norm, SymLogNorm)
    assert (norm.vmin, norm.vmax) == (-1.0, 1.0)


def test_signed_scale_of_no_change():
    norm = style.signed_norm(np.zeros(4))
    assert norm(0.0) == 0.5


def test_largest_channel_keeps_the_sign():
    change = np.array([[[0.1]], [[-0.4]], [[0.2]]])
    assert style.largest_channel(change).tolist() == [[-0.4]]


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=8))
def test_radius_scale_covers_the_radii(radii):
    norm = radius_norm(np.array(radii))
    assert norm is not None
    assert norm.vmin <= min(radii) and max(radii) <= norm.vmax
    assert norm.vmin < norm.vmax


def test_no_scale_without_a_positive_radius():
    assert radius_norm(np.zeros(3)) is None


def test_spans():
    assert spans([3, 4, 5, 0, 9]) == "0, 3-5, 9"
    assert spans([]) == ""


def test_numbers_are_short():
    assert style.number(None) == "–"
    assert style.number(0.012345) == "0.0123"


@given(st.floats(1e-5, 0.04), st.floats(0.9, 1.0))
def test_ticks_of_a_logarithmic_scale_show_its_powers_of_ten(near, top):
    norm = SymLogNorm(linthresh=near, vmin=-top, vmax=top)
    ticks = signed_ticks(norm)
    assert ticks == sorted(ticks) == [-t for t in reversed(ticks)]
    assert {ticks[0], ticks[-1], 0.0, near} <= {*ticks} and abs(ticks[-1]) == top
    assert 0.1 in ticks
    places = norm(np.array(ticks))
    assert (np.diff(places) > 0.02).all()  # no label on another


def test_ticks_of_a_linear_scale():
    assert signed_ticks(Normalize(-0.2, 0.2)) == [-0.2, -0.1, 0.0, 0.1, 0.2]


def test_labels_and_bands_in_words():
    assert [labels(given) for given in (None, 4, [4], [4, 7], [1, 2, 3])] == ["", "4", "4", "4 and 7", "1, 2 and 3"]
    assert band_names([[0, 0], [1, 1], [2, 9]]) == ["object", "ring 1", "rings 2-9"]
    assert band_names([[0, 1], [2, 2]]) == ["object and ring 1", "ring 2"]
    assert band_names([[0, 5]]) == ["object and rings 1-5"]


@given(st.floats(1e-6, 0.5), st.floats(1.5, 1e5))
def test_no_tick_of_a_log_axis_lies_at_its_zero(low, ratio):
    axes = Figure().add_subplot()
    foot = log_axis_with_zero(axes, LogNorm(low, low * ratio))
    ticks = axes.get_yticks()
    assert foot < low <= min(ticks, default=low) * 1.01
    assert axes.get_ylim()[0] < foot


def test_every_method_has_a_name_and_a_colour_of_its_own():
    assert set(style.METHODS) == set(neighborhood.METHODS)
    for part in ("label", "colour"):
        assert len({getattr(look, part) for look in style.METHODS.values()}) == len(style.METHODS)
    assert style.look("another").label == "another"
    assert style.look("another").colour not in {look.colour for look in style.METHODS.values()}
