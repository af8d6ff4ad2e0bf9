import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aureole.core import InputError
from aureole.report.timelines import Runs, draw_timelines, quartiles, size_at

TIMELINES = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 5)), max_size=6).map(
    lambda points: [list(pair) for pair in zip(sorted(t for t, _ in points), sorted(s for _, s in points), strict=True)]
)


@given(TIMELINES, st.floats(0, 25))
def test_the_size_at_a_time_is_the_last_improvement_before_it(timeline, time):
    expected = max((size for seconds, size in timeline if seconds <= time), default=0.0)
    assert size_at(timeline, np.array([time])) == [expected]


def test_quartiles_over_cases():
    timelines = [[[1.0, float(size)]] for size in range(5)]
    assert quartiles(timelines, np.array([0.5, 2.0])).tolist() == [[0, 1], [0, 2], [0, 3]]


def test_the_picture(tmp_path):
    runs = {
        "certificate": Runs(([[0.2, 0.5], [3.0, 2.0]], []), 20.0),
        "other": Runs(([[1.0, 0.1]], [[2.0, 0.4]]), 10.0),
    }
    picture = tmp_path / "over-time.png"
    draw_timelines({"one": runs, "two": runs}, picture)
    first = picture.read_bytes()
    assert len(np.unique(np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3), axis=0)) > 100
    draw_timelines({"one": runs, "two": runs}, picture)
    assert picture.read_bytes() == first


def test_nothing_to_draw(tmp_path):
    with pytest.raises(InputError, match="no timeline"):
        draw_timelines({"one": {"certificate": Runs(([],), 1.0)}}, tmp_path / "x.png")
