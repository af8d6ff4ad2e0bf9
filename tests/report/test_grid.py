import shutil

import numpy as np
import pytest
from PIL import Image

from aureole.core import InputError
from aureole.core.record import Record, read_record, write_record
from aureole.report.grid import draw_grid
from aureole.report.grid_page import sentences
from aureole.report.grid_runs import read_run


@pytest.fixture
def grid(write_neighborhood, tmp_path):
    """Two networks x three methods; on the second network both oracles found the same, and nothing else was proved."""

    def write(network: str, method: str, radii: list[float], **config: object):
        verdict = "ROBUST" if any(radii) else "UNKNOWN"
        folder = write_neighborhood(radii=radii, verdict=verdict, witness_rings=[], capped=[], open_rings=None)
        record, arrays = read_record(folder)
        shutil.rmtree(folder)
        changed = {"network": record.network | {"name": network}, "config": record.config | {"method": method} | config}
        place = tmp_path / f"{network}-{method}"
        write_record(place, Record(**(record.model_dump() | changed)), arrays)
        return place

    none = [0.0] * 17
    some = [0.0, *[0.01] * 16]
    return write, [
        [
            write("a<b", "oracle-fixed", some),
            write("a<b", "oracle", [0.02] * 17),
            write("a<b", "certificate", [0.1] * 17),
        ],
        [write("c", "oracle-fixed", some), write("c", "oracle", some), write("c", "certificate", none)],
    ]


def test_page_and_pictures(grid, tmp_path):
    _, folders = grid
    png, svg, html = draw_grid(folders, tmp_path / "page/grid")
    assert (png.name, svg.name, html.name) == ("grid.png", "grid.svg", "grid.html")
    colours = np.asarray(Image.open(png).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 100
    text = html.read_text()
    assert 'src="grid.png"' in text
    assert "a&lt;b" in text and "a<b" not in text
    assert text.count("<tr>") == 7
    assert "nothing proved in time" in svg.read_text()
    assert [path.read_bytes() for path in draw_grid(folders, tmp_path / "page/grid")] == [
        path.read_bytes() for path in (png, svg, html)
    ]


def test_what_it_says(grid):
    _, folders = grid
    said = sentences([[read_run(folder) for folder in row] for row in folders])
    assert said == [
        "a<b: the certificate proves the largest size, 1.7: 5 times that of the oracle with sensitivity weights and 11 "
        "times that of the oracle with fixed weights.",
        "c: the oracle with fixed weights and the oracle with sensitivity weights found the same radii: they differ "
        "only in how they shrink after a failed step, and no shrunk step was proved in the time given.",
        "c: the oracle with fixed weights proves the largest size, 0.16: as large as that of the oracle with "
        "sensitivity weights and above 0, unlike that of the certificate.",
        "On this image the networks rank, by the largest size proved: a<b (1.7), then c (0.16).",
    ]


def test_nothing_proved_at_all(grid, tmp_path):
    write, _ = grid
    folders = [[write("d", "oracle", [0.0] * 17), write("d", "certificate", [0.0] * 17)]]
    assert sentences([[read_run(folder) for folder in folders[0]]]) == ["d: nothing was proved in the time given."]
    assert len(draw_grid(folders, tmp_path / "page/grid")) == 3


def test_records_must_fit_together(grid, write_prove, tmp_path):
    write, folders = grid
    with pytest.raises(InputError, match="different questions"):
        draw_grid([[folders[0][0], write("a", "certificate", [0.1] * 17, target=5)]], tmp_path / "grid")
    with pytest.raises(InputError, match="a record of prove"):
        draw_grid([[write_prove()]], tmp_path / "grid")
