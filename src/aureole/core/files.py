"""Writing, reading and removing files: nothing is ever half-written, and what the disk refuses is told in one line."""

import os
import tempfile
from pathlib import Path

from aureole.core.errors import InputError


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing; InputError names the path when the disk refuses (full, read-only, …)."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except (OSError, ValueError) as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {_reason(error)}; free some space or choose another place") from error


def remove(path: Path) -> None:
    """The file goes, if there is one; InputError names the path when the disk refuses."""
    try:
        path.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot remove {path}: {_reason(error)}; remove it") from error


def read_bytes(path: Path, what: str) -> bytes:
    """A file's content; InputError names the path and what was wanted there."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {_reason(error)}; pass {what}") from error


def _reason(error: OSError | ValueError) -> str:
    """What the disk says; a path with a null byte never gets there, and is a ValueError."""
    return getattr(error, "strerror", None) or str(error)
