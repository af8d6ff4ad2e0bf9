"""Reading images and masks, writing them back without loss."""

import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from aureole.core import InputError
from aureole.core.errors import first_line
from aureole.core.files import read_bytes, write_bytes
from aureole.core.scene import check_image

_IMAGE_MODES = {"L": "8-bit grey", "RGB": "8-bit RGB"}
_MASK_MODES = {"1", "L", "RGB", "I;16", "I"}
_MODE_WORDS = {"I;16": "16-bit grey", "I": "32-bit grey", "P": "palette", "1": "1-bit", "LA": "grey with alpha"}


def read_image(path: Path | str) -> Float[Tensor, "channels height width"]:
    """An image in float64, scale [0,1].

    `.png`: 8-bit grey or RGB, divided by 255. `.npy`: floats in [0,1], HxW or CxHxW.
    InputError for anything else: another format, another depth, a damaged file, values outside [0,1].
    """
    path = Path(path)
    if _ending(path, "image") == ".png":
        picture = _open_png(path)
        if picture.mode not in _IMAGE_MODES:
            raise InputError(f"{path} is a {_mode(picture)} PNG; save it as 8-bit grey or RGB without alpha")
        pixels = np.asarray(picture).astype(np.float64) / 255
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    else:
        pixels = _load_npy(path)
        if not np.issubdtype(pixels.dtype, np.floating):
            raise InputError(f"{path} holds {pixels.dtype}; save floats in [0,1]")
        if pixels.ndim not in (2, 3) or 0 in pixels.shape:
            raise InputError(f"{path} has shape {pixels.shape}; pass height x width or channels x height x width")
        pixels = pixels.astype(np.float64)
        pixels = pixels[None] if pixels.ndim == 2 else pixels
    image = torch.from_numpy(np.ascontiguousarray(pixels))
    try:
        check_image(image)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return image


def read_mask(path: Path | str) -> Bool[Tensor, "height width"]:
    """The pixels of an object: the non-zero ones of a PNG or of an HxW `.npy`; InputError when none is marked."""
    path = Path(path)
    if _ending(path, "mask") == ".png":
        picture = _open_png(path)
        if picture.mode not in _MASK_MODES:
            raise InputError(f"{path} is a {_mode(picture)} PNG; save the mask as grey: non-zero where the object is")
        marks = np.asarray(picture) != 0
        marks = marks.any(axis=2) if marks.ndim == 3 else marks
    else:
        marks = _load_npy(path)
        if marks.dtype.kind not in "biuf":
            raise InputError(f"{path} holds {marks.dtype}; save booleans or numbers, non-zero where the object is")
        if marks.ndim != 2 or 0 in marks.shape:
            raise InputError(f"{path} has shape {marks.shape}; pass a mask of height x width")
        if not np.isfinite(marks).all():
            raise InputError(f"{path} holds NaN or infinite values; save booleans, true where the object is")
    mask = torch.from_numpy(np.ascontiguousarray(marks, dtype=np.bool_))
    if not bool(mask.any()):
        raise InputError(f"{path} marks no pixel; mark at least one pixel of the object (non-zero)")
    return mask


def write_image(folder: Path, stem: str, image: Float[Tensor, "channels height width"]) -> str:
    """Write an image without loss and return its file name: PNG when its values are 8-bit levels, else `.npy`."""
    levels = (image.to(torch.float64) * 255).round()
    if image.shape[0] in (1, 3) and bool((levels / 255 == image).all()):
        array = levels.to(torch.uint8).cpu().numpy()
        write_bytes(folder / f"{stem}.png", _png(array[0] if len(array) == 1 else array.transpose(1, 2, 0)))
        return f"{stem}.png"
    buffer = io.BytesIO()
    np.save(buffer, image.to(torch.float64).cpu().numpy(), allow_pickle=False)
    write_bytes(folder / f"{stem}.npy", buffer.getvalue())
    return f"{stem}.npy"


def write_mask(folder: Path, stem: str, mask: Bool[Tensor, "height width"]) -> str:
    """Write a mask as a PNG, 255 where the object is, and return its file name."""
    write_bytes(folder / f"{stem}.png", _png(mask.cpu().numpy().astype(np.uint8) * 255))
    return f"{stem}.png"


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, format="PNG")
    return buffer.getvalue()


def _ending(path: Path, what: str) -> str:
    ending = path.suffix.lower()
    if ending not in (".png", ".npy"):
        raise InputError(f"{what} {path} ends in {ending or 'nothing'}; pass a .png or .npy file")
    return ending


def _open_png(path: Path) -> Image.Image:
    data = read_bytes(path, "a PNG file")
    try:
        picture = Image.open(io.BytesIO(data), formats=("PNG",))
        picture.load()
    except Exception as error:  # pillow tells of damage by many types: OSError, SyntaxError, ValueError, …
        reason = "not recognised as PNG" if isinstance(error, OSError) and "cannot identify" in str(error) else error
        raise InputError(f"{path} is not a readable PNG ({reason}); save it again as PNG or .npy") from error
    # pillow gives 16-bit RGB as 8-bit RGB without a word; byte 24 of a PNG is its bit depth
    if data[24] == 16 and picture.mode != "I;16":
        raise InputError(f"{path} is a 16-bit {picture.mode} PNG; save it with 8 bits per channel")
    return picture


def _mode(picture: Image.Image) -> str:
    return _MODE_WORDS.get(picture.mode, picture.mode)


def _load_npy(path: Path) -> np.ndarray:
    data = read_bytes(path, "a .npy file")
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a damaged header fails in many ways: ValueError, EOFError, SyntaxError, MemoryError, …
        reason = first_line(error)
        raise InputError(f"{path} is not a readable .npy array ({reason}); save it with numpy.save") from error
    return np.asarray(array)
