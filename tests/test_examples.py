"""The examples and the README's commands and Python run as they stand."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aureole.cli.main import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SMALL = {
    "neighborhood": ["--timeout", "3"],
    "neighborhoods": ["--timeout", "0.3", "--workers", "1", "--method", "uniform"],
    "train": ["--epochs", "1", "--scenes", "64", "--test-scenes", "20"],
}


@pytest.fixture(scope="module", name="commands")
def _commands() -> list[list[str]]:
    (block,) = re.findall(r"## On the command line\n\n```sh\n(.*?)```", README, re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert {line[0] for line in lines} == {"aureole"}
    return [line[1:] for line in lines]


@pytest.fixture(scope="module", name="place")
def _place(commands: list[list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's first command, which makes the scenes, has run."""
    place = tmp_path_factory.mktemp("readme")
    assert commands[0][:2] == ["scenes", "make"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert run(commands[0]) == 0
    _own_network(place)
    return place


def _own_network(place: Path) -> None:
    """The reader's own files of the README: a network y = 2 x, and the property that some x in [0,1] gives y >= 3."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in ("x", "y")]
    weight = numpy_helper.from_array(np.array([[2.0]], dtype=np.float32), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "net", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), place / "net.onnx")
    declared = "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
    asserted = "(assert (>= X_0 0))\n(assert (<= X_0 1))\n(assert (>= Y_0 3))\n"
    (place / "property.vnnlib").write_text(declared + asserted)
    (cases,) = re.findall(r"```jsonl\n(.*?)```", README, re.DOTALL)
    (place / "questions.jsonl").write_text(cases)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, example], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "ROBUST" in run.stdout


def test_readme_commands_run(
    commands: list[list[str]], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    said = {}
    for line in commands[1:]:
        assert run([*line, *SMALL.get(line[0], [])]) == 0, line
        said[line[0]] = capsys.readouterr().out
    assert said["prove"].startswith("VULNERABLE")
    assert said["verify"].splitlines()[0] == "unsat"
    for made in ("result/neighborhood.png", "witness.npy", "mine.safetensors"):
        assert (place / made).exists()
    answers = [json.loads(line) for line in (place / "answers.jsonl").read_text().splitlines()]
    assert [answer["verdict"] for answer in answers] == ["ROBUST", "ROBUST"]


def test_readme_names_what_is_in_a_scene(place: Path) -> None:
    for path in re.findall(r"scenes/[\w./-]+", README):
        assert (place / path).exists(), path


def test_readme_python_runs(place: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("ROBUST")
