"""`aureole train` from the command line to the files it leaves."""

import json

import pytest
import torch

from aureole.cli.main import run
from aureole.nets import build, load, save

QUICK = ["--epochs", "2", "--scenes", "96", "--batch", "32", "--test-scenes", "100"]


def train(capsys, *arguments):
    status = run(["train", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(("defence", "digits"), [("none", 2), ("linf", 2), ("l0", 3)])
def test_leaves_weights_and_a_record_that_names_the_command(tmp_path, capsys, defence, digits):
    out = tmp_path / "net.safetensors"
    status, text, _ = train(capsys, "--out", out, "--defence", defence, "--digits", digits, "--json", *QUICK)
    assert status == 0
    answer = json.loads(text)
    network = load(str(out))
    assert answer["sha256"] == network.sha256
    assert network.input_shape == ((1, 64, 64) if digits == 2 else (1, 84, 84))
    record = json.loads((tmp_path / "net.json").read_text())
    assert record["sha256"] == network.sha256 and len(record["epochs"]) == 2
    assert record["test"]["accuracy"] == record["epochs"][-1]["accuracy"] == answer["accuracy"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.json", "net.safetensors"]
    words = record["command"].split()
    assert words[:2] == ["aureole", "train"]
    _, again, _ = train(capsys, *words[2:], "--json")
    assert json.loads(again)["sha256"] == network.sha256


def test_resuming_after_an_interruption_gives_the_same_weights(tmp_path, capsys, monkeypatch):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    _, expected, _ = train(capsys, "--out", whole, "--json", "--defence", "l0", *QUICK)

    from aureole.cli import train as command

    real, calls = command.accuracy, []

    def interrupted(module, scenes):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(module, scenes)

    monkeypatch.setattr(command, "accuracy", interrupted)
    status, _, _ = train(capsys, "--out", cut, "--json", "--defence", "l0", *QUICK)
    assert status == 130 and not cut.exists()
    monkeypatch.undo()
    status, resumed, _ = train(capsys, "--out", cut, "--json", "--defence", "l0", "--resume", *QUICK)
    assert status == 0 and json.loads(resumed)["sha256"] == json.loads(expected)["sha256"]


def test_without_json_one_line_on_standard_output_and_epochs_on_the_other(tmp_path, capsys):
    status, text, progress = train(capsys, "--out", tmp_path / "net.safetensors", *QUICK)
    assert status == 0 and text.count("\n") == 1 and "top-2 accuracy" in text
    assert [line.split(":")[0] for line in progress.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert "\x1b" not in progress


def test_init_starts_from_given_weights(tmp_path, capsys):
    start, out = tmp_path / "start.safetensors", tmp_path / "net.safetensors"
    save(start, build("x1k", 64, torch.Generator().manual_seed(9)), {})
    train(capsys, "--out", out, "--init", start, "--rate", 1e-12, *QUICK)
    assert torch.allclose(load(str(out)).module.conv1.weight, load(str(start)).module.conv1.weight, atol=1e-6)


BAD = {
    "*.safetensors": ["--out", "net.pt"],
    "x1k, x2, x3": ["--arch", "x9"],
    "pass 2 or 3": ["--digits", "4"],
    "pass 1 to": ["--scenes", "0"],
    "pass 1 to 1000000": ["--batch", "100000000000000000000"],
    "finite radius": ["--defence", "linf", "--radius", "inf"],
    "largest >= 4": ["--defence", "l0", "--largest", "3"],
    "at least 1 of each;": ["--epochs", "0"],
    "not a folder": ["--data", "mnist", "--data-root", "nowhere"],
    "learning rate": ["--rate", "-1"],
    "steps >= 1": ["--defence", "linf", "--attack-steps", "0"],
    "digits-none": ["--init", "no-such-network"],
    "--seed is": ["--seed", "-1"],
    "imagenet": ["--data", "imagenet"],
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_line_and_exit_2(tmp_path, capsys, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    status, text, error = train(capsys, "--out", "net.safetensors", *BAD[words])
    assert status == 2 and text == ""
    assert error.count("\n") == 1 and words.rstrip(";") in error
    assert list(tmp_path.iterdir()) == []


def test_init_of_another_canvas_is_refused(tmp_path, capsys):
    start = tmp_path / "start.safetensors"
    save(start, build("x1k", 84, torch.Generator()), {})
    status, _, error = train(capsys, "--out", tmp_path / "net.safetensors", "--init", start)
    assert status == 2 and "84x84" in error


@pytest.mark.parametrize("beside", ["net.json", "net.checkpoint"])
def test_what_is_written_beside_is_checked_first(tmp_path, capsys, beside):
    (tmp_path / beside).mkdir()
    status, _, error = train(capsys, "--out", tmp_path / "net.safetensors", *QUICK)
    assert status == 2 and f"{beside} is not a plain file" in error and error.count("\n") == 1
