"""The record of a neighborhood: what a run leaves behind, to be drawn, checked and repeated."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from aureole.core import AboveThreshold, InputError, OutOfTopK, TopK
from aureole.core.record import Array, Record, digest
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.result import Neighborhood

Mask = Bool[Tensor, "height width"]


def record(
    problem: Problem,
    found: Neighborhood,
    mask: Mask,
    target_mask: Mask | None = None,
    *,
    name: str = "image",
    network: str | Mapping[str, Any] = "network",
    config: Mapping[str, Any] | None = None,
    result: Mapping[str, Any] | None = None,
) -> tuple[Record, dict[str, Tensor]]:
    """A record and its arrays: `core.record.write_record` writes them into a folder, `report.draw` draws that.

    mask:        the pixels that the rings lie around; target_mask: the target's, where known
    name:        of the image
    network:     its name, or name, architecture and sha256
    config:      what was asked, in the words of the command line; what the problem says of it when None
    result:      what is told of it, when that is more than `found.summary()`

    InputError without a config for specs that are about no labels (`Rows`) or of different kinds.
    """
    image = problem.image
    made = Record(
        kind="neighborhood",
        network={"name": network} if isinstance(network, str) else dict(network),
        image={"name": name, "sha256": digest({"image": image}), "shape": list(image.shape)},
        config=asked(problem) if config is None else dict(config),
        result=found.summary() if result is None else dict(result),
    )
    arrays = {
        Array.IMAGE: image,
        Array.MASK: mask.to(torch.uint8),
        Array.RING_INDEX: problem.rings.index,
        Array.RADII: found.radii,
    }
    if target_mask is not None:
        arrays[Array.TARGET_MASK] = target_mask.to(torch.uint8)
    if found.weakest is not None:
        arrays[Array.WEAKEST] = found.weakest
    if found.witnesses:
        arrays[Array.WITNESSES] = torch.stack([found.witnesses[ring] for ring in sorted(found.witnesses)])
    return made, {str(key): value.clone() for key, value in arrays.items()}  # safetensors takes no shared memory


def asked(problem: Problem) -> dict[str, Any]:
    """What a problem asks, in the words of the command line."""
    words: list[tuple[int, dict[str, Any]]] = []
    for spec in problem.specs:
        match spec:
            case TopK(target, k):
                words.append((target, {"k": k}))
            case OutOfTopK(label, k, _):
                words.append((label, {"k": k, "out_of_top": True}))
            case AboveThreshold(label, threshold):
                words.append((label, {"k": None, "threshold": threshold}))
            case _:
                raise InputError(f"{type(spec).__name__} is about no label; pass config with what was asked")
    labels, (kind, *others) = [label for label, _ in words], [kind for _, kind in words]
    if any(other != kind for other in others):
        raise InputError("the specs differ in more than their labels; pass config with what was asked")
    which = labels[0] if len(labels) == 1 else labels
    limits = {"floor": problem.floors.tolist(), "cap": problem.caps.tolist(), "bands": problem.rings.bands}
    how = {"objective": problem.objective, "weights": problem.weights.tolist(), "delta": problem.delta, **limits}
    return {"target": which, **kind, "object": None, **how}
