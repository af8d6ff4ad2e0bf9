"""Networks on disk: safetensors weights with a JSON record beside them, found by path or by name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from aureole.core import Graph, InputError, times
from aureole.core.errors import first_line
from aureole.core.files import read_bytes, write_bytes
from aureole.core.places import data_root
from aureole.core.record import digest
from aureole.nets.architectures import ARCHITECTURES, ConvNet, architecture
from aureole.nets.normalise import Scales
from aureole.nets.onnx_import import load_onnx
from aureole.nets.pt2 import read_pt2
from aureole.nets.trace import trace

SHIPPED = ("digits-none", "digits-l0", "digits-linf")
AUTHORS: Mapping[str, str] = {
    "model-noDef-x1k": "x1k",
    "model-L0Def-x1k": "x1k",
    "model-LInfDef-x1k": "x1k",
    "dmnist-noDef-x2": "x2",
    "dmnist-noDef-x3": "x3",
    "tmnist-noDef-x2": "x2",
}
_ENDING = ".safetensors"


@dataclass(frozen=True, eq=False)
class Network:
    """A network ready to be asked.

    module:      in evaluation mode, its weights frozen; images (batch, *input_shape) in [0,1] -> logits; an ONNX model
                 and a .pt2 file come as the graph itself, and so does any network with a normalisation
    input_shape: channels, height, width of one image (an ONNX model may take a plain vector)
    classes:     how many scores it gives
    name:        the shipped or the author's name, else the file name without its ending
    arch:        a key of `ARCHITECTURES`, or `onnx` or `pt2`
    sha256:      of the weights (`core.record.digest`), of the file for ONNX and .pt2, together with the
                 files that hold an ONNX model's numbers
    """

    module: ConvNet | Graph
    input_shape: tuple[int, ...]
    classes: int
    name: str
    arch: str
    sha256: str

    @cached_property
    def graph(self) -> Graph:
        """The network as the provers take it; InputError as `trace`."""
        return trace(self.module, self.input_shape)


def load(
    name: str | Path,
    arch: str | None = None,
    root: Path | None = None,
    *,
    mean: Scales | None = None,
    std: Scales | None = None,
) -> Network:
    """A network by the path of a `.safetensors`, `.onnx` or `.pt2` file, by a shipped or one of the author's names.

    arch: `x1k`, `x2` or `x3`; None recognises it from the shapes of the weights (ONNX and .pt2 files need none).
    root: the data root for the author's names; None reads the environment's AUREOLE_DATA.
    mean, std: the normalisation that the network expects, (x - mean) / std of an image in [0,1], one number or one per
          channel; it becomes part of the network.
    InputError for an unknown name, a damaged file, weights that do not fit the architecture, NaN weights.
    """
    name = str(name)
    if name.endswith(".onnx"):
        onnx = load_onnx(Path(name), mean=mean, std=std)
        graph = onnx.graph
        return Network(graph, graph.input_shape, graph.classes, Path(name).stem, "onnx", onnx.sha256)
    if name.endswith(".pt2"):
        exported = read_pt2(Path(name))
        try:
            graph = trace(exported.module, exported.shape, mean=mean, std=std)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        return Network(graph, exported.shape, graph.classes, Path(name).stem, "pt2", exported.sha256)
    path = locate(name, root)
    state = _read_state(path)
    if arch is None:
        arch = AUTHORS.get(name) or _recognise(state, path)
    network = _assemble(state, arch, Path(name).stem if name.endswith(_ENDING) else name, path)
    if mean is None and std is None:
        return network
    assert isinstance(network.module, ConvNet)
    return replace(network, module=trace(network.module, network.input_shape, mean=mean, std=std))


def locate(name: str, root: Path | None = None) -> Path:
    """The weights file of a name; InputError when the name is unknown."""
    if name.endswith(_ENDING):
        return Path(name)
    if name in SHIPPED:
        return Path(str(files("aureole.nets"))) / "weights" / f"{name}{_ENDING}"
    if name in AUTHORS:
        return data_root(root) / "mulloc" / "networks" / f"{name}{_ENDING}"
    known = ", ".join((*SHIPPED, *AUTHORS))
    raise InputError(f"network {name!r} is unknown; pass a {_ENDING}, .onnx or .pt2 file, or one of {known}")


def training_record(name: str, root: Path | None = None) -> dict[str, Any]:
    """The JSON record beside a network's weights: the command that made it, its accuracy per epoch, and more."""
    path = locate(name, root).with_suffix(".json")
    try:
        record = json.loads(read_bytes(path, "a network saved by aureole train, with its record beside it"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); train the network again") from error
    if not isinstance(record, dict):
        raise InputError(f"{path} holds {type(record).__name__}; pass a record written by aureole train")
    return record


def save(path: Path, module: ConvNet, record: Mapping[str, Any]) -> str:
    """Write the weights and, beside them with the ending `.json`, the record; return the sha256 of the weights.

    Both files are whole or absent. InputError when `path` does not end in `.safetensors` or the disk refuses.
    """
    if path.suffix != _ENDING:
        raise InputError(f"weights file {path} ends in {path.suffix or 'nothing'}; name it *{_ENDING}")
    state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    sha256 = digest(state)
    text = json.dumps({"arch": module.architecture.name, "sha256": sha256, **record}, indent=2, allow_nan=False)
    write_bytes(path, save_tensors(state, metadata={"arch": module.architecture.name}))
    write_bytes(path.with_suffix(".json"), (text + "\n").encode())
    return sha256


def _read_state(path: Path) -> dict[str, Tensor]:
    data = read_bytes(path, f"a {_ENDING} file with the network's weights")
    try:
        return load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is not a readable safetensors file ({first_line(error)}); save the weights again"
        ) from error


def _recognise(state: Mapping[str, Tensor], path: Path) -> str:
    for family in ARCHITECTURES.values():
        if any(_misfit(state, family.shapes(canvas, _classes(state))) is None for canvas in family.convolutions):
            return family.name
    found = ", ".join(f"{k} {tuple(v.shape)}" for k, v in sorted(state.items())[:4])
    raise InputError(
        f"{path} fits no known architecture (it holds {found or 'nothing'}, …); "
        f"name one with --arch: {', '.join(ARCHITECTURES)}"
    )


def _assemble(state: Mapping[str, Tensor], arch: str, name: str, path: Path) -> Network:
    family = architecture(arch)
    classes = _classes(state)
    misfits = {canvas: _misfit(state, family.shapes(canvas, classes)) for canvas in family.convolutions}
    canvas = next((canvas for canvas, misfit in misfits.items() if misfit is None), None)
    if canvas is None:
        # of the canvases, the one that fits the weights longest tells the user most
        _, layer, found, wanted = max(misfit for misfit in misfits.values() if misfit is not None)
        raise InputError(f"{path}: {layer} is {found} but {arch} wants {wanted}; pass weights of architecture {arch}")
    for layer, value in state.items():
        if not value.is_floating_point():
            raise InputError(f"{path}: {layer} holds {value.dtype}; pass floating-point weights")
        if not bool(value.isfinite().all()):
            raise InputError(f"{path}: {layer} holds NaN or infinite values; pass finite weights")
    module = ConvNet(family, canvas, classes)
    module.load_state_dict(dict(state))
    module.eval().requires_grad_(False)
    return Network(module, (1, canvas, canvas), classes, name, arch, digest(module.state_dict()))


def _classes(state: Mapping[str, Tensor]) -> int:
    weight = state.get("fc1.weight", torch.zeros(10, 1))
    return weight.shape[0] if weight.ndim == 2 else 10


def _misfit(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, str, str, str] | None:
    """The first weight that does not fit: how many fitted before it, its name, what it is, what it should be."""
    for i, (layer, shape) in enumerate(shapes.items()):
        wanted = times(shape)
        if layer not in state:
            return i, layer, "absent", wanted
        if tuple(state[layer].shape) != shape:
            return i, layer, times(state[layer].shape), wanted
    extra = sorted(set(state) - set(shapes))
    return (len(shapes), extra[0], "present", "no such layer") if extra else None
