"""Records made in Python: they are written, read and drawn as those of the command line are."""

from pathlib import Path

import pytest
import torch

from aureole.core import AboveThreshold, InputError, OutOfTopK, Rows, TopK
from aureole.core.record import read_record, write_record
from aureole.neighborhood import maximize, record
from aureole.neighborhood.recording import asked
from aureole.report import draw
from aureole.report.grid_runs import read_run
from nets_zoo import F64

MASK = torch.tensor([[1, 0, 0], [0, 0, 0], [0, 0, 0]], dtype=torch.bool)


def test_a_record_is_drawn(linear_problem, tmp_path: Path):
    problem = linear_problem()
    found = maximize(problem, "uniform")
    write_record(tmp_path, *record(problem, found, MASK, name="three by three", network="linear"))
    read, arrays = read_record(tmp_path)
    assert read.result["radii"] == found.radii.tolist() == arrays["radii"].tolist()
    assert (read.network["name"], read.image["name"], read.config["k"]) == ("linear", "three by three", 1)
    assert [path.stat().st_size > 1000 for path in draw(tmp_path)] == [True, True]
    with pytest.raises(InputError, match="does not say its method and timeout"):
        read_run(tmp_path)


def test_other_weights_are_another_question(linear_problem):
    first, second = (asked(linear_problem(weights=w)) for w in ((1.0, 1.0, 1.0), (1.0, 2.0, 1.0)))
    assert first["weights"] != second["weights"]
    assert (asked(linear_problem(cap=0.5))["cap"], first["cap"]) == ([0.5] * 3, [1.0] * 3)


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ((TopK(0, 1),), {"target": 0, "k": 1}),
        ((TopK(0, 2), TopK(2, 2)), {"target": [0, 2], "k": 2}),
        ((OutOfTopK(1, 2, 3),), {"target": 1, "k": 2, "out_of_top": True}),
        ((AboveThreshold(0, 0.5),), {"target": 0, "k": None, "threshold": 0.5}),
    ],
)
def test_what_was_asked(linear_problem, specs, words):
    said = asked(linear_problem(spec=specs[0], also=specs[1:]))
    assert {name: said[name] for name in words} == words


def test_specs_without_words(linear_problem):
    rows = Rows(torch.tensor([[1.0, -1.0, 0.0]], dtype=F64), torch.zeros(1, dtype=F64), 1)
    with pytest.raises(InputError, match="about no label"):
        asked(linear_problem(spec=rows))
    with pytest.raises(InputError, match="differ"):
        asked(linear_problem(spec=TopK(0, 1), also=(TopK(0, 2),)))
