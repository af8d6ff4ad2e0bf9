"""Folders that appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from aureole.core import InputError


@contextmanager
def staged(folder: Path, key: str) -> Iterator[Path]:
    """A folder to write into. When the block ends well its files move into `folder`, the file `key` as the last.

    A folder with a readable `key` is complete. When the block or the disk fails, `folder` is as it was before.
    """
    made = [place for place in folder.parents if not place.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
            try:
                yield Path(name)
            except InputError as error:  # the user knows `folder`, not the place beside it
                raise InputError(str(error).replace(name, str(folder))) from error
            _move(Path(name), folder, key)
    except BaseException:
        for place in made:  # the deepest first
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
        raise


def _move(source: Path, folder: Path, key: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / key).unlink(missing_ok=True)  # an older one beside newer files would lie
    for path in sorted(source.iterdir(), key=lambda path: path.name == key):
        path.replace(folder / path.name)
