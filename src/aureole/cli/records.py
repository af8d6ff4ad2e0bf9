"""Writing a run's record and its picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole import nets
from aureole.cli.staging import staged
from aureole.core import Answer, InputError, Rings
from aureole.core.record import JSON_NAME, Array, Record, digest, write_record
from aureole.report import draw

Mask = Bool[Tensor, "height width"]


def prove_record(
    network: nets.Network,
    name: str,
    image: Float[Tensor, "channels height width"],
    answer: Answer,
    mask: Mask | None,
    radii: Float[Tensor, "rings"] | None,
    config: Mapping[str, Any],
    result: Mapping[str, Any],
) -> tuple[Record, dict[str, Tensor]]:
    """The record of a `prove` query and its arrays."""
    record = Record(
        kind="prove",
        network=network_words(network),
        image=_image(name, image),
        config=dict(config),
        result=dict(result),
    )
    arrays = {Array.IMAGE: image}
    if mask is not None:
        arrays[Array.MASK] = mask.to(torch.uint8)
        arrays[Array.RING_INDEX] = Rings.around(mask).index
    if radii is not None:
        arrays[Array.RADII] = radii
    if answer.weakest is not None:
        arrays[Array.WEAKEST] = answer.weakest
    if answer.witness is not None:
        arrays[Array.WITNESS] = answer.witness
    return record, _named(arrays)


def save(folder: Path, record: Record, arrays: Mapping[str, Tensor]) -> None:
    """Write the record.

    InputError when the disk refuses: what was in the folder before is then still there, and nothing new.
    """
    with staged(folder, JSON_NAME) as staging:
        write_record(staging, record, arrays)


def draw_pictures(folder: Path) -> list[Path]:
    """Draw the pictures of a record just written; when the disk refuses, InputError says that the record is kept."""
    try:
        return draw(folder)
    except InputError as error:
        raise InputError(f"the record in {folder} is kept, its pictures are not drawn: {error}") from error


def _named(arrays: Mapping[Array, Tensor]) -> dict[str, Tensor]:
    return {str(k): v.clone() for k, v in arrays.items()}  # safetensors refuses tensors that share memory


def network_words(network: nets.Network) -> dict[str, Any]:
    """Of a network, what a record says."""
    return {"name": network.name, "arch": network.arch, "sha256": network.sha256}


def _image(name: str, image: Float[Tensor, "channels height width"]) -> dict[str, Any]:
    return {"name": name, "sha256": digest({"image": image}), "shape": list(image.shape)}
