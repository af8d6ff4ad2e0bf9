"""Folders that appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from aureole.core import InputError


@contextmanager
def staged(folder: Path, key: str) -> Iterator[Path]:
    """A folder to write into. When the block ends well its files move into `folder`, the file `key` as the last.

    A folder with a readable `key` is complete. When the block fails, or the disk before all is written, `folder` is as
    it was before, and the InputError names `folder`.
    """
    # inside `folder` from the start: it may be a mount point, and what lies beside it out of reach
    with _folder(folder), TemporaryDirectory(dir=folder, prefix=".aureole.") as name:
        try:
            yield Path(name)
        except InputError as error:  # the user knows `folder`, not the place in it
            raise InputError(str(error).replace(name, str(folder))) from error
        _move(Path(name), folder, key)


def probe(folder: Path) -> None:
    """InputError unless files can be written into `folder`, which is left as it was found, absent or not."""
    try:
        with _folder(folder), TemporaryDirectory(dir=folder, prefix=".aureole."):
            raise _Undo
    except _Undo:
        pass


class _Undo(Exception):  # noqa: N818
    pass


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """`folder`, made where it is absent. When the block fails, every folder made and still empty goes again."""
    if "\0" in str(folder):
        raise InputError(f"cannot write into {folder}: no path holds a null byte; choose another place")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for place in made:  # the deepest first
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise InputError(f"cannot write into {folder}: {reason}; choose another place") from error
        raise


def _move(source: Path, folder: Path, key: str) -> None:
    for path in source.iterdir():
        if (folder / path.name).is_dir():
            raise InputError(f"cannot write {folder / path.name}: it is a folder; choose another place")
    (folder / key).unlink(missing_ok=True)  # an older one beside newer files would lie
    for path in sorted(source.iterdir(), key=lambda path: path.name == key):
        path.replace(folder / path.name)
