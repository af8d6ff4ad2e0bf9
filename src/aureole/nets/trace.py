"""From a PyTorch module to a core.Graph, through torch.export."""

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aureole.core.errors import InputError
from aureole.core.graph import Add, Conv, Graph, Input, Linear, MaxPool, Node, Op, Relu, Reshape, check_finite

Constants = dict[str, Tensor]


def trace(module: nn.Module, shape: Sequence[int]) -> Graph:
    """The module as a graph with float64 weights; witnesses are replayed through a float64 copy of the module.

    shape: one image's shape (channels, height, width), without the batch axis.
    InputError when the module does not accept such an image, uses an operator without a rule (named), holds
    weights that are not finite (named), or does not end in one vector of scores.
    """
    shape = tuple(shape)
    module = copy.deepcopy(module).eval().to(torch.float64).requires_grad_(False)
    example = torch.zeros(1, *shape, dtype=torch.float64)
    try:
        module(example)
    except (RuntimeError, ValueError, TypeError) as error:
        wanted = "x".join(str(n) for n in shape)
        raise InputError(
            f"the network does not take a {wanted} image ({_first_line(error)}); pass an image of its shape"
        ) from error
    try:
        program = torch.export.export(module, (example,))
    except Exception as error:  # torch.export raises many kinds; all mean the same to the user
        raise InputError(
            f"torch.export cannot trace the network ({_first_line(error)}); remove data-dependent control flow"
        ) from error
    if any(str(fx.target).split(".")[1:2] and str(fx.target).split(".")[1].endswith("_") for fx in program.graph.nodes):
        # an in-place operator may change a tensor that others see through a view: make every change explicit
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            program = program.run_decompositions({})
    graph = Graph(tuple(_nodes(program, shape)), source=module)
    check_finite(graph)
    if len(graph.nodes[-1].shape) != 1:
        raise InputError(
            f"the network's output has shape {graph.nodes[-1].shape} per image; it must be one vector of scores"
        )
    _check_same(graph, module, shape)
    return graph


def _check_same(graph: Graph, module: nn.Module, shape: tuple[int, ...]) -> None:
    """InputError unless graph and module agree on random images: a proof must be about the user's network."""
    images = torch.rand(4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected, traced = module(images), graph(images)
    if expected.shape != traced.shape or not torch.allclose(expected, traced, rtol=1e-9, atol=1e-9, equal_nan=True):
        raise InputError("the traced graph does not compute what the network computes; please report this network")


def _nodes(program: torch.export.ExportedProgram, shape: tuple[int, ...]) -> list[Node]:
    signature = program.graph_signature
    constants: Constants = {
        name: (program.state_dict | dict(program.constants))[target]
        for table in (signature.inputs_to_parameters, signature.inputs_to_buffers)
        for name, target in table.items()
    }
    for spec in signature.input_specs:
        if spec.kind.name == "CONSTANT_TENSOR" and spec.target is not None:
            constants[spec.arg.name] = program.constants[spec.target]
    nodes = [Node(Input(), (), shape, "input")]
    place: dict[str, int] = {}
    for fx in program.graph.nodes:
        if fx.op == "placeholder":
            if fx.name in signature.user_inputs:
                place[fx.name] = 0
        elif fx.op == "call_function":
            name = str(fx.target)
            if name in PASS_THROUGH:
                if name == "aten.dropout.default" and _Call(fx, constants).number("train"):
                    raise InputError(f"node {fx.name} drops values in evaluation too; pass training=self.training")
                place[fx.name] = place[fx.args[0].name]
                continue
            if name not in OPERATORS:
                raise InputError(
                    f"operator {name} (node {fx.name}) is not supported; supported: "
                    + ", ".join(sorted({*OPERATORS, *PASS_THROUGH}))
                )
            op = OPERATORS[name](_Call(fx, constants))
            inputs = tuple(place[a.name] for a in fx.args if isinstance(a, torch.fx.Node) and a.name not in constants)
            if not inputs:
                raise InputError(f"node {fx.name} computes on stored weights alone; store its result instead")
            if isinstance(op, Add) and len(inputs) != 2:
                raise InputError(f"node {fx.name} adds a constant, which is not supported; fold it into a bias")
            batch, *rest = (int(n) for n in fx.meta["val"].shape)
            node = Node(op, inputs, tuple(rest), fx.name)
            _check_shapes(node, batch, [nodes[i].shape for i in inputs])
            place[fx.name] = len(nodes)
            nodes.append(node)
        elif fx.op == "output":
            results = fx.args[0]
            if len(results) != 1:
                raise InputError(f"the network returns {len(results)} tensors; it must return one vector of scores")
            if place[results[0].name] != len(nodes) - 1:
                raise InputError("the network returns an inner value that later layers still read; return the last one")
    return nodes


def _check_shapes(node: Node, batch: int, below: list[tuple[int, ...]]) -> None:
    """InputError where an operator is used in a way that `core.Graph` does not know."""
    if isinstance(node.op, Conv | MaxPool) and len(below[0]) != 3:
        raise InputError(f"node {node.name} reads shape {below[0]} per image; it must be channels x height x width")
    if batch != 1 or (math.prod(node.shape) != math.prod(below[0]) and isinstance(node.op, Reshape)):
        raise InputError(f"node {node.name} mixes the batch axis with others; keep images apart (x.flatten(1))")
    if isinstance(node.op, Linear) and len(below[0]) != 1:
        raise InputError(f"node {node.name} applies a linear layer to shape {below[0]} per image; flatten it before")
    if isinstance(node.op, Add) and below[0] != below[1]:
        raise InputError(f"node {node.name} adds shapes {below[0]} and {below[1]} per image; make them equal")


class _Call:
    """One traced call's arguments by the names of its schema, parameters looked up."""

    def __init__(self, fx: torch.fx.Node, constants: Constants) -> None:
        schema = fx.target._schema.arguments  # type: ignore[union-attr]
        given = dict(zip((a.name for a in schema), fx.args, strict=False)) | dict(fx.kwargs)
        self.name = fx.name
        self._values = {a.name: given.get(a.name, a.default_value) for a in schema}
        self._constants = constants

    def tensor(self, key: str) -> Tensor:
        value = self._values[key]
        if value.name not in self._constants:
            raise InputError(f"node {self.name}: {key} is computed by the network, not a stored weight; not supported")
        return self._constants[value.name].detach().to(torch.float64)

    def optional(self, key: str, size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.float64) if self._values[key] is None else self.tensor(key)

    def pair(self, key: str, default: tuple[int, int] | None = None) -> tuple[int, int]:
        value = list(self._values[key] or default or ())
        first, last = int(value[0]), int(value[-1])
        return first, last

    def number(self, key: str) -> Any:
        return self._values[key]


def _conv(call: _Call) -> Op:
    weight = call.tensor("weight")
    return Conv(
        weight,
        call.optional("bias", weight.shape[0]),
        call.pair("stride"),
        call.pair("padding"),
        call.pair("dilation"),
        int(call.number("groups")),
    )


def _linear(call: _Call) -> Op:
    weight = call.tensor("weight")
    return Linear(weight, call.optional("bias", weight.shape[0]))


def _max_pool(call: _Call) -> Op:
    if call.pair("dilation") != (1, 1) or call.number("ceil_mode"):
        raise InputError(f"node {call.name}: max-pooling with dilation or ceil_mode is not supported")
    kernel = call.pair("kernel_size")
    return MaxPool(kernel, call.pair("stride", kernel), call.pair("padding"))


def _add(call: _Call) -> Op:
    if call.number("alpha") != 1:
        raise InputError(f"node {call.name}: add with alpha != 1 is not supported")
    return Add()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__


PASS_THROUGH = {"aten.dropout.default", "aten.alias.default", "aten.contiguous.default", "aten.clone.default"}

OPERATORS: dict[str, Callable[[_Call], Op]] = {
    "aten.conv2d.default": _conv,
    "aten.linear.default": _linear,
    "aten.relu.default": lambda call: Relu(),
    "aten.relu_.default": lambda call: Relu(),
    "aten.max_pool2d.default": _max_pool,
    "aten.add.Tensor": _add,
    "aten.add_.Tensor": _add,
    "aten.flatten.using_ints": lambda call: Reshape(),
    "aten.view.default": lambda call: Reshape(),
    "aten.reshape.default": lambda call: Reshape(),
}
