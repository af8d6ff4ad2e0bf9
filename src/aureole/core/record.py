"""Records: everything a run leaves behind, so that it can be drawn, checked and repeated.

A record is a folder with `record.json` (words and numbers) and `arrays.safetensors` (images, masks, radii).
"""

import hashlib
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from aureole.core.errors import InputError
from aureole.core.files import read_bytes, write_bytes

JSON_NAME = "record.json"
ARRAYS_NAME = "arrays.safetensors"


class Array(StrEnum):
    """The names of a record's arrays. Written by `cli.records` and `neighborhood.recording`, read by `report`."""

    IMAGE = "image"  # (C,H,W)
    MASK = "mask"  # (H,W) uint8, non-zero at the perturbed object
    TARGET_MASK = "target_mask"  # (H,W) uint8, when known
    RING_INDEX = "ring_index"  # (H,W) the ring of each pixel
    RADII = "radii"  # (rings), pixel units
    WEAKEST = "weakest"  # (C,H,W) the image with the smallest margin met, when there is one
    WITNESS = "witness"  # (C,H,W) of a `prove` record, with VULNERABLE
    WITNESSES = "witnesses"  # (n,C,H,W) in the order of result["witness_rings"]


def _versions() -> dict[str, str]:
    packages = ("aureole", "torch", "numpy", "highspy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


class Record(BaseModel):
    """One run.

    kind:    which command made it (`neighborhood`, `prove`)
    network: name, architecture and sha256 of the weights
    image:   name, sha256 of the pixels and shape
    config:  every argument that decides the result, the seed included
    result:  what the command printed with --json
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    network: dict[str, Any]
    image: dict[str, Any]
    config: dict[str, Any]
    result: dict[str, Any]
    versions: dict[str, str] = Field(default_factory=_versions)
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def digest(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of named tensors (names, shapes, values as float64)."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().to(torch.float64).contiguous()
        sha.update(f"{name}{tuple(value.shape)}".encode())
        sha.update(value.numpy().tobytes())
    return sha.hexdigest()


def write_record(folder: Path, record: Record, arrays: Mapping[str, Tensor]) -> None:
    """Write the arrays, then the JSON: a folder with a readable `record.json` is complete."""
    write_bytes(folder / ARRAYS_NAME, save({k: v.detach().cpu().contiguous() for k, v in arrays.items()}))
    write_bytes(folder / JSON_NAME, (record.model_dump_json(indent=2) + "\n").encode())


def read_record(folder: Path) -> tuple[Record, dict[str, Tensor]]:
    """A record and its arrays; InputError when the folder does not hold one."""
    text = read_bytes(folder / JSON_NAME, "a folder written by an aureole command")
    try:
        record = Record.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{folder / JSON_NAME} is not a record ({where}: {first['msg']}); run the command again"
        ) from error
    try:
        return record, load(read_bytes(folder / ARRAYS_NAME, "the arrays beside record.json"))
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a type that torch has no name for
        raise InputError(f"{folder / ARRAYS_NAME} is damaged ({error}); run the command again") from error
