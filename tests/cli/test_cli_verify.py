import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[2]


def _model(path: Path, softmax: bool = False) -> str:
    """y = (relu(x0 + x1), relu(x0 - x1), 0.1)."""
    weights = np.array([[1, 1, 0], [1, -1, 0]], dtype=np.float32)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["y"], ["p"], axis=1))
    inner = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("p" if softmax else "y", TensorProto.FLOAT, ["N", 3])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([0, 0, 0.1], dtype=np.float32), "b"),
        ],
    )
    model = helper.make_model(inner, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return str(path)


def _property(path: Path, unsafe: str) -> str:
    declared = "".join(f"(declare-const {v} Real)" for v in ("X_0", "X_1", "Y_0", "Y_1", "Y_2"))
    box = "".join(f"(assert (>= X_{i} -1))(assert (<= X_{i} 0.7))" for i in (0, 1))
    path.write_text(f"{declared}\n{box}\n(assert {unsafe})\n")
    return str(path)


@pytest.fixture
def net(tmp_path):
    return _model(tmp_path / "net.onnx")


def test_unsat(command, net, tmp_path):
    Path("w.txt").write_text("an earlier question's")
    done = command("verify", net, _property(tmp_path / "p.vnnlib", "(>= Y_0 1.5)"), "--witness", "w.txt")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[0] == "unsat"
    assert not Path("w.txt").exists()


def test_sat_with_a_witness(command, net, tmp_path):
    done = command("verify", net, _property(tmp_path / "p.vnnlib", "(>= Y_0 1.25)"), "--witness", "w.txt")
    assert done.out.splitlines()[0] == "sat"
    found = dict(re.findall(r"\((\w_\d) (\S+)\)", Path("w.txt").read_text()))
    assert list(found) == ["X_0", "X_1", "Y_0", "Y_1", "Y_2"]
    x0, x1, y0 = (float(found[name]) for name in ("X_0", "X_1", "Y_0"))
    assert -1 <= x0 <= 0.7 and -1 <= x1 <= 0.7
    assert [float(np.float32(x)) for x in (x0, x1)] == [x0, x1]  # what the model reads is what is written
    assert y0 == float(np.float32(x0) + np.float32(x1)) >= 1.25
    assert re.fullmatch(r"\((\(\w_\d \S+\)\n?)+\)\n", Path("w.txt").read_text())


def test_json(command, net, tmp_path):
    path = _property(tmp_path / "p.vnnlib", "(or (and (<= Y_0 -1) (<= Y_2 0)) (>= Y_2 0.2) (<= Y_1 -0.5))")
    result = json.loads(command("verify", net, path, "--json").out)
    assert result["result"] == "unsat" and result["witness"] is None and sum(result["why"].values()) == 2


def test_bad_input(command, net, tmp_path):
    good = _property(tmp_path / "p.vnnlib", "(>= Y_0 1.5)")
    wrong = tmp_path / "wrong.vnnlib"
    wrong.write_text("(declare-const X_0 Real)\n(assert (<= X_0")
    assert "line 2" in command("verify", net, str(wrong)).complaint
    wrong.write_bytes(b"\xff\xfe")
    assert "not text" in command("verify", net, str(wrong)).complaint
    assert "cannot read" in command("verify", net, "nowhere.vnnlib").complaint
    assert "not a readable ONNX model" in command("verify", good, good).complaint
    assert "--timeout" in command("verify", net, good, "--timeout", "0").complaint
    other = tmp_path / "other.vnnlib"
    other.write_text("(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))")
    assert "the property has 1 inputs and 1 outputs" in command("verify", net, str(other)).complaint


def test_a_softmax_is_no_obstacle_to_comparisons(command, tmp_path):
    net = _model(tmp_path / "soft.onnx", softmax=True)
    done = command("verify", net, _property(tmp_path / "p.vnnlib", "(>= Y_0 Y_2)"))
    assert done.out.splitlines()[:2] == ["sat", "the trailing Softmax was dropped: scores are logits"]
    assert "softmax" in command("verify", net, _property(tmp_path / "p.vnnlib", "(>= Y_0 0.5)")).complaint


def test_the_script_of_the_competition(net, tmp_path):
    script = ROOT / "scripts" / "vnncomp" / "run_instance.sh"
    environment = os.environ | {"AUREOLE": f"{sys.executable} -m aureole.cli.main"}
    for unsafe, first in (("(>= Y_0 1.25)", "sat"), ("(>= Y_0 1.5)", "unsat"), ("(>= Y_0 Z)", "error")):
        arguments = ["v1", "small", net, _property(tmp_path / "p.vnnlib", unsafe), str(tmp_path / "out.txt"), "20"]
        done = subprocess.run([script, *arguments], env=environment, check=False, capture_output=True, text=True)
        lines = (tmp_path / "out.txt").read_text().splitlines()
        assert lines[0] == first
        assert (done.returncode == 0) == (first != "error")
        assert len(lines) == (6 if first == "sat" else 1)
