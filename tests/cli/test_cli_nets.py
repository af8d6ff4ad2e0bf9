"""Every kind of network file, and what is said about its witnesses."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from aureole.core import TopK
from aureole.nets import load, load_onnx

WEIGHT = np.random.default_rng(3).normal(size=(16, 3)).astype(np.float32)
PIXELS = np.random.default_rng(4).uniform(0.2, 0.8, size=(4, 4))


def onnx_net(path: Path, shape: list[int], softmax: bool = False) -> str:
    """Scores `x @ WEIGHT` of an input of 16 numbers."""
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["y"], ["p"], axis=1))
    inner = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("p" if softmax else "y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    model = helper.make_model(inner, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return str(path)


def pt2_net(path: Path) -> str:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False))
    with torch.no_grad():
        module[1].weight.copy_(torch.from_numpy(WEIGHT.T.copy()))
    torch.export.save(torch.export.export(module, (torch.zeros(1, 1, 4, 4),)), path)
    return str(path)


@pytest.fixture
def picture(tmp_path) -> str:
    np.save(tmp_path / "image.npy", PIXELS)
    return str(tmp_path / "image.npy")


def scores(pixels: np.ndarray, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    return ((pixels.ravel() - mean) / std) @ WEIGHT.astype(np.float64)


def radius_of(target: int, std: float = 1.0) -> float:
    """The exact radius of the linear network, with k = 1."""
    others = [c for c in range(3) if c != target]
    w, s = WEIGHT.astype(np.float64), scores(PIXELS)
    return min((s[target] - s[c]) / np.abs(w[:, target] - w[:, c]).sum() for c in others)


@pytest.mark.parametrize("kind", ["vector", "column", "image", "pt2"])
def test_a_grey_image_goes_into_any_network_of_as_many_numbers(command, tmp_path, picture, kind):
    shapes = {"vector": [1, 16], "column": [1, 16, 1, 1], "image": [1, 1, 4, 4]}
    net = pt2_net(tmp_path / "net.pt2") if kind == "pt2" else onnx_net(tmp_path / "net.onnx", shapes[kind])
    target = int(scores(PIXELS).argmax())
    for factor, verdict in ((0.99, "ROBUST"), (1.01, "VULNERABLE")):
        radius = str(factor * radius_of(target))
        line = ["prove", net, picture, "--target", str(target), "--k", "1", "--radius", radius]
        done = command(*line, "--witness", "w.npy", "--json")
        assert json.loads(done.out)["verdict"] == verdict
    witness = np.load(tmp_path / "w.npy")
    assert witness.shape == (1, 4, 4)
    assert scores(witness).argmax() != target


@pytest.mark.parametrize("shape", [[1, 8, 2, 1], [1, 2, 8], [1, 1, 2, 8], [1, 16]])
def test_an_image_of_another_size_is_told(command, tmp_path, shape):
    """Also where it has as many pixels: rows of another length are another image."""
    net = onnx_net(tmp_path / "net.onnx", shape)
    np.save(tmp_path / "other.npy", np.full((4, 4) if len(shape) > 2 else (4, 5), 0.5))
    done = command("prove", net, "other.npy", "--target", "0", "--k", "1", "--radius", "0")
    assert done.status == 2 and "other.npy is 1x4x" in done.complaint
    assert f"but the network takes {'x'.join(map(str, shape[1:]))}" in done.complaint


def test_neighborhoods_of_a_network_over_vectors(command, tmp_path, picture):
    net = onnx_net(tmp_path / "net.onnx", [1, 16])
    mask = np.zeros((4, 4), dtype=bool)
    mask[1:3, 1:3] = True
    np.save(tmp_path / "mask.npy", mask)
    target = str(int(scores(PIXELS).argmax()))
    line = ["neighborhood", net, picture, "--mask", "mask.npy", "--target", target, "--k", "1", "--method", "uniform"]
    result = json.loads(command(*line, "--timeout", "10", "--out", "out", "--json").out)
    assert result["verdict"] == "ROBUST"
    assert result["radii"][0] == pytest.approx(radius_of(int(target)), abs=2e-3)


@pytest.mark.parametrize("kind", ["onnx", "pt2", "safetensors"])
def test_normalisation_on_the_command_line(command, files, tmp_path, picture, kind):
    if kind == "safetensors":
        network = load(files.net, mean=[0.25], std=[0.5])
        plain = load(files.net)
        image = torch.rand(1, 64, 64, dtype=torch.float64)
        with torch.no_grad():
            inner = plain.module(((image - 0.25) / 0.5)[None].float())[0].double()
        assert torch.allclose(network.module.replay(image), inner, atol=1e-5)
        assert json.loads(command(*files.prove("--radius", "0", "--mean", "0.0", "--std", "1", "--json")).out)[
            "verdict"
        ]
        return
    net = onnx_net(tmp_path / "net.onnx", [1, 1, 4, 4]) if kind == "onnx" else pt2_net(tmp_path / "net.pt2")
    target = int(scores(PIXELS).argmax())  # the difference of two scores moves by the mean too
    s = scores(PIXELS, 0.25, 0.5)
    target = int(s.argmax())
    w = WEIGHT.astype(np.float64)
    radius = min((s[target] - s[c]) * 0.5 / np.abs(w[:, target] - w[:, c]).sum() for c in range(3) if c != target)
    line = ["prove", net, picture, "--target", str(target), "--k", "1", "--mean", "0.25", "--std", "0.5", "--json"]
    for factor, verdict in ((0.99, "ROBUST"), (1.01, "VULNERABLE")):  # in pixel units
        done = command(*line, "--radius", str(factor * radius))
        assert json.loads(done.out)["verdict"] == verdict


def test_cases_and_labels_take_vectors_and_normalisation(command, tmp_path, picture):
    onnx_net(tmp_path / "net.onnx", [1, 16])
    target = int(scores(PIXELS, 0.25, 0.5).argmax())
    line = {"net": "net.onnx", "image": "image.npy", "k": 1, "radius": 0.0, "mean": [0.25], "std": [0.5]}
    Path("cases.jsonl").write_text("".join(json.dumps(line | {"target": t}) + "\n" for t in range(3)))
    answers = [json.loads(text) for text in command("prove", "--cases", "cases.jsonl").out.splitlines()]
    assert [a["verdict"] == "ROBUST" for a in answers] == [t == target for t in range(3)]
    line = [
        "labels",
        str(tmp_path / "net.onnx"),
        picture,
        "--k",
        "1",
        "--radius",
        "0",
        "--mean",
        "0.25",
        "--std",
        "0.5",
    ]
    found = json.loads(command(*line, "--json").out)
    assert [row["standing"] for row in found["labels"]] == ["in" if t == target else "out" for t in range(3)]
    assert found["notes"] == []


def test_bad_normalisation_is_told(command, tmp_path, picture):
    net = onnx_net(tmp_path / "net.onnx", [1, 1, 4, 4])
    line = ["prove", net, picture, "--target", "0", "--k", "1", "--radius", "0"]
    assert "--mean is 'grey'" in command(*line, "--mean", "grey").complaint
    assert "std holds 0" in command(*line, "--std", "0").complaint
    assert "mean has 3 numbers" in command(*line, "--mean", "1,2,3").complaint


def test_without_onnxruntime_the_answer_says_so(command, tmp_path, picture, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    net = onnx_net(tmp_path / "net.onnx", [1, 16])
    target = int(scores(PIXELS).argmax())
    line = ["prove", net, picture, "--target", str(target), "--k", "1", "--radius"]
    answer = json.loads(command(*line, "1", "--json").out)
    assert answer["verdict"] == "VULNERABLE" and "onnxruntime is not installed" in answer["detail"]
    assert "onnxruntime is not installed" in command(*line, "1").out
    wrong = ["prove", net, picture, "--target", str((target + 1) % 3), "--k", "1", "--radius", "0", "--json"]
    assert "onnxruntime is not installed" in json.loads(command(*wrong).out)["detail"]
    declared = "".join(f"(declare-const X_{i} Real)(assert (<= 0 X_{i} ))(assert (>= 1 X_{i}))" for i in range(16))
    declared += "".join(f"(declare-const Y_{i} Real)" for i in range(3))
    Path("p.vnnlib").write_text(declared + f"(assert (<= Y_{target} Y_{(target + 1) % 3}))")
    lines = command("verify", net, "p.vnnlib").out.splitlines()
    assert lines[0] == "sat" and sum("onnxruntime is not installed" in line for line in lines) == 1
    detail = json.loads(command("verify", net, "p.vnnlib", "--json").out)["detail"]
    assert "onnxruntime is not installed" in detail


def test_properties_of_other_files(command, tmp_path):
    net = pt2_net(tmp_path / "net.pt2")
    s = scores(np.full(16, 0.5))
    low, high = int(s.argmin()), int(s.argmax())
    declared = "".join(f"(declare-const X_{i} Real)(assert (= X_{i} 0.5))" for i in range(16))
    declared += "".join(f"(declare-const Y_{i} Real)" for i in range(3))
    for first, second, word in ((low, high, "unsat"), (high, low, "sat")):
        Path("p.vnnlib").write_text(declared + f"(assert (>= Y_{first} Y_{second}))")
        assert command("verify", net, "p.vnnlib").out.splitlines()[0] == word


def test_with_onnxruntime_there_is_nothing_to_say(command, tmp_path, picture):
    net = onnx_net(tmp_path / "net.onnx", [1, 16])
    answer = json.loads(command("prove", net, picture, "--target", "0", "--k", "1", "--radius", "1", "--json").out)
    assert answer["notes"] == [] and "onnxruntime" not in answer["detail"]


def test_the_clean_image_as_witness_is_what_the_model_reads(command, tmp_path, picture):
    """A float32 model: the witness holds float32 numbers wherever the region has room for them."""
    net = onnx_net(tmp_path / "net.onnx", [1, 1, 4, 4])
    target = str((int(scores(PIXELS).argmax()) + 1) % 3)
    line = ["prove", net, picture, "--target", target, "--k", "1", "--radius", "0.01", "--witness", "w.npy", "--json"]
    answer = json.loads(command(*line).out)
    assert "clean image" in answer["detail"]
    witness = np.load("w.npy")
    assert np.array_equal(witness.astype(np.float32).astype(np.float64), witness)
    assert np.abs(witness[0] - PIXELS).max() <= 1e-7
    replayed = load_onnx(Path(net)).graph.replay(torch.from_numpy(witness))
    assert answer["margin_seen"] == float(TopK(int(target), 1).margin(replayed))


def test_a_dropped_softmax_is_told(command, tmp_path, picture):
    net = onnx_net(tmp_path / "net.onnx", [1, 16], softmax=True)
    done = command("prove", net, picture, "--target", "0", "--k", "2", "--radius", "0")
    assert "the trailing Softmax was dropped" in done.out


@pytest.mark.parametrize("targets", [("0",), ("0", "1")])
def test_probabilities_are_no_logits(command, tmp_path, picture, targets):
    """Found in review: logits below the threshold were called broken, whatever the probabilities."""
    net = onnx_net(tmp_path / "net.onnx", [1, 16], softmax=True)
    line = ["prove", net, picture, *(word for target in targets for word in ("--target", target)), "--radius", "0.01"]
    for threshold in ("-1e3", "1e3"):
        assert "softmax was dropped" in command(*line, "--threshold", threshold).complaint
