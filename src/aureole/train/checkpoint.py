"""Checkpoints: all that a training needs to go on as if it had never stopped.

A file begins with the sha256 of the rest: torch reads a state with changed bytes without a word.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aureole.core import InputError
from aureole.core.files import read_bytes, write_bytes

_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state after a whole epoch.

    config:    of the training, as text; only the same training may go on from here
    epochs:    one (loss, accuracy, seconds) per epoch so far
    module:    state of the network
    optimizer: state of the optimiser
    """

    config: str
    epochs: list[tuple[float, float, float]]
    module: dict[str, Any]
    optimizer: dict[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a whole checkpoint or nothing."""
    buffer = io.BytesIO()
    torch.save(vars(checkpoint), buffer)
    write_bytes(path, hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())


def read_checkpoint(path: Path, config: str) -> Checkpoint:
    """A checkpoint of the training with this config; InputError when it is damaged or of another training."""
    whole = read_bytes(path, "a checkpoint, or leave out --resume")
    said, data = whole[:_DIGEST], whole[_DIGEST:]
    if hashlib.sha256(data).digest() != said:
        raise InputError(
            f"{path} is not a readable checkpoint (damaged, or of another version); delete it and train again"
        )
    try:
        checkpoint = Checkpoint(**torch.load(io.BytesIO(data), weights_only=True))
    except Exception as error:  # torch tells of damage by many types: RuntimeError, UnpicklingError, EOFError, …
        raise InputError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); delete it and train again"
        ) from error
    if checkpoint.config != config:
        raise InputError(f"{path} is of another training ({checkpoint.config}); pass its options or delete it")
    return checkpoint
