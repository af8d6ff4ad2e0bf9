"""Every imported graph against onnxruntime on random inputs."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_models import Step, array, chain

from aureole.core import InputError
from aureole.core.graph import Conv, Linear
from aureole.nets import OnnxNetwork, load, load_onnx
from aureole.nets.lowering import tanh
from aureole.nets.operators import OPERATORS

RNG = np.random.default_rng(0)
F32 = np.float32


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def a(*shape: int) -> np.ndarray:
    return array(RNG, *shape)


def agree(network: OnnxNetwork, tolerance: float = 2e-5, count: int = 6) -> float:
    """The largest difference to onnxruntime; the scores must vary, or the comparison says nothing."""
    g = torch.Generator().manual_seed(1)
    images = torch.randn(count, *network.graph.input_shape, generator=g).to(torch.float64)
    with torch.no_grad():
        ours, theirs = network.graph(images), network.graph.source(images)
    assert ours.shape == theirs.shape == (count, network.graph.classes)
    assert float(theirs.std(0).max()) > 1e-3
    assert float((ours - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


RELU: Step = ("Relu", [None], {})
FLAT: Step = ("Flatten", [None], {})


def step(kind: str, *stored: np.ndarray, **attributes: object) -> Step:
    """An operator that reads the step before it and stored arrays."""
    return kind, [None, *stored], attributes


IMAGE = [1, 2, 6, 5]
CONV = step("Conv", a(4, 2, 3, 3), a(4))
BN = [np.abs(a(4)), a(4), a(4), np.abs(a(4)) + 0.1]
CASES = {
    "mlp": ([1, 5], [step("Gemm", a(5, 7), a(7)), RELU, step("Gemm", a(3, 7), transB=1, alpha=0.5)]),
    "gemm-beta": ([1, 5], [step("Gemm", a(5, 3), a(1, 3), beta=2.0, alpha=-1.5)]),
    "open-batch": (["N", 5], [step("MatMul", a(5, 7)), step("Add", a(7)), RELU, step("MatMul", a(7, 3))]),
    "no-batch": ([4], [step("MatMul", a(4, 3)), RELU]),
    "weights-left": ([1], [("MatMul", [a(2, 1), None], {}), step("Add", a(2)), RELU, ("MatMul", [a(3, 2), None], {})]),
    "weights-left-columns": ([3, 1], [("MatMul", [a(4, 3), None], {}), RELU, ("MatMul", [a(2, 4), None], {})]),
    "matmul-per-row": ([1, 3, 4], [step("MatMul", a(4, 2)), step("Add", a(2)), RELU, FLAT, step("MatMul", a(6, 2))]),
    "acasxu": (
        [1, 1, 1, 5],
        [step("Sub", a(1, 1, 1, 5)), step("Flatten", axis=1), step("MatMul", a(5, 4)), ("Add", [a(4), None], {})],
    ),
    "conv": (IMAGE, [CONV, RELU, FLAT]),
    "conv-no-bias": (IMAGE, [step("Conv", a(4, 2, 3, 2), strides=[2, 1], pads=[1, 2, 1, 2])]),
    "conv-asymmetric": (IMAGE, [step("Conv", a(3, 2, 3, 3), a(3), pads=[0, 1, 2, 0], strides=[2, 2])]),
    "conv-asymmetric-dilated": (IMAGE, [step("Conv", a(3, 2, 2, 2), a(3), pads=[0, 2, 2, 0], dilations=[2, 2])]),
    "conv-same-upper": (IMAGE, [step("Conv", a(3, 2, 4, 2), a(3), auto_pad="SAME_UPPER", strides=[2, 2])]),
    "conv-same-lower": (IMAGE, [step("Conv", a(3, 2, 4, 2), a(3), auto_pad="SAME_LOWER")]),
    "conv-valid": (IMAGE, [step("Conv", a(3, 2, 2, 2), auto_pad="VALID")]),
    "conv-groups": (IMAGE, [step("Conv", a(4, 1, 3, 3), a(4), group=2, dilations=[2, 1])]),
    "conv-1d": (
        [1, 3, 9],
        [
            step("Conv", a(4, 3, 3), a(4), pads=[1, 1], strides=[2]),
            RELU,
            step("MaxPool", kernel_shape=[2], strides=[2]),
            FLAT,
            step("MatMul", a(8, 3)),
        ],
    ),
    "normalised": (IMAGE, [step("Sub", a(1, 2, 1, 1)), step("Div", np.abs(a(2, 1, 1)) + 0.5), CONV]),
    "normalised-padded": (
        IMAGE,
        [
            step("Sub", a(1, 2, 1, 1)),
            ("Mul", [np.full(1, 2, F32), None], {}),
            step("Conv", a(4, 2, 3, 3), a(4), pads=[1, 1, 1, 1]),
        ],
    ),
    "normalised-groups": (
        IMAGE,
        [step("Sub", a(1, 2, 1, 1)), step("Mul", a(1, 2, 1, 1)), step("Conv", a(4, 1, 3, 3), a(4), group=2)],
    ),
    "mean-image": (IMAGE, [step("Sub", a(*IMAGE)), CONV]),
    "batch-norm": (IMAGE, [CONV, step("BatchNormalization", *BN, epsilon=1e-3), RELU]),
    "batch-norm-first": (IMAGE, [("BatchNormalization", [None, *(p[:2] for p in BN)], {}), RELU, CONV]),
    "batch-norm-vector": ([1, 4], [RELU, step("BatchNormalization", *BN), step("MatMul", a(4, 3))]),
    "max-pool": (IMAGE, [CONV, RELU, step("MaxPool", kernel_shape=[2, 2], strides=[2, 2])]),
    "max-pool-overlap": (IMAGE, [step("MaxPool", kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1])]),
    "max-pool-scaled": (IMAGE, [step("Mul", a(2, 1, 1)), step("MaxPool", kernel_shape=[2, 2])]),
    "max-pool-idle-pad": (IMAGE, [step("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 0])]),
    "average-pool": (IMAGE, [step("AveragePool", kernel_shape=[3, 2], strides=[2, 1]), RELU]),
    "average-pool-padded": (IMAGE, [step("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])]),
    "average-pool-counted": (IMAGE, [step("AveragePool", kernel_shape=[3, 3], pads=[1, 0, 1, 0], count_include_pad=1)]),
    "global-average": (
        IMAGE,
        [CONV, RELU, step("GlobalAveragePool"), step("Squeeze", ints(2, 3)), step("MatMul", a(4, 3))],
    ),
    "residual": (IMAGE, [step("Conv", a(2, 2, 3, 3), a(2), pads=[1, 1, 1, 1]), RELU, step("Add", "x"), RELU]),
    "residual-sub": ([1, 4], [step("MatMul", a(4, 4)), RELU, ("Sub", ["x", None], {}), RELU]),
    "residual-broadcast": ([1, 4], [step("MatMul", a(4, 1)), RELU, step("Add", "x")]),
    "residual-batch-norm": (
        IMAGE,
        [
            step("Conv", a(2, 2, 1, 1)),
            ("BatchNormalization", [None, *(p[:2] for p in BN)], {}),
            ("Add", ["x", None], {}),
            RELU,
            step("Add", "t1"),
        ],
    ),
    "twice": ([1, 3], [("Add", ["x", "x"], {}), RELU, step("MatMul", a(3, 2))]),
    "leaky": ([1, 4], [step("MatMul", a(4, 5)), step("LeakyRelu", alpha=0.2), step("MatMul", a(5, 3))]),
    "leaky-conv": (IMAGE, [CONV, step("LeakyRelu"), FLAT, step("MatMul", a(48, 3))]),
    "channels-last": (
        [1, 6, 5, 2],
        [
            step("Transpose", perm=[0, 3, 1, 2]),
            CONV,
            RELU,
            step("Transpose", perm=[0, 2, 3, 1]),
            step("Reshape", ints(-1, 48)),
            step("MatMul", a(48, 3)),
        ],
    ),
    "channels-last-normalised": (
        [1, 6, 5, 2],
        [step("Sub", a(2)), step("Transpose", perm=[0, 3, 1, 2]), step("Conv", a(4, 2, 3, 3), a(4), pads=[1, 1, 1, 1])],
    ),
    "channels-last-read-twice": (
        [1, 6, 5, 2],
        [
            step("Transpose", perm=[0, 3, 1, 2]),
            step("Conv", a(2, 2, 1, 1)),
            RELU,
            step("Transpose", perm=[0, 2, 3, 1]),
            step("Add", "x"),
            RELU,
        ],
    ),
    "transposed-between-convs": (
        IMAGE,
        [CONV, RELU, step("Transpose", perm=[0, 1, 3, 2]), step("Conv", a(2, 4, 2, 3))],
    ),
    "moves": (
        [1, 2, 6],
        [
            step("Unsqueeze", ints(0)),
            step("Squeeze", ints(0)),
            step("Reshape", ints(0, 3, -1)),
            step("Transpose", perm=[0, 2, 1]),
            step("Mul", a(4, 3)),
            step("Slice", ints(1), ints(3), ints(1)),
            step("Identity"),
            RELU,
            FLAT,
        ],
    ),
    "gathered": ([1, 6], [step("Mul", a(6)), step("Gather", ints(5, 0, 0, 2), axis=1), RELU]),
    "shape-computed": (
        ["N", 2, 3],
        [
            ("Shape", ["x"], {}),
            step("Gather", ints(0), axis=0),
            step("Concat", ints(-1), axis=0),
            ("Reshape", ["x", "t2"], {}),
            step("MatMul", a(6, 3)),
        ],
    ),
    "constants-computed": (
        [1, 3],
        [
            ("Cast", [np.arange(6).reshape(3, 2)], {"to": 1}),
            step("Mul", np.array(0.25, F32)),
            ("MatMul", ["x", "t1"], {}),
            step("Dropout"),
            RELU,
        ],
    ),
    "sigmoid": ([1, 4], [step("MatMul", a(4, 5)), step("Sigmoid"), step("MatMul", a(5, 3)), step("Tanh")]),
    "tanh-conv": (IMAGE, [CONV, step("Tanh"), step("Transpose", perm=[0, 2, 3, 1]), step("Sigmoid"), FLAT]),
    "concat-channels": (
        IMAGE,
        [
            CONV,
            ("Conv", ["x", a(3, 2, 3, 3), a(3)], {}),
            step("Sigmoid"),
            ("Concat", ["t0", "t2"], {"axis": 1}),
            RELU,
            step("Conv", a(2, 7, 2, 2), a(2)),
        ],
    ),
    "concat-grouped": (
        IMAGE,
        [
            step("Conv", a(4, 1, 3, 3), group=2),
            ("Conv", ["x", a(2, 2, 3, 3)], {}),
            ("Concat", ["t0", "t1", "t0"], {"axis": 1}),
        ],
    ),
    "concat-rows": (
        IMAGE,
        [CONV, RELU, ("Conv", ["x", a(4, 2, 3, 3), a(4)], {}), ("Concat", ["t1", "t2"], {"axis": 2}), RELU],
    ),
    "concat-vectors": (
        [1, 4],
        [
            step("MatMul", a(4, 3)),
            RELU,
            ("Mul", ["x", a(4)], {}),
            ("Concat", ["t1", a(1, 2), "t2", "x"], {"axis": -1}),
            step("MatMul", a(13, 3)),
        ],
    ),
    "concat-itself": ([1, 4], [("Add", ["x", a(4)], {}), ("Concat", ["x", "t0", "x"], {"axis": 1}), RELU]),
    "concat-stored-channels": (IMAGE, [("Concat", [a(1, 1, 6, 5), "x"], {"axis": 1}), step("Conv", a(4, 3, 3, 3))]),
    "concat-three": (
        [1, 3],
        [
            ("MatMul", ["x", a(3, 2)], {}),
            RELU,
            ("MatMul", ["x", a(3, 2)], {}),
            step("Tanh"),
            ("Concat", ["x", "t1", "t3"], {"axis": 1}),
            step("MatMul", a(7, 2)),
        ],
    ),
    "pad-conv": (
        IMAGE,
        [step("Pad", ints(0, 0, 1, 0, 0, 0, 2, 1)), step("Conv", a(3, 2, 3, 3), a(3), pads=[0, 1, 0, 1])],
    ),
    "pad-relu": (IMAGE, [CONV, step("Pad", ints(0, 0, 1, 2, 0, 0, 1, 0)), RELU]),
    "pad-pool": (IMAGE, [RELU, step("Pad", ints(0, 0, 1, 1, 0, 0, 1, 1)), step("MaxPool", kernel_shape=[3, 3])]),
    "pad-average": (IMAGE, [step("Pad", ints(0, 0, 1, 1, 0, 0, 0, 0)), step("AveragePool", kernel_shape=[2, 2])]),
    "pad-constant": (
        IMAGE,
        [CONV, RELU, step("Pad", ints(0, 0, 1, 0, 0, 0, 0, 2), np.array(0.7, F32)), step("Conv", a(2, 4, 2, 2))],
    ),
    "pad-normalised": (
        IMAGE,
        [step("Sub", a(1, 2, 1, 1)), step("Pad", ints(0, 0, 1, 1, 0, 0, 1, 1)), step("Conv", a(4, 2, 3, 3), a(4))],
    ),
    "pad-crop": (IMAGE, [CONV, step("Pad", ints(0, 0, -1, 1, 0, 0, 0, -1))]),
    "pad-vector": ([1, 4], [step("MatMul", a(4, 3)), step("Pad", ints(0, 1, 0, 2), np.array(-2.0, F32)), RELU]),
    "pad-channels": (IMAGE, [step("Pad", ints(0, 1, 0, 0, 0, 2, 0, 0)), step("Conv", a(4, 5, 3, 3))]),
    "pad-reflect": (IMAGE, [step("Pad", ints(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect"), step("Conv", a(4, 2, 3, 3))]),
    "pad-axes": (IMAGE, [step("Pad", ints(1, 2), np.array(0.0, F32), ints(-1)), RELU]),
    "clip": (
        [1, 5],
        [step("MatMul", a(5, 6)), step("Clip", np.array(-0.3, F32), np.array(0.8, F32)), step("MatMul", a(6, 2))],
    ),
    "clip-above": ([1, 5], [step("MatMul", a(5, 6)), ("Clip", [None, "", np.array(0.1, F32)], {})]),
    "constants-left": (
        [1, 4],
        [("Sub", [a(4), None], {}), ("Mul", [a(4), None], {}), step("Div", np.array(3, F32)), RELU],
    ),
    "negative": ([1, 4], [step("Neg"), RELU]),
    "reduce-mean": (IMAGE, [CONV, RELU, step("ReduceMean", ints(2, 3), keepdims=0)]),
    "reduce-mean-other": (IMAGE, [CONV, RELU, step("ReduceMean", ints(1, -1))]),
    "reduce-sum": (IMAGE, [CONV, step("ReduceSum", ints(1), keepdims=0), RELU]),
    "pad-slice-conv": (
        IMAGE,
        [
            step("Pad", ints(0, 0, 1, 0, 0, 0, 2, 1)),
            step("Slice", ints(0), ints(7), ints(2)),  # the last two rows are gone, the order of the others is kept
            step("Conv", a(3, 2, 3, 3), a(3)),
        ],
    ),
    "pad-reshape-conv": (
        IMAGE,
        [step("Pad", ints(0, 0, 0, 0, 0, 0, 2, 1)), step("Reshape", ints(1, 2, 6, 8)), step("Conv", a(3, 2, 3, 3))],
    ),
    "reduce-all": (IMAGE, [step("Mul", a(5)), RELU, step("ReduceMean")]),
    "reduce-all-empty": (IMAGE, [step("Mul", a(5)), RELU, step("ReduceMean", ints())]),
    "reduce-sum-empty": ([1, 4], [("ReduceSum", [None, ints()], {}), ("Sub", ["x", "t0"], {}), RELU]),
    "reduce-nothing": (IMAGE, [CONV, step("ReduceMean", ints(), noop_with_empty_axes=1), RELU]),
    "reduce-sum-nothing": (IMAGE, [CONV, step("ReduceSum", noop_with_empty_axes=1), RELU]),
    "clip-largest": ([1, 5], [step("MatMul", a(5, 6)), step("Clip", np.array(0, F32), np.array(np.finfo(F32).max))]),
    "nothing": ([1, 3], [step("Identity")]),
    "scaled-scores": ([1, 3], [RELU, step("Mul", a(3))]),
}


AXES_AS_INPUT = ("pad-axes", "reduce-mean", "reduce-mean-other", "reduce-all-empty", "reduce-nothing")


@pytest.mark.parametrize("name", CASES)
def test_operators(name, tmp_path):
    shape, steps = CASES[name]
    agree(load_onnx(chain(tmp_path / "net.onnx", shape, steps, opset=18 if name in AXES_AS_INPUT else 17)))


@pytest.mark.parametrize("opset", [8, 11, 12, 13, 21, 26])
def test_opsets(opset, tmp_path):
    axes = ("Unsqueeze", [None], {"axes": [0]}) if opset < 13 else ("Unsqueeze", [None, ints(0)], {})
    steps = [axes, CONV, ("Relu", [None], {}), ("Dropout", [None], {}), ("Flatten", [None], {})]
    agree(load_onnx(chain(tmp_path / "net.onnx", IMAGE[1:], steps, opset=opset)))


def test_attributes_of_old_opsets(tmp_path):
    """What later became inputs."""
    steps = [
        step("Pad", pads=[0, 0, 1, 0, 0, 0, 0, 1], value=0.5),
        CONV,
        step("Clip", min=-0.5, max=0.75),
        step("ReduceMean", axes=[2, 3], keepdims=0),
    ]
    agree(load_onnx(chain(tmp_path / "net.onnx", IMAGE, steps, opset=10)))


def test_an_average_over_a_dilated_window(tmp_path):
    pool = step("AveragePool", kernel_shape=[2, 2], dilations=[2, 2], pads=[1, 1, 1, 1])
    agree(load_onnx(chain(tmp_path / "net.onnx", IMAGE, [pool, RELU], opset=19)))


def test_an_opset_newer_than_onnxruntime_is_told(tmp_path):
    with pytest.raises(InputError, match=r"knows opsets up to \d+") as caught:
        load_onnx(chain(tmp_path / "net.onnx", [1, 3], [("Relu", [None], {})], opset=999))
    assert "\n" not in str(caught.value)


def test_double_models_are_replayed_in_double(tmp_path):
    steps = [("MatMul", [None, a(4, 3).astype(np.float64)], {}), ("Relu", [None], {})]
    network = load_onnx(chain(tmp_path / "net.onnx", [1, 4], steps, dtype=onnx.TensorProto.DOUBLE))
    assert network.graph.precision == torch.float64
    agree(network, 1e-14)


def test_a_trailing_softmax_is_dropped_with_a_note(tmp_path):
    path = chain(tmp_path / "net.onnx", [1, 4], [("MatMul", [None, a(4, 3)], {}), ("Softmax", [None], {"axis": 1})])
    network = load_onnx(path)
    assert network.notes == network.graph.notes == ("the trailing Softmax was dropped: scores are logits",)
    assert network.graph.softmax
    agree(network)


@pytest.mark.parametrize(
    ("opset", "axis", "shape", "whole"),
    [(13, -1, (1, 4), True), (13, 1, (1, 4), True), (13, -1, (1, 2, 2), False), (13, 1, (1, 4, 1), True),
     (13, 1, (4,), False), (11, 1, (1, 2, 2), True), (11, 2, (1, 2, 2), False), (11, 0, (1, 2, 2), True),
     (13, 5, (1, 4), False)],
)  # fmt: skip
def test_a_softmax_over_groups_of_scores_is_not_dropped(opset, axis, shape, whole, tmp_path):
    """It would change which of two scores in different groups is the higher one."""
    steps = [
        ("MatMul", [None, a(4, 4)], {}),
        ("Reshape", [None, ints(*shape)], {}),
        ("Softmax", [None], {"axis": axis}),
    ]
    path = chain(tmp_path / "net.onnx", [1, 4], steps, opset=opset)
    if whole:
        assert load_onnx(path).graph.softmax
    else:
        with pytest.raises(InputError, match="must be over all scores"):
            load_onnx(path)


def test_a_graph_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    path = chain(tmp_path / "net.onnx", [1, 4], [("MatMul", [None, a(4, 3)], {}), ("Relu", [None], {})])
    monkeypatch.setitem(OPERATORS, "Relu", tanh)
    with pytest.raises(InputError, match="does not compute what the network does"):
        load_onnx(path)


@pytest.mark.parametrize("name", ["conv", "channels-last", "mlp", "conv-groups", "pad-conv", "nothing"])
def test_normalisation_goes_before_the_model(name, tmp_path):
    path = chain(tmp_path / "net.onnx", *CASES[name])
    plain = load_onnx(path)
    channels = plain.graph.input_shape[0] if len(plain.graph.input_shape) == 3 else 1
    mean, std = [0.25, 0.5][:channels], [0.5, 0.125][:channels]  # exact in float32
    network = load_onnx(path, mean=mean, std=std)
    agree(network)
    images = torch.rand(3, *plain.graph.input_shape, generator=torch.Generator().manual_seed(2)).double()
    axes = (-1, *[1] * (images.ndim - 2))
    inner = (images - torch.tensor(mean).double().reshape(axes)) / torch.tensor(std).double().reshape(axes)
    with torch.no_grad():
        assert torch.allclose(network.graph(images), plain.graph(inner), rtol=0, atol=1e-9)
        assert torch.allclose(network.graph.source(images), plain.graph.source(inner), rtol=0, atol=1e-5)


def test_a_normalisation_of_other_channels_is_told(tmp_path):
    with pytest.raises(InputError, match="mean has 3 numbers"):
        load_onnx(chain(tmp_path / "net.onnx", *CASES["conv"]), mean=(0.1, 0.2, 0.3))


def test_biases_and_batch_norms_leave_no_layer_of_their_own(tmp_path):
    shape, steps = CASES["batch-norm"]
    ops = [node.op for node in load_onnx(chain(tmp_path / "net.onnx", shape, steps)).graph.nodes]
    assert sum(isinstance(op, Conv | Linear) for op in ops) == 1


def test_channels_last_images(tmp_path):
    network = load_onnx(chain(tmp_path / "net.onnx", *CASES["channels-last"]))
    assert network.input_shape == (1, 6, 5, 2) and network.graph.input_shape == (2, 6, 5)
    flat = torch.arange(60, dtype=torch.float64)
    image = network.image(flat)
    assert torch.equal(image, flat.reshape(6, 5, 2).permute(2, 0, 1))
    assert torch.equal(network.flat(image), flat)


def test_load_by_path(tmp_path):
    network = load(str(chain(tmp_path / "small.onnx", *CASES["mlp"])))
    assert (network.name, network.arch, network.classes, network.input_shape) == ("small", "onnx", 3, (5,))
    assert len(network.sha256) == 64


def test_numbers_outside_the_file_are_part_of_the_digest(tmp_path):
    model = onnx.load(chain(tmp_path / "net.onnx", *CASES["mlp"]))
    onnx.save_model(model, tmp_path / "out.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    before = load_onnx(tmp_path / "out.onnx")
    numbers = bytearray((tmp_path / "w.bin").read_bytes())
    numbers[3] ^= 1
    (tmp_path / "w.bin").write_bytes(numbers)
    after = load_onnx(tmp_path / "out.onnx")
    assert not torch.equal(before.graph.nodes[1].op.weight, after.graph.nodes[1].op.weight)
    assert before.sha256 != after.sha256


def test_what_the_output_does_not_need_is_not_read(tmp_path):
    shape, steps = [1, 3], [("Softmax", [None], {})]
    path = chain(tmp_path / "net.onnx", shape, steps)
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("Exp", [model.graph.output[0].name], ["aside"]))
    onnx.save(model, path)
    graph = load_onnx(path).graph
    image = torch.tensor([0.2, 0.9, 0.4], dtype=torch.float64)
    assert torch.allclose(graph.replay(image), graph(image[None])[0])


def test_an_open_batch(tmp_path):
    path = chain(tmp_path / "net.onnx", *CASES["mlp"])
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(model, path)
    assert load_onnx(path).graph.input_shape == (5,)


REFUSED = {
    "operator": ([1, 3], [("Erf", [None], {})], "node Erf0: operator Erf is not supported"),
    "product": ([1, 3], [("Mul", ["x", "x"], {})], "node Mul0 (Mul): its input 1 is computed"),
    "quotient": ([1, 3], [("Div", [a(3), None], {})], "node Div0 (Div): its input 0 is not computed"),
    "matrices": ([1, 3], [("MatMul", ["x", "x"], {})], "node MatMul0 (MatMul)"),
    "reshape": ([1, 4], [("Reshape", [None, ints(1, 3)], {})], "node Reshape0 (Reshape) cannot be read"),
    "missing": ([1, 4], [("Add", [None, "nobody"], {})], "node Add0 (Add) cannot be read"),
    "dropout": ([1, 3], [step("Dropout", np.array(0.5, F32), np.array(True))], "drops values in inference"),
    "pool": (IMAGE, [("MaxPool", [None], {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]})], "padding 0 before and 1"),
    "dilated": (IMAGE, [("Conv", [None, a(2, 2, 2, 2)], {"dilations": [2, 2], "pads": [0, 0, 1, 0]})], "dilation 2"),
    "batch": ([2, 2, 6, 5], [CONV], "its input has shape (2, 2, 6, 5)"),
    "open": ([1, "n"], [("Relu", [None], {})], "is open"),
    "nan": ([1, 3], [("MatMul", [None, np.full((3, 2), np.nan, F32)], {})], "MatMul0.weight holds NaN"),
    "division": ([1, 3], [("Div", [None, np.zeros(3, F32)], {})], "node Div0 (Div): its constant gives"),
    "factor": ([1, 3], [("Mul", [None, np.full(3, np.inf, F32)], {})], "node Mul0 (Mul): its constant gives"),
    "constant": ([1, 3], [("Relu", [a(1, 3)], {})], "does not depend on the input"),
    "pad": (IMAGE, [("Pad", [None, ints(0, 0, 1, 1)], {})], "4 amounts do not fit 4 axes"),
    "clip": ([1, 3], [("Clip", [None, np.array(1, F32), np.array(0, F32)], {})], "wrong order"),
    "concat": ([1, 3], [("Concat", [None, a(2, 3)], {"axis": 1})], "node Concat0 (Concat): shapes"),
    "random": ([1, 3], [("RandomUniformLike", [None], {"high": 1e-6}), ("Add", ["x", None], {})], "must be a function"),
    "loop": ([1, 3], [("Loop", [ints(2), "", None], {})], "control flow"),
    "overflow": ([1, 3], [step("MatMul", np.full((3, 2), 3e38, F32)), step("Mul", np.array(9e9, F32))], "NaN or"),
    "softmax-axis": (IMAGE, [("Softmax", [None], {"axis": 2})], "a softmax over axis 2"),
    "softmax-inside": ([1, 3], [("Softmax", [None], {}), ("Relu", [None], {})], "operator Softmax is not"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name, tmp_path):
    shape, steps, words = REFUSED[name]
    with pytest.raises(InputError) as caught:
        load_onnx(chain(tmp_path / "net.onnx", shape, steps))
    assert words in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files(tmp_path, place, byte, cut):
    good = chain(tmp_path / "good.onnx", *CASES["conv-1d"]).read_bytes()
    place %= len(good)
    bad = good[:place] if cut else good[:place] + bytes([byte]) + good[place + 1 :]
    (tmp_path / "bad.onnx").write_bytes(bad)
    try:
        network = load_onnx(tmp_path / "bad.onnx")
    except InputError as error:
        assert "\n" not in str(error)
    else:  # the damage changed a weight or a name: still the same function as onnxruntime's
        images = torch.zeros(1, *network.graph.input_shape, dtype=torch.float64)
        ours, theirs = network.graph(images), network.graph.source(images)
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_without_the_package(tmp_path):
    path = chain(tmp_path / "net.onnx", *CASES["mlp"])
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from pathlib import Path; from aureole.core import InputError; from aureole.nets import load_onnx\n"
        f"try: load_onnx(Path({str(path)!r}))\nexcept InputError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'aureole[onnx]'" in done.stdout and done.stdout.count("\n") == 1


@pytest.mark.shared
def test_networks_of_the_data_folder(data_root):
    paths = sorted(data_root.glob("marvel/models/*.onnx")) + sorted(data_root.glob("vnnlib/**/*.onnx"))
    assert len(paths) > 20
    for path in paths:
        network = load_onnx(path)
        images = torch.rand(4, *network.graph.input_shape, generator=torch.Generator().manual_seed(0)).double()
        with torch.no_grad():
            ours, theirs = network.graph(images), network.graph.source(images)
        assert float((ours - theirs).abs().max()) <= 2e-5 * max(1.0, float(theirs.abs().max())), path


@pytest.mark.shared
@pytest.mark.parametrize("name", ["MNIST1", "MNIST2", "MNIST3"])
def test_mnist_networks_know_their_digits(data_root, name):
    network = load_onnx(data_root / "marvel" / "models" / f"{name}.onnx")
    with np.load(data_root / "marvel" / "data" / "mnist_test.npz") as stored:
        images, labels = torch.from_numpy(stored["images"] / 255), torch.from_numpy(stored["labels"])
    images = images.reshape(-1, *network.graph.input_shape)
    with torch.no_grad():
        assert float((network.graph(images).argmax(1) == labels).float().mean()) > 0.9
