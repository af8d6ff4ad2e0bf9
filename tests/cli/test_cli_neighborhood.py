import json
from pathlib import Path

from aureole.core.record import read_record

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
