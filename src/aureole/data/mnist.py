"""MNIST from its IDX files, in torchvision's folder layout."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch

from aureole.core import InputError
from aureole.core.files import read_bytes
from aureole.core.places import data_root
from aureole.data.digit_set import SIDE, DigitSet
from aureole.data.digits import Split

_FOLDER = Path("MNIST") / "raw"
_PREFIX = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTE = 8  # the IDX type code


def load_mnist(split: Split, root: Path | None = None) -> DigitSet:
    """MNIST's 60,000 training or 10,000 test digits from `ROOT/MNIST/raw` (`.gz` or unpacked).

    root: the data root; None reads the environment's AUREOLE_DATA. InputError when a file is absent or damaged.
    """
    folder = data_root(root) / _FOLDER
    images = _read(folder / f"{_PREFIX[split]}-images-idx3-ubyte", axes=3)
    labels = _read(folder / f"{_PREFIX[split]}-labels-idx1-ubyte", axes=1)
    if images.shape[1:] != (SIDE, SIDE) or len(images) != len(labels):
        raise InputError(
            f"{folder} holds images {images.shape} and {len(labels)} labels; "
            "pass MNIST's files: 28x28 images, one label each"
        )
    return DigitSet(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


def _read(path: Path, axes: int) -> np.ndarray:
    packed = path.with_name(path.name + ".gz")
    if path.is_file():
        return parse_idx(read_bytes(path, "an MNIST file"), axes, path)
    data = read_bytes(packed, "a data root that holds MNIST/raw with the four IDX files")
    try:
        return parse_idx(gzip.decompress(data), axes, packed)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{packed} is a damaged gzip file ({error}); fetch it again") from error


def parse_idx(data: bytes, axes: int, path: Path) -> np.ndarray:
    """The unsigned bytes of an IDX file with so many axes; InputError names `path` when the bytes are not that.

    Format: two zero bytes, type code, number of axes, each axis as a big-endian 32-bit length, then the values.
    """
    header = 4 + 4 * axes
    if len(data) < header or data[:4] != bytes((0, 0, _UNSIGNED_BYTE, axes)):
        raise InputError(
            f"{path} starts with {data[:4].hex() or 'nothing'}; pass an IDX file of unsigned bytes with {axes} axes"
        )
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes))
    wanted = 1
    for length in shape:
        wanted *= length
    if len(data) - header != wanted:
        raise InputError(
            f"{path} holds {len(data) - header} values but its header says {'x'.join(map(str, shape))}; fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()
