"""Damaged ONNX models: an error of one line, or a graph that computes what onnxruntime computes."""

import random

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_models import chain
from test_onnx_import import CASES

from aureole.core import InputError
from aureole.nets import load_onnx

BASES = (
    "mlp", "conv", "conv-groups", "batch-norm", "max-pool", "average-pool-padded", "residual", "leaky", "moves",
    "shape-computed", "concat-channels", "concat-vectors", "pad-conv", "pad-constant", "clip", "tanh-conv",
    "reduce-sum", "channels-last",
)  # fmt: skip
KINDS = (
    "Erf",
    "Relu",
    "Softmax",
    "Concat",
    "Pad",
    "Transpose",
    "Conv",
    "Gemm",
    "MaxPool",
    "Loop",
    "Add",
    "Clip",
    "Nope",
)


def number(rng: random.Random) -> int:
    return rng.choice([-3, -1, 0, 1, 2, 3, 5, 17, 60])


def drop_attribute(model, rng):
    node = rng.choice(model.graph.node)
    if node.attribute:
        del node.attribute[rng.randrange(len(node.attribute))]


def rename_attribute(model, rng):
    node = rng.choice(model.graph.node)
    if node.attribute:
        rng.choice(node.attribute).name = rng.choice(["pads", "axis", "kernel_shape", "perm", "nothing", ""])


def change_attribute(model, rng):
    node = rng.choice(model.graph.node)
    if node.attribute:
        name = rng.choice(node.attribute).name
        value = rng.choice([number(rng), [number(rng) for _ in range(rng.randrange(5))], 0.5, b"word", float("nan")])
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend(kept)
        if value != []:
            node.attribute.append(helper.make_attribute(name, value))


def change_kind(model, rng):
    rng.choice(model.graph.node).op_type = rng.choice(KINDS)


def change_domain(model, rng):
    rng.choice(model.graph.node).domain = "com.nowhere"


def drop_input(model, rng):
    node = rng.choice(model.graph.node)
    if node.input:
        del node.input[rng.randrange(len(node.input))]


def rename_input(model, rng):
    node = rng.choice(model.graph.node)
    names = [*(t.name for t in model.graph.initializer), "x", "t0", "t1", "nobody", ""]
    if node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(names)


def drop_node(model, rng):
    del model.graph.node[rng.randrange(len(model.graph.node))]


def swap_nodes(model, rng):
    nodes = list(model.graph.node)
    rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def reshape_weights(model, rng):
    if model.graph.initializer:
        tensor = rng.choice(model.graph.initializer)
        del tensor.dims[:]
        tensor.dims.extend(rng.choice([[1], [2, 2], [0], [number(rng), 3], [1, 1, 3, 3], []]))


def replace_weights(model, rng):
    if model.graph.initializer:
        tensor = rng.choice(model.graph.initializer)
        shape = rng.choice([(3,), (4, 4), (2, 2, 3, 3), (), tuple(tensor.dims)])
        array = np.full(shape, rng.choice([np.nan, np.inf, 0.0, 1e38, -2.0]), dtype=rng.choice(["f4", "f8", "f2"]))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def cut_weights(model, rng):
    if model.graph.initializer:
        tensor = rng.choice(model.graph.initializer)
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]


def change_input(model, rng):
    tensor = model.graph.input[0].type.tensor_type
    tensor.shape.dim[rng.randrange(len(tensor.shape.dim))].dim_value = abs(number(rng))


def change_type(model, rng):
    model.graph.input[0].type.tensor_type.elem_type = rng.choice([TensorProto.DOUBLE, TensorProto.INT64, 0, 99])


def change_opset(model, rng):
    model.opset_import[0].version = rng.choice([0, 6, 7, 9, 10, 12, 18, 23, 999])


def drop_output(model, rng):
    model.graph.output[0].name = rng.choice(["x", "t0", "nobody"])


MUTATIONS = (
    drop_attribute, rename_attribute, change_attribute, change_kind, change_domain, drop_input, rename_input, drop_node,
    swap_nodes, reshape_weights, replace_weights, cut_weights, change_input, change_type, change_opset, drop_output,
)  # fmt: skip


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> list[onnx.ModelProto]:
    path = tmp_path_factory.mktemp("bases") / "net.onnx"
    return [onnx.load(chain(path, *CASES[name])) for name in BASES]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(base=st.integers(0, len(BASES) - 1), mutations=st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=2),
       rng=st.randoms(use_true_random=False))  # fmt: skip
def test_one_line_or_the_same_function(tmp_path, bases, base, mutations, rng):
    model = onnx.ModelProto()
    model.CopyFrom(bases[base])
    for mutation in mutations:
        if len(model.graph.node):
            mutation(model, rng)
    path = tmp_path / "bad.onnx"
    path.write_bytes(model.SerializeToString())
    try:
        network = load_onnx(path)
    except InputError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return
    images = torch.rand(3, *network.graph.input_shape, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        try:
            theirs = network.graph.source(images)
        except InputError as error:
            assert "\n" not in str(error)
            return
        ours = network.graph(images)
    finite = theirs.isfinite()
    assert ours.shape == theirs.shape
    assert torch.allclose(ours[finite], theirs[finite], rtol=1e-3, atol=1e-3)
