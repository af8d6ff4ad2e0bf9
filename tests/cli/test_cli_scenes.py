import json
import shutil

import pytest

from aureole.data import read_scene


@pytest.mark.parametrize("digits", [2, 3])
def test_make_and_show(command, tmp_path, digits):
    line = ["scenes", "make", "--digits", digits, "--count", "2", "--seed", "5", "--out", "s", "--json"]
    folders = json.loads(command(*line).out)["scenes"]
    assert folders == ["s/scene-0000", "s/scene-0001"]
    scene = read_scene(tmp_path / folders[1])
    assert len(scene.labels) == digits
    assert scene.name == f"digits-test-{digits}-5-0001"

    shown = json.loads(command("scenes", "show", folders[1], "--json").out)
    assert shown["labels"] == list(scene.labels)
    assert (tmp_path / shown["picture"]).stat().st_size > 1000
    words = command("scenes", "show", folders[1]).out
    assert words.startswith(f"{scene.name}: labels {scene.labels[0]}, ")


def test_the_seed_decides(command, tmp_path):
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        command("scenes", "make", "--count", "1", "--seed", seed, "--out", out)
    images = [path.read_bytes() for path in sorted(tmp_path.glob("*/*/image.*"))]
    assert images[0] == images[1] != images[2]


@pytest.mark.shared
def test_mnist(command, data_root):
    line = ["scenes", "make", "--data", "mnist", "--count", "1", "--out", "s", "--data-root", data_root]
    assert command(*line).status == 0


def test_a_picture_never_replaces_a_part_of_the_scene(command, files, tmp_path):
    scene = tmp_path / "own"
    shutil.copytree(files.scene, scene)
    (scene / "image.png").rename(scene / "scene.png")
    told = json.loads((scene / "scene.json").read_text())
    (scene / "scene.json").write_text(json.dumps(told | {"image": "scene.png"}))
    before = (scene / "scene.png").read_bytes()
    assert "part of the scene" in command("scenes", "show", "own").complaint
    assert "part of the scene" in command("scenes", "show", "own", "--out", f"own/{told['masks'][0]}").complaint
    assert (scene / "scene.png").read_bytes() == before
    assert command("scenes", "show", "own", "--out", "p.png").status == 0
