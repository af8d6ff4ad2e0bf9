import json
import shutil

import pytest
import torch

from aureole.cli import reproduce
from aureole.core.record import read_record


@pytest.fixture
def line(files, monkeypatch):
    """A short command line: one network, two methods."""
    monkeypatch.setattr(reproduce, "METHODS", ("oracle", "uniform"))
    scene = json.loads((files.folder / "scene/scene.json").read_text())
    module_label = next(label for label in map(str, scene["labels"]))
    return ["reproduce", "layer-neighborhoods", "--nets", files.net, "--scene", files.scene, "--target", module_label,
            "--timeout", "0.5", "--out", "out"]  # fmt: skip


def test_a_page_from_records_that_are_kept(command, line, files, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce.Question, "about", _nine_highest(reproduce.Question.about))
    done = command(*line, "--json")
    assert (done.status, done.err) == (0, "")
    result = json.loads(done.out)
    assert result["pictures"] == [f"out/layer-neighborhoods.{kind}" for kind in ("png", "svg", "html")]
    assert result["records"] == ["out/net-oracle", "out/net-uniform"]
    record, _ = read_record(tmp_path / "out/net-uniform")
    assert record.config["method"] == "uniform"

    monkeypatch.setattr(reproduce, "record_answer", lambda *_: pytest.fail("computed again"))
    assert command(*line).out.splitlines() == result["pictures"]
    monkeypatch.setattr(reproduce, "record_answer", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert command(*line, "--timeout", "0.4").status == 130  # another question


def _nine_highest(about):
    return lambda scene, targets, objects: about(scene, targets, objects, 9)


def test_bad_input(command, line):
    assert "no network is given" in command(*line, "--nets", "").complaint
    assert "--timeout is -1" in command(*line, "--timeout", "-1").complaint
    assert "objective 'max'" in command(*line, "--objective", "max").complaint
    assert "No such command" in command("reproduce", "figure-9").complaint


def test_two_networks_of_one_name_are_told(command, line, files, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.copy(files.net, tmp_path / "other")
    assert "same name net" in command(*line, "--nets", f"{files.net},other/net.safetensors").complaint


def test_a_network_of_other_images_needs_a_scene(command, files, tmp_path):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    torch.export.save(torch.export.export(net.eval(), (torch.zeros(1, 1, 4, 4),)), tmp_path / "small.pt2")
    told = command("reproduce", "layer-neighborhoods", "--nets", "small.pt2", "--out", "there").complaint
    assert "1x4x4 images" in told and "pass --scene" in told


def test_another_mask_is_another_question(command, line, files, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce.Question, "about", _nine_highest(reproduce.Question.about))
    assert command(*line).status == 0
    scene = tmp_path / "changed"
    shutil.copytree(files.scene, scene)
    shutil.copy(scene / "mask-0.png", scene / "mask-1.png")
    asked = []

    def asks(*_):
        asked.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce, "record_answer", asks)
    command(*line)
    assert not asked
    command(*[scene if part == files.scene else part for part in line])
    assert asked


@pytest.mark.parametrize("damage", [b"{", b'{"kind": "neighborhood"}'])
def test_a_damaged_record_is_computed_again(command, line, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(reproduce.Question, "about", _nine_highest(reproduce.Question.about))
    assert command(*line).status == 0
    whole = (tmp_path / "out/net-oracle/record.json").read_text()
    (tmp_path / "out/net-oracle/record.json").write_bytes(damage)
    assert command(*line).status == 0
    assert json.loads((tmp_path / "out/net-oracle/record.json").read_text())["config"] == json.loads(whole)["config"]


def test_a_scene_without_objects_is_told(command, line, files, tmp_path):
    shutil.copytree(files.scene, tmp_path / "bare")
    told = json.loads((tmp_path / "bare/scene.json").read_text())
    (tmp_path / "bare/scene.json").write_text(json.dumps(told | {"labels": [], "masks": []}))
    asked = ["reproduce", "layer-neighborhoods", "--nets", files.net, "--scene", "bare", "--out", "o"]
    assert "shows no object" in command(*asked).complaint
