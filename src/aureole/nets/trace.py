"""From a PyTorch module to a core.Graph, through torch.export.

The exported program is run on tensors that know where each of their numbers lies (`values`): what depends on stored
weights alone is computed, what only moves numbers moves positions, and the rest is lowered as ONNX models are.
"""

import copy
import operator
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from aureole.core.errors import InputError, first_line, times
from aureole.core.graph import Graph, Input, Node, Reshape, check_finite, without_unread
from aureole.nets.agreement import check_same
from aureole.nets.normalise import Normalised, Scales
from aureole.nets.trace_ops import MOVES, PASS_THROUGH, TRANSLATIONS, Traced
from aureole.nets.values import Builder, Value

SOFTMAX = tuple(f"aten.{name}" for name in (
    "softmax.int", "log_softmax.int", "_softmax.default", "_log_softmax.default",
))  # fmt: skip


def trace(
    module: nn.Module | Graph, shape: Sequence[int], *, mean: Scales | None = None, std: Scales | None = None
) -> Graph:
    """The module as a graph with float64 weights; witnesses are replayed through a float64 copy of the module.

    module: a graph comes back as it is
    shape:  one image's shape (channels, height, width), without the batch axis.
    mean, std: what the module wants subtracted from each channel of an image in [0,1], and what it wants it divided by;
               both become part of the network
    A softmax over the scores at the end is dropped, from the copy too: it keeps their order.
    InputError when the module does not accept such an image, uses an operator without a rule (named), holds
    weights that are not finite (named), or does not end in one vector of scores.
    """
    shape = _checked(shape)
    if isinstance(module, Graph):
        if mean is not None or std is not None or module.input_shape != shape:
            raise InputError(f"a graph takes {times(module.input_shape)} images as they are; trace its module anew")
        return module
    module = _copied(module)
    if mean is not None or std is not None:
        module = Normalised(module, mean, std, shape).to(torch.float64)
    module = _with_one_result(module, shape)
    program = _export(module, shape)
    source, softmax = _without_softmax(program, module)
    nodes = _nodes(program, shape)
    notes = (f"the trailing {softmax} was dropped: scores are logits",) if softmax else ()
    graph = Graph(nodes, source=source, notes=notes, softmax=bool(softmax))
    check_finite(graph)
    check_same(graph, lambda images: torch.cat([source(image[None]) for image in images]))  # a batch of 1 may be wanted
    return graph


class _Only(nn.Module):
    """A module that wraps its only result in a list or a dict, without that."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Float[Tensor, "batch *shape"]) -> Tensor:
        """The result itself."""
        (result,) = (leaf for leaf in tree_leaves(self.module(images)) if leaf is not None)
        assert isinstance(result, Tensor)
        return result


def _checked(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        found = tuple(map(operator.index, shape))
    except TypeError as error:
        raise InputError(f"shape {shape!r} is no image's; pass its whole numbers, as (1, 28, 28)") from error
    if not found or min(found) < 1:
        raise InputError(f"shape {found} is no image's; pass its whole numbers, as (1, 28, 28)")
    return found


def _copied(module: nn.Module) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise InputError(f"the network is {type(module).__name__}; pass a torch.nn.Module")
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of torch about itself
            module = copy.deepcopy(module)
        return module.eval().to(torch.float64).requires_grad_(False)
    except Exception as error:  # a module may hold anything
        raise InputError(
            f"the network cannot be copied ({first_line(error)}); pass it without hooks, on the CPU"
        ) from error


def _with_one_result(module: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    try:
        result = module(torch.zeros(1, *shape, dtype=torch.float64))
    except Exception as error:  # it may raise anything
        raise InputError(
            f"the network does not take a {times(shape)} image in float64 ({first_line(error)}); pass an image of its "
            "shape, and fix no dtype inside"
        ) from error
    leaves = [leaf for leaf in tree_leaves(result) if leaf is not None]
    if len(leaves) != 1 or not isinstance(leaves[0], Tensor):
        kinds = ", ".join(type(leaf).__name__ for leaf in leaves)
        raise InputError(f"the network returns {kinds or 'nothing'}; it must return one vector of scores")
    return module if isinstance(result, Tensor) else _Only(module)


def _export(module: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    try:
        program = torch.export.export(module, (torch.zeros(1, *shape, dtype=torch.float64),))
    except Exception as error:  # torch.export raises many kinds; all mean the same to the user
        raise InputError(
            f"torch.export cannot trace the network ({first_line(error)}); remove data-dependent control flow"
        ) from error
    # an in-place operator may change a tensor that others see through a view: make every change explicit; a part of the
    # program with a graph of its own (under `torch.no_grad`) becomes part of it
    names = [str(fx.target).split(".") for fx in program.graph.nodes]
    parts = any(fx.op == "get_attr" for fx in program.graph.nodes)
    if parts or any(len(name) > 1 and name[1].endswith("_") for name in names):
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            program = program.run_decompositions({})
    return program


def _without_softmax(program: torch.export.ExportedProgram, module: nn.Module) -> tuple[nn.Module, str]:
    """The module, or the program as a module that ends before its softmax, and that softmax's name."""
    results = program.graph.output_node().args[0]
    last = results[0] if isinstance(results, Sequence) and len(results) == 1 else None
    if not isinstance(last, torch.fx.Node) or str(last.target) not in SOFTMAX:
        return module, ""
    axis, axes = last.args[1], last.meta["val"].ndim
    if axes != 2 or axis not in (1, -1):
        raise InputError(f"node {last.name}: a softmax over axis {axis} of {axes} is not supported")
    plain = program.module(check_guards=False)
    (end,) = [n for n in plain.graph.nodes if n.op == "call_function" and n.name == last.name]
    end.replace_all_uses_with(end.args[0])
    plain.graph.erase_node(end)
    plain.recompile()
    return plain, "LogSoftmax" if "log" in str(last.target) else "Softmax"


def _nodes(program: torch.export.ExportedProgram, shape: tuple[int, ...]) -> tuple[Node, ...]:
    builder = Builder([Node(Input(), (), shape, "input")], fixed=True)
    known: dict[str, Any] = _stored(program)
    users = program.graph_signature.user_inputs
    if len(users) != 1:
        raise InputError(f"the network takes {len(users)} inputs; it must take one image")
    known[str(users[0])] = builder.whole(0, (1, *shape))
    for fx in program.graph.nodes:
        if fx.op == "call_function" and fx.users:  # every change in place was made explicit in `_export`
            known[fx.name] = _step(fx, known, builder)
    results = program.graph.output_node().args[0]
    if len(results) != 1:
        raise InputError(f"the network returns {len(results)} tensors; it must return one vector of scores")
    scores = known[results[0].name]
    if not isinstance(scores, Value):
        raise InputError("the network's output does not depend on the image")
    if scores.order.shape[0] != 1:
        raise InputError("the network mixes the batch axis with others; keep images apart (x.flatten(1))")
    if scores.order.ndim != 2:
        raise InputError(
            f"the network's output has shape {scores.order.shape[1:]} per image; it must be one vector of scores"
        )
    end = builder.laid_out(scores, (scores.order.size,), "output")
    nodes = builder.nodes[: end + 1] if end else [*builder.nodes, Node(Reshape(), (0,), (scores.order.size,), "output")]
    return without_unread(nodes)


def _stored(program: torch.export.ExportedProgram) -> dict[str, Any]:
    """Parameters, buffers and constants, by their names in the program."""
    signature = program.graph_signature
    tensors: Mapping[str, Any] = program.state_dict | dict(program.constants)
    tables = (signature.inputs_to_parameters, signature.inputs_to_buffers, signature.inputs_to_lifted_tensor_constants)
    return {name: tensors[target].detach() for table in tables for name, target in table.items()}


def _step(fx: torch.fx.Node, known: Mapping[str, Any], builder: Builder) -> Any:
    """What one call of the program gives: computed now where no image is needed, else added to the graph."""
    name = str(fx.target)
    args, kwargs = _arguments(fx, known)
    call = Traced(fx, args, kwargs, builder)
    try:
        if not call.computed:
            if torch.Tag.nondeterministic_seeded in getattr(fx.target, "tags", ()):
                raise InputError(f"node {fx.name} ({name}) draws random numbers; a network must be a function")
            return fx.target(*args, **kwargs)  # type: ignore[operator]
        if name in SOFTMAX:
            if fx.users and all(user.op == "output" for user in fx.users):
                return args[0]
            raise InputError(f"node {fx.name} ({name}): a softmax is supported at the end only")
        if fx.target is operator.getitem:
            return args[0][args[1]]
        if name == "aten.sym_size.int":
            return int(args[0].order.shape[args[1]])
        if name in PASS_THROUGH:
            return call.passed()
        if name in MOVES:
            return call.moved()
        if name in TRANSLATIONS:
            return TRANSLATIONS[name](call)
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"node {fx.name} ({name}) cannot be used so ({first_line(error)})") from error
    raise InputError(f"operator {name} (node {fx.name}) is not supported; the README lists the layers that are")


def _arguments(fx: torch.fx.Node, known: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    found: Any = torch.fx.node.map_arg((fx.args, fx.kwargs), lambda node: known[node.name])
    return tuple(found[0]), dict(found[1])
