"""Damaged files at the door: one line and status 2, or an answer that sampled points do not contradict."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from aureole.cli.main import run
from aureole.cli.verify import read_property
from aureole.nets import load_onnx

WORDS = ("unsat", "sat", "unknown", "timeout")
QUIET = [HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> tuple[bytes, str]:
    rng = np.random.default_rng(5)
    stored = {n: rng.normal(size=s).astype(np.float32) for n, s in (("w", (2, 4)), ("b", (4,)), ("v", (4, 2)))}
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["z"], name="first"),
        helper.make_node("Relu", ["z"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "v"], ["y"], name="last"),
    ]
    inner = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(a, n) for n, a in stored.items()],
    )  # fmt: skip
    model = helper.make_model(inner, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    declared = "".join(f"(declare-const {v} Real)\n" for v in ("X_0", "X_1", "Y_0", "Y_1"))
    box = "".join(f"(assert (>= X_{i} -1))\n(assert (<= X_{i} 0.7))\n" for i in (0, 1))
    return model.SerializeToString(), f"{declared}{box}(assert (or (>= Y_0 9) (<= Y_1 -9) (<= Y_0 Y_1)))\n"


def check(capsys: pytest.CaptureFixture[str], folder: Path, net: bytes, spec: bytes) -> None:
    """Run `aureole verify` on the two files and judge how it ended."""
    (folder / "net.onnx").write_bytes(net)
    (folder / "spec.vnnlib").write_bytes(spec)
    capsys.readouterr()
    status = run(["verify", str(folder / "net.onnx"), str(folder / "spec.vnnlib"), "--timeout", "2"])
    out, err = capsys.readouterr()
    if status:
        assert (status, out) == (2, "")
        assert err.startswith("aureole: ") and err.count("\n") == 1
        return
    assert err == "" and out.splitlines()[0] in WORDS
    if out.splitlines()[0] == "unsat":
        network, question = load_onnx(folder / "net.onnx"), read_property(folder / "spec.vnnlib")
        for case in question.cases:
            share = torch.rand(40, len(case.lower), generator=torch.Generator().manual_seed(0)).double()
            for x in case.lower + share * (case.upper - case.lower):
                # strictly unsafe: near a tie float32 and exact arithmetic differ
                assert not any(
                    bool((u.rows @ network.graph.replay(network.image(x)) + u.constants < -1e-4).all())
                    for u in case.unsafe
                )


@settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.sampled_from([False, False, False, True]))
def test_damaged_models(capsys, tmp_path, good, place, byte, cut):
    net, spec = good
    place %= len(net)
    check(capsys, tmp_path, net[:place] if cut else net[:place] + bytes([byte]) + net[place + 1 :], spec.encode())


@settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
@given(place=st.integers(0, 10**6), byte=st.sampled_from(b"()XY_019.-<>=or \n\xff\x00"), cut=st.booleans())
def test_damaged_properties(capsys, tmp_path, good, place, byte, cut):
    net, spec = good[0], good[1].encode()
    place %= len(spec)
    check(capsys, tmp_path, net, spec[:place] if cut else spec[:place] + bytes([byte]) + spec[place + 1 :])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_weights_that_are_not_finite_or_overflow(capsys, tmp_path, good, value):
    model = onnx.ModelProto.FromString(good[0])
    for tensor in model.graph.initializer:
        array = np.array(numpy_helper.to_array(tensor))
        array.flat[0] = value
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    check(capsys, tmp_path, model.SerializeToString(), good[1].encode())
    check(capsys, tmp_path, good[0] + b"trailing", good[1].encode())
