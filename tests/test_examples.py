"""The examples and the README's commands and Python run as they stand."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from aureole.cli.main import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SMALL = {
    "neighborhood": ["--timeout", "3"],
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
    return place


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
    for made in ("result/neighborhood.png", "witness.npy", "mine.safetensors"):
        assert (place / made).exists()


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
