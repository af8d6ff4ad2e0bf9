"""Every kind of bad input: exit status 2, one line on standard error, no file left behind."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from aureole.core import InputError
from aureole.core.record import read_record


def nothing_in(folder: Path) -> bool:
    return list(folder.iterdir()) == []


@pytest.fixture
def bad(files, tmp_path_factory):
    """Files with one thing wrong each."""
    folder = tmp_path_factory.mktemp("bad")
    state = load_file(files.net)
    save_file(state | {"fc1.bias": torch.full_like(state["fc1.bias"], float("nan"))}, folder / "nan.safetensors")
    save_file({"a": torch.zeros(2)}, folder / "other.safetensors")
    (folder / "garbage.safetensors").write_bytes(b"not weights at all")
    (folder / "corrupt.png").write_bytes(Path(files.image).read_bytes()[:60])
    np.save(folder / "small.npy", np.zeros((1, 28, 28)))
    np.save(folder / "nan.npy", np.full((64, 64), np.nan))
    np.save(folder / "empty.npy", np.zeros((64, 64), dtype=bool))
    np.save(folder / "small-mask.npy", np.ones((28, 28), dtype=bool))
    (folder / "few.json").write_text("[0.1, 0.2]")
    (folder / "words.txt").write_text("a lot")
    return folder


def test_network(command, files, bad, tmp_path):
    rest = ["--target", "1", "--k", "2", "--radius", "0.01"]
    for net, words in {
        "nobody": "unknown",
        bad / "nan.safetensors": "NaN",
        bad / "other.safetensors": "architecture",
        bad / "garbage.safetensors": "not a readable safetensors",
        bad / "absent.safetensors": "cannot read",
    }.items():
        assert words in command("prove", net, files.image, *rest).complaint
    assert "unknown" in command("prove", files.net, files.image, *rest, "--arch", "x9").complaint
    assert "conv1.weight" in command("prove", files.net, files.image, *rest, "--arch", "x2").complaint
    assert nothing_in(tmp_path)


def test_image(command, files, bad, tmp_path):
    rest = ["--target", "1", "--k", "2", "--radius", "0.01", "--out", "out"]
    for image, words in {
        bad / "corrupt.png": "not a readable PNG",
        bad / "small.npy": "1x28x28 but the network takes 1x64x64",
        bad / "nan.npy": "NaN",
        bad / "absent.png": "cannot read",
        bad / "few.json": "pass a .png or .npy",
    }.items():
        assert words in command("prove", files.net, image, *rest).complaint
    assert nothing_in(tmp_path)


def test_mask(command, files, bad, tmp_path):
    rest = ["--target", files.target, "--k", "2", "--out", "out"]
    for mask, words in {
        bad / "empty.npy": "marks no pixel",
        bad / "small-mask.npy": "mask is 28x28",
        bad / "corrupt.png": "not a readable PNG",
        bad / "absent.npy": "cannot read",
    }.items():
        assert words in command("neighborhood", files.net, files.image, "--mask", mask, *rest).complaint
    assert nothing_in(tmp_path)


def test_labels(command, files, tmp_path):
    image = [files.net, files.image, "--mask", files.mask, "--out", "out"]
    assert "10 classes" in command("neighborhood", *image, "--target", "10", "--k", "2").complaint
    assert "10 classes" in command("neighborhood", *image, "--target", "-1", "--k", "2").complaint
    assert "k = 10" in command("neighborhood", *image, "--target", "1", "--k", "10").complaint
    assert "k = 0" in command("prove", files.net, files.image, "--target", "1", "--k", "0", "--radius", "0").complaint
    not_predicted = command("neighborhood", *image, "--target", files.other, "--k", "1").complaint
    assert "fails on the clean image" in not_predicted
    assert nothing_in(tmp_path)


def test_radii(command, files, bad, tmp_path):
    assert "neither" in command(*files.prove()).complaint
    assert "both" in command(*files.prove("--radius", "0.1", "--radii", bad / "few.json")).complaint
    assert "pass mask" in command(*files.prove("--radii", bad / "few.json")).complaint
    assert "mask goes with radii" in command(*files.prove("--radius", "0.1", "--mask", files.mask)).complaint
    for radius in ("-0.1", "nan", "inf"):
        assert "--radius is" in command(*files.prove(f"--radius={radius}")).complaint
    assert "--radius" in command(*files.prove("--radius", "wide")).complaint
    for name, words in {"few.json": "2 radii for", "words.txt": "does not hold radii", "gone.txt": "cannot"}.items():
        assert words in command(*files.prove("--radii", bad / name, "--mask", files.mask)).complaint
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("wrong", ["-0.5", "NaN", "Infinity"])
def test_one_wrong_radius(command, files, tmp_path_factory, wrong):
    folder = tmp_path_factory.mktemp("radii")
    count = len(rings_of(files))
    (folder / "radii.json").write_text(f"[{', '.join(['0.1'] * (count - 1))}, {wrong}]")
    complaint = command(*files.prove("--radii", folder / "radii.json", "--mask", files.mask)).complaint
    assert f"the radius of ring {count - 1} is" in complaint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"size": 3}', 'has no "radii"'),
        ('{"result": null}', 'has no "radii"'),
        ('{"radii": null}', "null is not a number"),
        ("null", "null is not a number"),
        ('["0.1", "0.2"]', '"0.1" is not a number'),
        ('"wide"', '"wide" is not a number'),
        ("[[0.1]]", "[0.1] is not a number"),
        ("[true]", "true is not a number"),
        ("1" + "0" * 400, "too large"),
    ],
)
def test_radii_that_are_not_numbers(command, files, tmp_path_factory, content, words):
    path = tmp_path_factory.mktemp("radii") / "radii.json"
    path.write_text(content)
    complaint = command(*files.prove("--radii", path, "--mask", files.mask)).complaint
    assert f"{path} does not hold radii" in complaint and words in complaint


def rings_of(files):
    from aureole.core import Rings
    from aureole.data import read_mask

    return Rings.around(read_mask(Path(files.mask)))


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--timeout", "0", "--timeout is 0"),
        ("--timeout", "nan", "--timeout is nan"),
        ("--timeout", "inf", "--timeout is inf"),
        ("--delta", "0", "--delta is 0"),
        ("--delta", "nan", "--delta is nan"),
        ("--seed", "-1", "--seed is -1"),
        ("--method", "magic", "method 'magic' is unknown; pass one of certificate"),
        ("--objective", "max", "objective 'max' is unknown; pass one of sum, log, min"),
        ("--bands", "0,x", "--bands '0,x' is not a list of rings"),
        ("--bands", "1,2", "bands 1,2 do not start at 0 and rise"),
        ("--floor", "-0.1", "the floor of ring 0 is -0.1"),
        ("--floor", "0.1,0.2", "2 floors for"),
        ("--cap", "wide", "--cap 'wide' is not a number"),
        ("--cap", "2", "the cap of ring 0 is 2"),
        ("--weights", "heavy", "weights 'heavy' are unknown; pass one of uniform"),
        ("--weights", "1,2", "2 weights for"),
        ("--weights", "nan", "weight"),
        ("--device", "moon", "device 'moon' cannot be used here; pass cpu"),
    ],
)
def test_neighborhood_options(command, files, tmp_path, option, value, words):
    assert words in command(*files.neighborhood(Path("out")), option, value).complaint
    assert nothing_in(tmp_path)


def test_neighborhood_needs_an_image_and_a_mask_or_a_scene(command, files, tmp_path):
    rest = ["--target", files.target, "--out", "out"]
    assert "no image" in command("neighborhood", files.net, *rest).complaint
    assert "no mask" in command("neighborhood", files.net, files.image, *rest).complaint
    assert "no k" in command("neighborhood", files.net, files.image, "--mask", files.mask, *rest).complaint
    both = command("neighborhood", files.net, files.image, "--scene", files.scene, *rest).complaint
    assert "both --scene and IMAGE" in both
    assert "no target" in command("neighborhood", files.net, "--scene", files.scene).complaint
    assert (
        "not in scene" in command("neighborhood", files.net, "--scene", files.scene, *rest, "--object", "77").complaint
    )
    assert "cannot read" in command("neighborhood", files.net, "--scene", files.folder, *rest).complaint
    twice = command("neighborhood", files.net, "--scene", files.scene, *rest, "--target", files.target).complaint
    assert "--target names a label twice" in twice
    same = command("neighborhood", files.net, "--scene", files.scene, *rest, "--object", files.target).complaint
    assert f"--object and --target are both {files.target}" in same
    assert nothing_in(tmp_path)


def test_output_places(command, files, tmp_path):
    (tmp_path / "taken").write_text("mine")
    assert "is a file" in command(*files.neighborhood(Path("taken"))).complaint
    assert "is a file" in command(*files.neighborhood(Path("taken/deeper"))).complaint
    assert "not a plain file" in command(*files.prove("--radius", "1", "--witness", "/dev/null")).complaint
    assert "end in .npy" in command(*files.prove("--radius", "1", "--witness", "witness.png")).complaint
    assert (tmp_path / "taken").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.fixture
def no_work(monkeypatch):
    """Reading a network, making scenes and training are work: none of it may start."""

    def start(*arguments: object) -> None:
        raise AssertionError("the work has started")

    monkeypatch.setattr("aureole.cli.inputs.read_network", start)
    monkeypatch.setattr("aureole.cli.scenes.make_scenes", start)
    monkeypatch.setattr("aureole.cli.train.fit", start)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("place", ["ro", "ro/a/b"])
def test_a_place_that_refuses_is_told_before_the_work(command, files, tmp_path, monkeypatch, place):
    (tmp_path / "ro").mkdir()
    mkdir = os.mkdir

    def read_only(path: str, *more: int) -> None:
        if Path(path).resolve().is_relative_to(tmp_path / "ro"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        mkdir(path, *more)

    monkeypatch.setattr(os, "mkdir", read_only)  # as root, file modes refuse nothing
    told = f"cannot write into {place}: Read-only file system; choose another place"
    for line in (
        files.neighborhood(Path(place)),
        files.prove("--radius", "0", "--out", place),
        files.prove("--radius", "0", "--witness", f"{place}/w.npy"),
        ["demo", "--out", place],
        ["scenes", "make", "--out", place],
        ["scenes", "show", files.scene, "--out", f"{place}/scene.png"],
        ["train", "--out", f"{place}/net.safetensors"],
    ):
        assert command(*line).complaint == told
    assert [path.name for path in tmp_path.rglob("*")] == ["ro"]


def test_pictures_that_cannot_be_written_leave_the_record(command, files, tmp_path, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise InputError("cannot write it: No space left on device")

    monkeypatch.setattr("aureole.report.page.write_bytes", refuse)
    words = "the record in out is kept, its pictures are not drawn: cannot write it"
    assert words in command(*files.neighborhood(Path("out"), "--method", "uniform", "--timeout", "1")).complaint
    assert read_record(tmp_path / "out")[0].kind == "neighborhood"
    assert words in command(*files.prove("--radius", "1", "--out", "out")).complaint
    assert read_record(tmp_path / "out")[0].kind == "prove"
    assert (tmp_path / "out/witness.npy").exists()


def test_scene_commands(command, files, tmp_path):
    assert "--count is 0" in command("scenes", "make", "--out", "s", "--count", "0").complaint
    assert "scenes of 4 digits" in command("scenes", "make", "--out", "s", "--digits", "4").complaint
    assert "'letters' is unknown" in command("scenes", "make", "--out", "s", "--data", "letters").complaint
    assert "'both' is unknown" in command("scenes", "make", "--out", "s", "--split", "both").complaint
    assert "--seed is -3" in command("scenes", "make", "--out", "s", "--seed", "-3").complaint
    assert "absent" in command("scenes", "make", "--out", "s", "--data", "mnist", "--data-root", "absent").complaint
    assert "scene.json" in command("scenes", "show", "absent").complaint
    assert ".png" in command("scenes", "show", files.scene, "--out", "scene.svg").complaint
    assert "cannot read" in command("report", "absent").complaint
    assert "holds no record.json" in command("report", tmp_path).complaint
    assert nothing_in(tmp_path)


def test_usage(command, tmp_path):
    assert "No such command" in command("dance").complaint
    assert "No such option" in command("prove", "--loud").complaint
    assert "NET" in command("prove").complaint
    assert "No such command" in command("scenes", "burn").complaint
    assert nothing_in(tmp_path)


@pytest.fixture
def full_disk(monkeypatch):
    """Every flush to the disk fails, as it does when no space is left."""

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.usefixtures("full_disk")
def test_full_disk(command, files, tmp_path):
    quick = ["--method", "uniform", "--timeout", "1"]
    complaint = command(*files.neighborhood(Path("a/b/out"), *quick, "--json")).complaint
    assert "No space left" in complaint and "a/b/out" in complaint
    assert "No space left" in command(*files.prove("--radius", "1", "--witness", "w.npy")).complaint
    assert "No space left" in command(*files.prove("--radius", "1", "--out", "out")).complaint
    assert "No space left" in command("scenes", "make", "--out", "scenes", "--count", "2").complaint
    assert "No space left" in command("scenes", "show", files.scene, "--out", "scene.png").complaint
    assert nothing_in(tmp_path)


def test_full_disk_keeps_the_older_record(command, files, tmp_path, monkeypatch):
    quick = ["--method", "uniform", "--timeout", "1"]
    assert command(*files.neighborhood(Path("out"), *quick)).status == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    assert "No space left" in command(*files.neighborhood(Path("out"), *quick)).complaint
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
