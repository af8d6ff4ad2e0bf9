import json
import shutil
from pathlib import Path

import pytest
import torch

from aureole import nets
from aureole.cli.inputs import read_edges, read_limits, read_weights
from aureole.cli.question import from_files
from aureole.core import Budget, Rings, TopK
from aureole.core.record import read_record
from aureole.data import read_scene
from aureole.neighborhood import Problem, maximize
from aureole.neighborhood.prover import Prover

KEYS = {"verdict", "radii", "ring_pixels", "size", "maximal", "open_rings", "upper_bound", "gap", "seconds", "calls",
        "record"}  # fmt: skip
QUICK = ("--method", "uniform", "--timeout", "1")
FILES = ["arrays.safetensors", "neighborhood.png", "neighborhood.svg", "record.json"]


def test_image_and_mask(command, files, tmp_path):
    done = command(*files.neighborhood(Path("deep/out"), *QUICK, "--seed", "7", "--json"))
    assert (done.status, done.err) == (0, "")
    result = json.loads(done.out)
    assert set(result) >= KEYS
    assert result["record"] == "deep/out"
    assert sum(result["ring_pixels"]) == 64 * 64
    assert len(result["radii"]) == len(result["ring_pixels"])
    assert sorted(path.name for path in (tmp_path / "deep/out").iterdir()) == FILES

    record, arrays = read_record(tmp_path / "deep/out")
    assert {key: record.result[key] for key in ("radii", "verdict")} == {
        key: result[key] for key in ("radii", "verdict")
    }
    assert record.config["seed"] == 7
    assert record.config["target"] == int(files.target)
    assert record.network["sha256"] and record.image["sha256"] and record.versions["torch"]
    assert record.result == result
    assert arrays["radii"].tolist() == result["radii"]
    assert arrays["ring_index"].shape == (64, 64)
    assert "target_mask" not in arrays


def test_scene(command, files, tmp_path):
    scene = json.loads(command("scenes", "show", files.scene, "--out", "s.png", "--json").out)
    target, other = scene["labels"]
    line = [
        "neighborhood",
        files.net,
        "--scene",
        files.scene,
        "--target",
        str(target),
        "--k",
        "9",
        *QUICK,
        "--out",
        "o",
    ]
    done = command(*line, "--json")
    assert done.status == 0, done.err
    record, arrays = read_record(tmp_path / "o")
    assert (record.config["object"], record.config["k"]) == (other, 9)
    assert set(arrays) >= {"image", "mask", "target_mask", "ring_index", "radii"}
    assert command(*line, "--object", str(other)).status == 0


def test_a_place_is_found_without_out(command, files, tmp_path):
    line = files.neighborhood(Path("x"), *QUICK, "--json")
    line = [part for part in line if part not in ("--out", "x")]
    folder = Path(json.loads(command(*line).out)["record"])
    assert folder.parts[0] == "aureole-out"
    assert (tmp_path / folder / "record.json").exists()


def test_words_for_people(command, files):
    done = command(*files.neighborhood(Path("out"), *QUICK, "--weights", "near", "--delta", "0.01"))
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(("ROBUST  Proved: ", "UNKNOWN  Open: "))
    assert "neighborhood.png" in done.out


def test_bands_floors_caps_and_objectives(command, files, tmp_path):
    more = ("--bands", "0,1,4,16", "--objective", "log", "--cap", "0.5", "--floor", "0.00001,0,0,0")
    done = command(*files.neighborhood(Path("out"), *QUICK, *more))
    assert done.status == 0
    for word in ("object: ", "rings 1-3: ", "rings 4-15: ", "rings 16-", "geometric mean of 4 radii, one per band"):
        assert word in done.out
    record, arrays = read_record(tmp_path / "out")
    assert record.result["bands"][:3] == [[0, 0], [1, 3], [4, 15]]
    assert sum(record.result["ring_pixels"]) == 64 * 64
    assert max(record.result["radii"]) <= 0.5
    assert int(arrays["ring_index"].max()) == 3
    assert {key: record.config[key] for key in ("bands", "objective", "cap", "floor")} == {
        "bands": "0,1,4,16", "objective": "log", "cap": "0.5", "floor": "0.00001,0,0,0"}  # fmt: skip
    again = command(*files.prove("--radii", Path("out/record.json"), "--mask", files.mask, "--json"))
    assert json.loads(again.out)["verdict"] == "ROBUST"  # what is said of bands holds for their rings


def test_floors_that_fail(command, files, tmp_path):
    done = command(*files.neighborhood(Path("out"), *QUICK, "--floor", "0.9"))
    assert done.status == 0
    assert done.out.startswith("VULNERABLE  No radii around the object were proved: the floors themselves let")
    record, arrays = read_record(tmp_path / "out")
    assert set(record.result["radii"]) == {0.0}
    assert "weakest" in arrays


def test_several_targets_and_objects(command, tmp_path):
    assert command("scenes", "make", "--digits", "3", "--count", "1", "--out", "s").status == 0
    module = nets.build("x1k", 84, torch.Generator().manual_seed(0)).requires_grad_(False)
    labels = read_scene(tmp_path / "s/scene-0000").labels
    module.fc1.bias[next(label for label in range(10) if label not in labels)] = -100.0  # all three are among nine
    nets.save(tmp_path / "net.safetensors", module, {})
    line = ["neighborhood", "net.safetensors", "--scene", "s/scene-0000", "--k", "9", "--method", "uniform"]
    line += ["--timeout", "0.3"]
    targets = [part for label in labels[:2] for part in ("--target", str(label))]
    both = command(*line, *targets, "--out", "a")
    assert (both.status, both.err) == (0, "")
    assert f"around object {labels[2]}" in both.out
    record, arrays = read_record(tmp_path / "a")
    assert (record.config["target"], record.config["object"]) == (list(labels[:2]), labels[2])
    masks = read_scene(tmp_path / "s/scene-0000").masks
    assert torch.equal(arrays["target_mask"].bool(), masks[0] | masks[1])

    objects = ["--object", str(labels[0]), "--object", str(labels[1])]
    masks_too = command(*line, "--target", str(labels[2]), *objects, "--out", "b")
    assert f"around objects {labels[0]} and {labels[1]}" in masks_too.out
    record, arrays = read_record(tmp_path / "b")
    each = [Rings.around(mask).index for mask in masks[:2]]
    assert torch.equal(arrays["ring_index"], torch.minimum(*each))

    folder = tmp_path / "s/scene-0000"
    graph = nets.trace(module, (1, 84, 84))
    files = [folder / "mask-0.png", folder / "mask-1.png"]
    assert torch.equal(from_files(graph, folder / "image.png", files, labels[2:], (), 9).mask, masks[0] | masks[1])
    assert (
        "no object is given"
        in command("neighborhood", "net.safetensors", "--scene", "s/scene-0000", "--target", str(labels[0])).complaint
    )


def test_report_draws_again(command, files, tmp_path):
    assert command(*files.neighborhood(Path("all/one"), *QUICK)).status == 0
    picture = tmp_path / "all/one/neighborhood.png"
    first = picture.read_bytes()
    picture.unlink()
    assert command("report", "all/one").out.splitlines() == ["all/one/neighborhood.png", "all/one/neighborhood.svg"]
    assert picture.read_bytes() == first
    assert json.loads(command("report", "all", "--json").out) == {
        "pictures": ["all/one/neighborhood.png", "all/one/neighborhood.svg"]
    }


@pytest.fixture
def ctrl_c(monkeypatch):
    """Ctrl-C at the second call to the prover, after a first proof."""
    check = Prover.check

    def interrupted(self, radii, *more):
        if self.size > 0:
            raise KeyboardInterrupt
        return check(self, radii * 0 + 1e-6, *more)

    monkeypatch.setattr(Prover, "check", interrupted)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_keeps_what_is_proved(command, files, tmp_path):
    done = command(*files.neighborhood(Path("out"), "--json"))
    assert (done.status, done.err) == (130, "aureole: interrupted: the best proved radii so far\n")
    result = json.loads(done.out)
    assert (result["verdict"], result["interrupted"]) == ("ROBUST", True)
    assert set(result["radii"]) == {1e-6}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert read_record(tmp_path / "out")[0].result["interrupted"]
    assert command(*files.neighborhood(Path("out"))).out.startswith("ROBUST  Proved: ")


def test_ctrl_c_before_the_first_proof(command, files, monkeypatch):
    monkeypatch.setattr(Prover, "check", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    done = command(*files.neighborhood(Path("out")))
    assert done.status == 130
    assert "were proved before the interruption." in done.out


def test_a_scene_s_name_is_no_path(command, files, tmp_path):
    shutil.copytree(files.scene, tmp_path / "odd")
    told = json.loads((tmp_path / "odd/scene.json").read_text())
    (tmp_path / "odd/scene.json").write_text(json.dumps(told | {"name": "../../a\0b $^$ [/x]"}))
    target, _ = told["labels"]
    done = command("neighborhood", files.net, "--scene", "odd", "--target", target, "--k", "9", *QUICK, "--json")
    assert done.status == 0, done.err
    (folder,) = (tmp_path / "aureole-out").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == FILES


@pytest.mark.parametrize("method", ["uniform", "bisection", "certificate"])
def test_the_same_radii_from_the_record(command, files, tmp_path, method):
    """The record says all that was asked; searches that end by themselves find the same again."""
    more = ("--bands", "0,8", "--cap", "0.002", "--method", method, "--timeout", "60", "--seed", "3")
    assert command(*files.neighborhood(Path("o"), *more)).status == 0
    record, arrays = read_record(tmp_path / "o")
    asked, network = record.config, nets.load(files.net)
    assert record.network["sha256"] == network.sha256 and record.result["seconds"] < 50
    rings = Rings.around(arrays["mask"].bool()).banded(read_edges(asked["bands"]))
    weights = read_weights(asked["weights"], rings)
    problem = Problem(
        network.graph, arrays["image"], rings, TopK(asked["target"], asked["k"]), weights, asked["delta"],
        read_limits("cap", asked["cap"]), read_limits("floor", asked["floor"]), asked["objective"],
    )  # fmt: skip
    found = maximize(problem, asked["method"], budget=Budget.seconds(asked["timeout"]), seed=asked["seed"])
    assert found.radii.tolist() == record.result["radii"] == arrays["radii"].tolist()
    assert found.radii.any()
