import json
from pathlib import Path

import numpy as np
import pytest
import torch

from aureole import nets
from aureole.core import Rings, TopK
from aureole.core.record import read_record
from aureole.data import read_image, read_mask

KEYS = {"verdict", "why", "margin_bound", "witness", "seconds", "calls"}


def margin(files, pixels: torch.Tensor, target: str, k: int = 2) -> float:
    network = nets.load(files.net)
    return float(TopK(int(target), k).margin(network.module(pixels[None].to(torch.float32))[0].double()))


def test_radius_zero_is_robust(command, files):
    done = command(*files.prove("--radius", "0", "--json"))
    assert (done.status, done.err) == (0, "")
    answer = json.loads(done.out)
    assert set(answer) >= KEYS
    assert answer["verdict"] == "ROBUST"
    assert answer["witness"] is None


def test_a_witness_is_written_and_breaks_the_spec(command, files, tmp_path):
    done = command(*files.prove("--radius", "1", "--witness", "here/w.npy", "--json"))
    answer = json.loads(done.out)
    assert answer["verdict"] == "VULNERABLE"
    assert answer["witness"] == "here/w.npy"
    witness = torch.from_numpy(np.load(tmp_path / "here/w.npy"))
    assert witness.shape == (1, 64, 64) and witness.dtype == torch.float64
    assert margin(files, witness, files.target) <= 1e-5


def test_without_a_place_the_witness_is_not_written(command, files, tmp_path):
    assert json.loads(command(*files.prove("--radius", "1", "--json")).out)["witness"] is None
    assert list(tmp_path.iterdir()) == []
    assert "--witness" in command(*files.prove("--radius", "1")).out


def test_a_spec_that_fails_on_the_clean_image(command, files, tmp_path):
    line = ["prove", files.net, files.image, "--target", files.other, "--k", "2", "--radius", "0", "--witness", "w.npy"]
    answer = json.loads(command(*line, "--json").out)
    assert answer["verdict"] == "VULNERABLE"
    assert answer["margin_seen"] < 0
    assert "clean image" in answer["detail"]
    np.testing.assert_array_equal(np.load(tmp_path / "w.npy"), read_image(Path(files.image)).numpy())


def test_radii_per_ring_in_every_format(command, files, tmp_path):
    rings = Rings.around(read_mask(Path(files.mask)))
    radii = [0.0] * len(rings)
    (tmp_path / "list.json").write_text(json.dumps(radii))
    (tmp_path / "object.json").write_text(json.dumps({"radii": radii}))
    (tmp_path / "record.json").write_text(json.dumps({"result": {"radii": radii}}))
    (tmp_path / "lines.txt").write_text("\n".join(map(str, radii)))
    (tmp_path / "commas.csv").write_text(",".join(map(str, radii)))
    np.save(tmp_path / "array.npy", np.array(radii))
    for path in sorted(tmp_path.iterdir()):
        done = command(*files.prove("--radii", path, "--mask", files.mask, "--json"))
        assert json.loads(done.out)["verdict"] == "ROBUST", path.name


def test_record_and_picture(command, files, tmp_path):
    answer = json.loads(command(*files.prove("--radius", "1", "--out", "out", "--json")).out)
    assert answer["record"] == "out"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "arrays.safetensors",
        "prove.png",
        "prove.svg",
        "record.json",
        "witness.npy",
    ]
    record, arrays = read_record(tmp_path / "out")
    assert record.kind == "prove"
    assert record.result["verdict"] == "VULNERABLE"
    np.testing.assert_array_equal(arrays["witness"].numpy(), np.load(answer["witness"]))


def test_words_for_people(command, files):
    done = command(*files.prove("--radius", "0"))
    assert done.out.startswith(f"ROBUST  Proved: label {files.target} stays among the 2 highest scores (net,")


def test_several_targets_must_all_stay(command, files):
    both = json.loads(command(*files.prove("--target", files.target, "--radius", "0", "--json")).out)
    assert both["verdict"] == "ROBUST"  # the same label twice is one
    line = [*files.prove("--target", files.other, "--radius", "0", "--json")]
    answer = json.loads(command(*line).out)
    assert answer["verdict"] == "VULNERABLE"
    assert f"label {files.other} stays among" in answer["detail"]


def test_two_labels_that_stay(command, files):
    standing = json.loads(command("labels", files.net, files.image, "--k", "2", "--radius", "0", "--json").out)
    first, second = (str(row["label"]) for row in standing["labels"] if row["standing"] == "in")
    line = ["prove", files.net, files.image, "--k", "2", "--target", first, "--target", second, "--radius", "1e-4"]
    done = command(*line)
    assert done.out.startswith("ROBUST")
    assert f"label {first} stays" in done.out and f"label {second} stays" in done.out


def test_a_label_that_stays_out(command, files):
    line = ["prove", files.net, files.image, "--target", files.other, "--k", "2", "--out-of-top", "--json"]
    assert json.loads(command(*line, "--radius", "0").out)["verdict"] == "ROBUST"
    assert json.loads(command(*files.prove("--out-of-top", "--radius", "0", "--json")).out)["verdict"] == "VULNERABLE"


def test_a_score_above_a_threshold(command, files, tmp_path):
    line = ["prove", files.net, files.image, "--target", files.target, "--radius", "0", "--json"]
    assert json.loads(command(*line, "--threshold", "-100").out)["verdict"] == "ROBUST"
    answer = json.loads(command(*line, "--threshold", "100", "--out", "out").out)
    assert answer["verdict"] == "VULNERABLE"
    assert read_record(tmp_path / "out")[0].config["threshold"] == 100


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--k", "2", "--threshold", "0"), "both of k and threshold"),
        (("--threshold", "0", "--out-of-top"), "out of the top goes with k"),
        (("--threshold", "nan"), "finite"),
        (("--k", "10", "--out-of-top"), "k = 10"),
        (("--k", "2", "--target", "11", "--out-of-top"), "label 11"),
    ],
)
def test_specs_that_do_not_go_together_are_told(command, files, more, told):
    line = ["prove", files.net, files.image, "--target", files.target, "--radius", "0"]
    assert told in command(*line, *more).complaint


@pytest.mark.parametrize("which", ["image", "net", "link"])
def test_what_is_read_is_no_place_for_a_witness(command, files, tmp_path, which):
    Path("link.npy").symlink_to(files.image)
    place = {"image": files.image, "net": files.net, "link": "link.npy"}[which]
    before = Path(place).read_bytes()
    assert "is read as well" in command(*files.prove("--radius", "0", "--witness", place)).complaint
    assert Path(place).read_bytes() == before


def test_a_witness_of_an_earlier_question_goes(command, files, tmp_path):
    """Found in review: it lay beside a record that says ROBUST."""
    line = ["prove", files.net, files.image, "--target", files.target, "--k", "2", "--out", "run"]
    command(*line, "--radius", "1")
    assert (tmp_path / "run/witness.npy").exists()
    command(*line, "--radius", "0")
    assert not (tmp_path / "run/witness.npy").exists()
