"""Networks saved by `torch.export.save` (`.pt2`).

Such a file may hold pickled objects, whose loading runs code. Those are refused; still, torch evaluates expressions for
open sizes in the file: load files from people you trust.
"""

import hashlib
import io
import json
import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aureole.core.errors import InputError, first_line
from aureole.core.files import read_bytes


@dataclass(frozen=True, eq=False)
class Exported:
    """A saved program as a module, one image's shape (without the batch axis), and the file's sha256."""

    module: nn.Module
    shape: tuple[int, ...]
    sha256: str


def read_pt2(path: Path) -> Exported:
    """Read a saved ExportedProgram of one input; its batch axis must be open or 1.

    InputError, one line, for a damaged file, pickled objects inside, another number of inputs, open sizes.
    """
    data = read_bytes(path, "a .pt2 file written by torch.export.save")
    _refuse_pickles(path, data)
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning), _quiet():  # of torch about itself
            program = torch.export.load(io.BytesIO(data))
            module = program.module(check_guards=False)
        names = program.graph_signature.user_inputs
        inputs = [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder" and n.name in names]
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise InputError(
            f"{path} is not a readable .pt2 file ({_line(error)}); save it with torch.export.save"
        ) from error
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor):
        raise InputError(f"{path} takes {len(inputs)} inputs; it must take one image")
    first, *shape = inputs[0].shape
    if (isinstance(first, int) and first != 1) or not all(isinstance(n, int) for n in shape):
        found = tuple(inputs[0].shape)
        raise InputError(f"{path} takes input {found}; export it for a batch of 1 and a fixed image size")
    for node in list(module.graph.nodes):  # they insist on the dtype of the export; proofs are in float64
        if str(node.target) == "aten._assert_tensor_metadata.default":
            module.graph.erase_node(node)
    module.recompile()
    return Exported(module, tuple(int(n) for n in shape), hashlib.sha256(data).hexdigest())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's own words about a damaged file, of many lines."""
    logger = logging.getLogger("torch.export")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _refuse_pickles(path: Path, data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                if name.endswith("_config.json"):
                    pickled = _pickled(json.loads(archive.read(name)))
                elif "/sample_inputs/" in name and name.endswith(".pt"):
                    with warnings.catch_warnings(action="ignore"):
                        torch.load(io.BytesIO(archive.read(name)), weights_only=True)
                    pickled = False
                else:
                    pickled = name.endswith(".pt")  # how older versions stored weights
                if pickled:
                    raise InputError(f"{path} holds pickled objects, which could run code; save plain tensors only")
    except InputError:
        raise
    except Exception as error:  # zipfile, json and torch raise many kinds
        raise InputError(
            f"{path} is not a readable .pt2 file ({_line(error)}); save it with torch.export.save"
        ) from error


def _pickled(config: Any) -> bool:
    """Whether a table of stored tensors names pickles or objects that are no tensors."""
    payloads = config.get("config", {}).values()
    plain = ("weight_", "tensor_")
    return any(p.get("use_pickle") or not str(p.get("path_name", "")).startswith(plain) for p in payloads)


def _line(error: Exception) -> str:
    return first_line(error).replace(" Please check the warnings above for possible errors.", "")  # `_quiet`
