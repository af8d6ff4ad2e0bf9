"""The examples and the README's Python run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from aureole.data import load_source_digits, make_scenes, write_scene
from aureole.nets import load

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, example], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "ROBUST" in run.stdout


def test_readme_python_runs(tmp_path: Path) -> None:
    module = load("digits-linf").module.double()
    for scene in make_scenes(load_source_digits("test"), count=50, objects=2, seed=1):
        if set(module(scene.image[None])[0].topk(2).indices.tolist()) == set(scene.labels):
            write_scene(tmp_path / "scenes" / "scene-0000", scene)
            break
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("ROBUST")
