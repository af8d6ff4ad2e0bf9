import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from PIL import Image

from aureole.core import InputError
from aureole.core.record import ARRAYS_NAME, JSON_NAME, read_record
from aureole.report import draw, style, words
from aureole.report.page import compose
from aureole.report.panels import radius_colours, radius_norm


def figure_of(folder: Path):
    return compose(*read_record(folder))


def texts(figure) -> str:
    inside = [t.get_text() for axes in figure.axes for t in axes.texts]
    legends = [t.get_text() for axes in figure.axes if axes.get_legend() for t in axes.get_legend().get_texts()]
    return "\n".join([*(t.get_text() for t in figure.texts), *inside, *legends])


def test_pictures_are_made_and_not_blank(write_neighborhood):
    png, svg = draw(write_neighborhood())
    assert (png.name, svg.name) == ("neighborhood.png", "neighborhood.svg")
    pixels = np.asarray(Image.open(png).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    assert svg.read_text().count("<path") > 50


def test_the_same_record_gives_the_same_bytes(write_neighborhood):
    folder = write_neighborhood()
    first = [path.read_bytes() for path in draw(folder)]
    assert first == [path.read_bytes() for path in draw(folder)]


def test_ring_map_and_bars_follow_the_radii(write_neighborhood):
    folder = write_neighborhood()
    _, arrays = read_record(folder)
    radii, index = arrays["radii"].numpy(), arrays["ring_index"].numpy()
    norm, colours = radius_norm(radii), radius_colours()
    assert norm is not None
    wanted = [to_rgba(style.ZERO) if r == 0 else colours(norm(r)) for r in radii]

    figure = figure_of(folder)
    ring_map = next(axes for axes in figure.axes if axes.images and axes.images[0].get_cmap().name == style.RADII)
    drawn = ring_map.images[0].to_rgba(ring_map.images[0].get_array())
    np.testing.assert_allclose(drawn, np.array(wanted)[index], atol=1e-6)

    chart = next(axes for axes in figure.axes if len(axes.patches) == len(radii))
    np.testing.assert_allclose([bar.get_facecolor() for bar in chart.patches], wanted, atol=1e-6)
    heights = np.array([bar.get_height() for bar in chart.patches])
    np.testing.assert_allclose(heights[radii > 0], radii[radii > 0])
    assert (heights[radii == 0] < radii[radii > 0].min()).all()
    labels = {t.get_text() for t in chart.get_yticklabels()}
    assert "0" in labels


def test_brackets_run_from_the_radius_to_the_witness(write_neighborhood):
    folder = write_neighborhood(radii=[0.01] * 17, witness_rings=[2, 5], capped=[], open_rings=[5, 7])
    figure = figure_of(folder)
    chart = figure.axes[4]
    uprights = [line for line in chart.lines if len(set(line.get_xdata())) == 1]
    assert [line.get_xdata()[0] for line in uprights] == [2, 5]
    for line, limit in zip(uprights, [0.011, 0.02], strict=True):
        np.testing.assert_allclose(line.get_ydata(), [0.01, limit])
    assert texts(figure).splitlines().count("?") == 1  # ring 7, of which nothing is known


def test_a_wide_bracket_fits_on_the_chart(write_neighborhood):
    limits = [0.01] * 16 + [0.9]
    chart = figure_of(write_neighborhood(radii=[0.01] * 17, limits=limits, witness_rings=[16], capped=[])).axes[4]
    assert chart.get_ylim()[1] > 0.9


def test_capped_and_open_rings_are_marked(write_neighborhood):
    said = texts(figure_of(write_neighborhood()))
    assert "▲" in said and "?" in said
    assert "any change is allowed" in said and "no failing image known" in said
    assert "radius 0" in said


@pytest.mark.parametrize(("count", "told"), [(8, None), (9, "9 of 17 rings"), (17, "all 17 rings")])
def test_many_open_rings_are_told_in_one_sentence(write_neighborhood, count, told):
    folder = write_neighborhood(radii=[0.01] * 17, witness_rings=[], capped=[], open_rings=list(range(count)))
    said = texts(figure_of(folder)).splitlines()
    assert said.count("?") == (0 if told else count)
    sentence = f"{told}: no failing image known"
    assert said.count(sentence) == (1 if told else 0)


def test_the_title_says_what_is_shown(write_neighborhood):
    said = texts(figure_of(write_neighborhood()))
    for word in (
        "PROVED",
        "digits-none",
        "label 3 stays among the 2 highest scores",
        "object 7",
        "size 1.73",
        "oracle",
    ):
        assert word in said


def test_maximal_rings_and_upper_bound_are_told(write_neighborhood):
    said = texts(figure_of(write_neighborhood(maximal=True, open_rings=[], upper_bound=2.5)))
    assert "maximal: no ring can grow by 0.001" in said
    assert "at most 2.5 is possible" in said


def test_nothing_proved(write_neighborhood):
    folder = write_neighborhood(radii=[0.0] * 17, verdict="UNKNOWN", witness_rings=[], capped=[], open_rings=None)
    assert "OPEN" in texts(figure_of(folder))
    assert draw(folder)


@pytest.mark.parametrize("absent", [("target_mask",), ("weakest",), ("target_mask", "weakest")])
def test_optional_arrays_may_be_absent(write_neighborhood, absent):
    said = texts(figure_of(write_neighborhood(arrays_without=absent)))
    assert ("target: label 3" in said) == ("target_mask" not in absent)
    assert ("Weakest" in said) == ("weakest" not in absent)


@pytest.mark.parametrize(("verdict", "badge"), [("VULNERABLE", "BROKEN"), ("ROBUST", "PROVED"), ("UNKNOWN", "OPEN")])
def test_prove_page(write_prove, verdict, badge):
    folder = write_prove(verdict)
    said = texts(figure_of(folder))
    assert badge in said and "radius 0.03" in said
    assert ("Witness" in said) == (verdict == "VULNERABLE")
    assert [path.name for path in draw(folder)] == ["prove.png", "prove.svg"]


@pytest.mark.parametrize(
    ("config", "robust", "broken"),
    [
        ({"out_of_top": True}, "label 3 stays out of the 2 highest scores", "label 3 comes among the 2 highest scores"),
        ({"k": None, "threshold": 5.0}, "label 3 keeps a score above 5", "label 3 does not keep a score above 5"),
        ({"target": [3, 4], "out_of_top": True}, "3 and 4 both stay out of the 2", "do not both stay out of the 2"),
        ({"target": [3, 4], "k": None, "threshold": 0.5}, "both keep a score above 0.5", "do not both keep a score"),
    ],
)  # fmt: skip
def test_a_picture_says_what_was_asked(write_prove, config, robust, broken):
    """Found in review: every question was called one about staying among the k highest."""
    assert robust in texts(figure_of(write_prove("ROBUST", **config)))
    assert broken in texts(figure_of(write_prove("VULNERABLE", **config)))


def test_bounds_are_written_down_as_bounds(write_neighborhood):
    said = texts(figure_of(write_neighborhood(size=0.0312499, upper_bound=0.0312443)))
    assert "0.03124 =" in said and "at most 0.03125" in said


def test_a_missing_array_is_one_clear_error(write_neighborhood):
    with pytest.raises(InputError, match="do not fit together"):
        draw(write_neighborhood(arrays_without=("ring_index",)))


def test_a_damaged_record_is_one_clear_error(write_neighborhood):
    folder = write_neighborhood()
    arrays = folder / ARRAYS_NAME
    arrays.write_bytes(arrays.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged"):
        draw(folder)
    (folder / JSON_NAME).write_text("{}")
    with pytest.raises(InputError, match="not a record"):
        draw(folder)


def test_a_record_without_a_needed_word_is_one_clear_error(write_neighborhood):
    folder = write_neighborhood()
    content = json.loads((folder / JSON_NAME).read_text())
    del content["config"]["delta"]
    (folder / JSON_NAME).write_text(json.dumps(content))
    with pytest.raises(InputError, match="delta"):
        draw(folder)


def test_report_does_not_import_what_computes():
    code = "import aureole.report, sys; print([m for m in sys.modules if 'pyplot' in m or 'highspy' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("radius", [1.0, 1e-7])
def test_equal_radii(write_neighborhood, radius):
    folder = write_neighborhood(radii=[radius] * 17, capped=list(range(17)), witness_rings=[], open_rings=[])
    assert len(draw(folder)) == 2


def test_one_ring_and_three_channels(write_neighborhood):
    record, arrays = read_record(write_neighborhood())
    result = record.result | {"radii": [0.2], "limits": [0.3], "witness_rings": [0], "capped": [], "open_rings": []}
    arrays |= {
        "image": arrays["image"].expand(3, -1, -1),
        "weakest": arrays["weakest"].expand(3, -1, -1),
        "mask": arrays["mask"] * 0 + 1,
        "ring_index": arrays["ring_index"] * 0,
        "radii": arrays["radii"][:1] + 0.2,
    }
    figure = compose(record.model_copy(update={"result": result}), arrays)
    figure.canvas.draw()
    assert "▲" not in texts(figure)


def test_bands_are_named(write_neighborhood):
    record, arrays = read_record(write_neighborhood())
    bands = [[0, 0], [1, 3], [4, 4], [5, 16]]
    index = sum((arrays["ring_index"] >= first).long() for first, _ in bands) - 1
    result = {
        "radii": [0.1, 0.0, 0.3, 0.4],
        "limits": [1.0, 0.1, 1.0, 1.0],
        "witness_rings": [1],
        "capped": [],
        "open_rings": [0, 2, 3],
        "bands": bands,
    }
    arrays |= {"ring_index": index, "radii": arrays["radii"][:4] * 0 + torch.tensor(result["radii"])}
    figure = compose(record.model_copy(update={"result": record.result | result}), arrays)
    chart = next(axes for axes in figure.axes if len(axes.patches) == 4)
    assert [t.get_text() for t in chart.get_xticklabels()] == ["object", "rings 1-3", "ring 4", "rings 5-16"]
    said = texts(figure)
    assert "weighted sum of 4 radii, one per band" in said
    assert "3 of 4 bands might still grow" in said
    assert "rings might" not in said


def test_prices_stand_under_the_radii(write_neighborhood):
    prices = [0.0, *(2.0 / d for d in range(1, 17))]
    figure = figure_of(write_neighborhood(prices=prices))
    charts = [axes for axes in reversed(figure.axes) if len(axes.patches) == len(prices)]
    assert [chart.get_title(loc="left") for chart in charts] == [
        "Radius per ring",
        "Price per ring: why a radius is small",
    ]
    assert [bar.get_height() for bar in charts[1].patches] == prices
    assert [t.get_text() for t in charts[1].texts] == ["0"]
    assert charts[1].get_yscale() == "log"
    assert draw(write_neighborhood(prices=[1.0] * 17)) and draw(write_neighborhood(prices=[0.0] * 17))


def test_several_targets_and_objects_are_named(write_neighborhood):
    record, arrays = read_record(write_neighborhood())
    config = record.config | {"target": [3, 4], "object": [7, 8]}
    said = texts(compose(record.model_copy(update={"config": config}), arrays))
    assert "labels 3 and 4 both stay among the 2 highest scores" in said
    assert "around objects 7 and 8" in said
    assert "targets: labels 3 and 4" in said and "perturbed objects: labels 7 and 8" in said


def test_floors_that_fail_show_their_witness(write_neighborhood):
    folder = write_neighborhood(radii=[0.0] * 17, verdict="VULNERABLE", witness_rings=[], capped=[], open_rings=None)
    said = texts(figure_of(folder))
    assert "BROKEN" in said and "Witness" in said and "smallest radii asked for" in said


def test_long_facts_take_two_lines(write_neighborhood):
    record, _ = read_record(write_neighborhood(upper_bound=2.0, open_rings=[1, 3, 5, 7, 9, 11]))
    lines = words.facts(record.model_copy(update={"config": record.config | {"weights": "1," * 30}})).splitlines()
    assert len(lines) == 2 and all(lines) and not any(line.startswith(" ") for line in lines)
