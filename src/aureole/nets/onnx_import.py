"""From an ONNX file to a core.Graph. The one door to the `onnx` package, an extra: `pip install aureole[onnx]`.

The graph holds the model's weights, cast to float64 exactly; folding (batch norms, biases, normalisation) happens in
float64. Witnesses are replayed through the model itself by onnxruntime (`onnx_replay`).
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from aureole.core.errors import InputError, first_line
from aureole.core.files import read_bytes
from aureole.core.graph import Graph, Input, Node, Reshape, check_finite, without_unread
from aureole.nets.agreement import DOUBLE, SINGLE, check_same
from aureole.nets.lowering import Argument, Call
from aureole.nets.normalise import Scales, checked
from aureole.nets.onnx_replay import OnnxModel
from aureole.nets.operators import MOVES, OPERATORS, lower
from aureole.nets.values import Builder, Value

if TYPE_CHECKING:
    import onnx

OLDEST_OPSET = 7
_FIRST_OPSET_WITH_AXES = 13
_DTYPES = {1: torch.float32, 11: torch.float64}  # onnx.TensorProto.FLOAT and DOUBLE


UNREPLAYED = (
    "onnxruntime is not installed: witnesses are replayed through Aureole's own reading of the model, not through the "
    "model itself; pip install 'aureole[onnx]'"
)


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """An imported model.

    graph:       images in, logits out; images are channels first, even where the model takes them channels last
    input_shape: of the model, batch axis included and 1
    layout:      the model's input elements (row-major) in the order of the graph's input; None when they agree
    notes:       what was left out or cannot be done, one line each; `graph.notes`
    sha256:      of the file
    """

    graph: Graph
    input_shape: tuple[int, ...]
    layout: NDArray[np.int64] | None
    notes: tuple[str, ...]
    sha256: str

    def image(self, flat: Float[Tensor, "numbers"]) -> Float[Tensor, "*shape"]:
        """The model's input, given in its own order (as in VNN-LIB), as an image of the graph."""
        ordered = flat if self.layout is None else flat[torch.from_numpy(self.layout)]
        return ordered.reshape(self.graph.input_shape)

    def flat(self, image: Float[Tensor, "*shape"]) -> Float[Tensor, "numbers"]:
        """The inverse of `image`."""
        return _unordered(image[None], self.layout)[0]


def load_onnx(path: Path, *, mean: Scales | None = None, std: Scales | None = None) -> OnnxNetwork:
    """Read an ONNX model with one input and one output vector (opset 7 to current).

    mean, std: what the model wants subtracted from each channel of an image in [0,1], and what it wants it divided by.
    Both are put before the model, in its own precision, and so are part of the graph and of what replays witnesses.
    A trailing Softmax is dropped, from the model that replays witnesses too: it keeps the order of the scores.
    InputError, one line, for a missing `onnx` package, a damaged file, an operator without a rule (named), weights that
    are not finite (named).
    """
    data = read_bytes(path, "an .onnx file")
    try:
        import onnx
        from onnx.external_data_helper import load_external_data_for_model, uses_external_data
    except ImportError as error:
        raise InputError(f"reading {path} needs the onnx package; pip install 'aureole[onnx]'") from error
    try:
        model = onnx.load_model_from_string(data)
        outside = [tensor for tensor in _stored(model) if uses_external_data(tensor)]
        load_external_data_for_model(model, str(path.parent))
        sha256 = hashlib.sha256(data)
        for tensor in outside:
            sha256.update(tensor.raw_data)
    except Exception as error:  # protobuf, onnx's checker and the file system each raise their own kinds
        raise InputError(f"{path} is not a readable ONNX model ({first_line(error)}); export it again") from error
    try:
        return _import(model, sha256.hexdigest(), mean, std)
    except InputError as error:  # names out of a damaged file may hold anything
        told = "".join(c if c.isprintable() else " " for c in str(error))
        raise InputError(f"{path}: {' '.join(told.split())}") from error


def _import(model: "onnx.ModelProto", sha256: str, mean: Scales | None, std: Scales | None) -> OnnxNetwork:
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise InputError(f"opset {opset} is older than {OLDEST_OPSET}; export the model with a newer one")
    constants = _initializers(model)
    name, shape, dtype = _input(model, constants)
    if len(model.graph.output) != 1:
        raise InputError(f"the model has {len(model.graph.output)} outputs; it must have one vector of scores")
    softmax = _drop_softmax(model)
    _drop_unread(model)
    notes = () if softmax is None else (f"the trailing {softmax.op_type} was dropped: scores are logits",)
    if mean is not None or std is not None:
        constants |= _normalise(model, name, shape, dtype, checked(mean, std, _channels(shape)))
    size = math.prod(shape)
    first = shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
    builder = Builder([Node(Input(), (), tuple(first), name)])
    builder.values[name] = builder.whole(0, shape)
    with np.errstate(all="ignore"):  # `check_finite` names the layer
        for node in model.graph.node:
            _step(node, opset, builder, constants)
    wanted = model.graph.output[0].name
    if wanted not in builder.values:
        raise InputError(f"the output {wanted} does not depend on the input")
    scores = builder.values[wanted]
    if softmax is not None:
        _check_softmax(softmax, opset, scores.order.shape)
    end = builder.laid_out(scores, (scores.order.size,), "output")
    nodes = builder.nodes[: end + 1] if end else [*builder.nodes, Node(Reshape(), (0,), (size,), "output")]
    source = OnnxModel.load(
        model.SerializeToString(), name, shape, np.float32 if dtype == torch.float32 else np.float64, builder.layout
    )
    if source is None:
        notes = (*notes, UNREPLAYED)
    precision = torch.float64 if source is None else dtype
    graph = Graph(without_unread(nodes), source, precision, notes, softmax is not None)
    check_finite(graph)
    if source is not None:
        check_same(graph, source, SINGLE if dtype == torch.float32 else DOUBLE)
    return OnnxNetwork(graph, shape, builder.layout, notes, sha256)


def _stored(model: "onnx.ModelProto") -> list["onnx.TensorProto"]:
    """The tensors of a model; their numbers may lie in files of their own."""
    attributes = (attribute for node in model.graph.node for attribute in node.attribute)
    return [*model.graph.initializer, *(attribute.t for attribute in attributes if attribute.HasField("t"))]


def _initializers(model: "onnx.ModelProto") -> dict[str, NDArray[Any]]:
    from onnx import numpy_helper

    if model.graph.sparse_initializer:
        raise InputError("sparse weights are not supported; export them dense")
    try:
        return {str(tensor.name): numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    except Exception as error:
        raise InputError(f"a stored tensor is damaged ({first_line(error)}); export the model again") from error


def _drop_unread(model: "onnx.ModelProto") -> None:
    """Leave the nodes that the output depends on."""
    wanted = {model.graph.output[0].name}
    for node in list(model.graph.node)[::-1]:
        if wanted.intersection(node.output):
            wanted.update(node.input)
        else:
            model.graph.node.remove(node)


def _input(model: "onnx.ModelProto", constants: Mapping[str, Any]) -> tuple[str, tuple[int, ...], torch.dtype]:
    """Name, shape (unknown axes are 1: one image) and dtype of the only input."""
    inputs = [i for i in model.graph.input if i.name not in constants]
    if len(inputs) != 1:
        raise InputError(f"the model has {len(inputs)} inputs; it must have one")
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type not in _DTYPES:
        raise InputError(f"the input {inputs[0].name} is not float32 or float64; export the model so")
    shape = tuple(max(int(d.dim_value), 1) if i == 0 else int(d.dim_value) for i, d in enumerate(tensor.shape.dim))
    open_axes = [i for i, size in enumerate(shape) if size < 1]
    if not shape:
        raise InputError(f"the input {inputs[0].name} has no shape; export it with one")
    if open_axes:
        raise InputError(f"the size of axis {open_axes} of the input {inputs[0].name} is open; export it with a size")
    return str(inputs[0].name), shape, _DTYPES[tensor.elem_type]


def _channels(shape: tuple[int, ...]) -> list[int]:
    """How many channels an input of this shape may have: they come first or last."""
    return [shape[1], shape[-1]] if len(shape) == 4 else [shape[0]] if len(shape) == 3 else [1]


def _normalise(
    model: "onnx.ModelProto", name: str, shape: tuple[int, ...], dtype: torch.dtype,
    scales: tuple[tuple[float, ...], tuple[float, ...]],
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Put (x - mean) / std before the model; the two new stored tensors come back."""
    from onnx import helper, numpy_helper

    taken = {n for node in model.graph.node for n in (*node.input, *node.output)}
    centred, scaled, mean, std = (_unused(f"{name}_{part}", taken) for part in ("centred", "scaled", "mean", "std"))
    for node in model.graph.node:
        for i, read in enumerate(node.input):
            if read == name:
                node.input[i] = scaled
    if model.graph.output[0].name == name:
        model.graph.output[0].name = scaled
    stored = {}
    for key, values in ((mean, scales[0]), (std, scales[1])):
        first = len(shape) == 3 or (len(shape) == 4 and shape[1] == len(values))  # else channels come last
        axes = (-1, 1, 1) if first else (-1,)
        array = np.array(values, dtype=np.float32 if dtype == torch.float32 else np.float64)
        stored[key] = array.reshape(axes if len(values) > 1 else (1,))
        model.graph.initializer.append(numpy_helper.from_array(stored[key], key))
    steps = [helper.make_node("Sub", [name, mean], [centred]), helper.make_node("Div", [centred, std], [scaled])]
    nodes = [*steps, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return stored


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _drop_softmax(model: "onnx.ModelProto") -> "onnx.NodeProto | None":
    """Let the model end before a trailing Softmax, which comes back."""
    last: onnx.NodeProto | None = next((n for n in model.graph.node if model.graph.output[0].name in n.output), None)
    if last is None or last.op_type not in ("Softmax", "LogSoftmax"):
        return None
    model.graph.output[0].name = last.input[0]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.node.remove(last)
    return last


def _check_softmax(node: "onnx.NodeProto", opset: int, shape: tuple[int, ...]) -> None:
    """InputError unless it is over all scores at once: only then does it keep their order."""
    along = opset >= _FIRST_OPSET_WITH_AXES  # before, over the axis and all that follow
    axis = next((a.i for a in node.attribute if a.name == "axis"), -1 if along else 1)
    inside = -len(shape) <= axis < len(shape)
    size = (shape[axis] if along else math.prod(shape[axis % len(shape) :])) if inside else 0
    if size != math.prod(shape):
        raise InputError(
            f"node {_name(node)} ({node.op_type}): a softmax over axis {axis} of shape {shape} is not supported; it "
            "must be over all scores"
        )


def _step(node: "onnx.NodeProto", opset: int, builder: Builder, constants: dict[str, NDArray[Any]]) -> None:
    """One operator: computed now where it is constant, else added to the graph."""
    from onnx import helper

    name, kind = _name(node), str(node.op_type)
    try:
        arguments: list[Argument] = [
            None if not i else builder.values[i] if i in builder.values else constants[i] for i in node.input
        ]
        computed = [a for a in arguments if isinstance(a, Value)]
        if node.domain not in ("", "ai.onnx"):
            raise InputError(f"node {name} ({node.domain}.{kind}): operators outside ONNX itself are not supported")
        if kind in _NOT_READ:
            raise InputError(f"node {name}: operator {kind} is not supported: {_NOT_READ[kind]}")
        if kind == "Shape" and computed:
            arguments, computed = [np.empty(computed[0].order.shape)], []
        if not computed:
            constants |= dict(zip(node.output, _evaluate(node, opset, arguments), strict=False))
        elif kind in MOVES:
            if len(computed) > 1 or arguments[0] is not computed[0]:
                raise InputError(f"node {name} ({kind}): its shape or indices are computed from the image")
            builder.values |= dict(zip(node.output, _moved(node, opset, arguments), strict=False))
        elif kind in ("Dropout", "Cast"):
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if kind == "Cast" and attributes.get("to") not in _DTYPES:
                raise InputError(f"node {name} (Cast): rounding of computed values is not supported")
            if kind == "Dropout" and any(isinstance(a, np.ndarray) and a.any() for a in arguments[2:]):
                raise InputError(f"node {name} (Dropout) drops values in inference too; export it for inference")
            builder.values[node.output[0]] = computed[0]
        elif kind in OPERATORS:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            builder.values[node.output[0]] = lower(Call(name, kind, arguments, attributes, builder))
        else:
            known = ", ".join(sorted({*OPERATORS, *MOVES, "Cast", "Dropout"}))
            raise InputError(f"node {name}: operator {kind} is not supported; supported: {known}")
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(
            f"node {name} ({kind}) cannot be read ({first_line(error)}); export the model again"
        ) from error


_RANDOM, _FLOW = "a network must be a function", "control flow; export the model for one path"
_NOT_READ = dict.fromkeys(
    ("RandomUniform", "RandomUniformLike", "RandomNormal", "RandomNormalLike", "Multinomial", "Bernoulli"), _RANDOM
) | dict.fromkeys(("If", "Loop", "Scan"), _FLOW)
"""What would be computed once, or not at all, and why that will not do."""

_DAMAGE = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What numpy, torch and onnx raise when a node's attributes and shapes do not fit each other."""


def _evaluate(node: "onnx.NodeProto", opset: int, arguments: list[Any]) -> list[NDArray[Any]]:
    """The node's value on arrays, by ONNX's reference implementation."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    if node.op_type in ("Squeeze", "Unsqueeze") and opset < _FIRST_OPSET_WITH_AXES and node.attribute:
        axes = helper.get_attribute_value(node.attribute[0])  # the evaluator knows only the newer form: axes as input
        node, opset = helper.make_node(node.op_type, [node.input[0], "axes"], node.output), _FIRST_OPSET_WITH_AXES
        arguments = [arguments[0], np.array(axes, dtype=np.int64)]
    feeds = {name: value for name, value in zip(node.input, arguments, strict=True) if name}
    return list(ReferenceEvaluator(node, opsets={"": opset}).run(None, feeds))


def _moved(node: "onnx.NodeProto", opset: int, arguments: list[Any]) -> list[Value]:
    """What a moving operator does to the positions, and to the pending steps."""
    value = arguments[0]
    orders = _evaluate(node, opset, [value.order, *arguments[1:]])
    if value.plain:
        return [replace(value, order=order) for order in orders]
    scales, shifts = (_evaluate(node, opset, [part, *arguments[1:]]) for part in (value.scale, value.shift))
    return [Value(value.node, *parts) for parts in zip(orders, scales, shifts, strict=True)]


def _unordered(
    images: Float[Tensor, "batch *shape"], layout: NDArray[np.int64] | None
) -> Float[Tensor, "batch numbers"]:
    flat = images.flatten(1)
    return flat if layout is None else torch.zeros_like(flat).index_copy(1, torch.from_numpy(layout), flat)


def _name(node: "onnx.NodeProto") -> str:
    return str(node.name or (node.output[0] if node.output else "without a name"))
