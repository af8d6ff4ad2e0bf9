import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from aureole.core import InputError
from aureole.data import read_image, read_mask
from aureole.data.pixels import write_image, write_mask

RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def png(path, array, mode=None):
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path)
    return path


def npy(path, array):
    np.save(path, array)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_16_bit_rgb(path):
    rows = b"".join(b"\0" + bytes(2 * 6) for _ in range(2))
    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.stack([GREY, GREY // 2, GREY + 1], axis=2)


def test_png_scales_by_255(tmp_path):
    image = read_image(png(tmp_path / "a.png", GREY))
    assert image.dtype == torch.float64 and image.shape == (1, 3, 4)
    assert torch.equal(image[0], torch.from_numpy(GREY).double() / 255)
    assert torch.equal(read_image(png(tmp_path / "b.PNG", COLOUR))[2], torch.from_numpy(COLOUR[..., 2]).double() / 255)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_npy_in_both_shapes(tmp_path, dtype):
    values = (GREY / 255).astype(dtype)
    for array in (values, values[None]):
        image = read_image(npy(tmp_path / "a.npy", array))
        assert image.dtype == torch.float64
        assert torch.equal(image[0], torch.from_numpy(values.astype(np.float64)))


def test_npy_in_column_order(tmp_path):
    values = np.asfortranarray(GREY / 255)
    assert torch.equal(read_image(npy(tmp_path / "a.npy", values))[0], torch.from_numpy(GREY / 255))


BAD_IMAGES = {
    "16-bit": lambda p: png(p / "a.png", GREY.astype(np.uint16) * 256),
    "16-bit RGB": lambda p: png_16_bit_rgb(p / "a.png"),
    "palette": lambda p: png(p / "a.png", GREY, "P"),
    "RGBA": lambda p: png(p / "a.png", COLOUR, "RGBA"),
    "grey with alpha": lambda p: png(p / "a.png", GREY, "LA"),
    "uint8": lambda p: npy(p / "a.npy", GREY),
    "complex128": lambda p: npy(p / "a.npy", GREY * 1j),
    "(3,)": lambda p: npy(p / "a.npy", np.zeros(3)),
    "(1, 1, 3, 4)": lambda p: npy(p / "a.npy", np.zeros((1, 1, 3, 4))),
    "(0, 4)": lambda p: npy(p / "a.npy", np.zeros((0, 4))),
    "NaN": lambda p: npy(p / "a.npy", np.full((3, 4), np.nan)),
    "[0, 2]": lambda p: npy(p / "a.npy", np.array([[0.0, 2.0]])),
    "ends in .jpg": lambda p: p / "a.jpg",
    "ends in nothing": lambda p: p / "a",
    "No such file": lambda p: p / "a.png",
    "Is a directory": lambda p: (p / "d.npy").mkdir() or p / "d.npy",
}


@pytest.mark.parametrize("words", BAD_IMAGES)
def test_bad_images_are_one_line(tmp_path, words):
    path = BAD_IMAGES[words](tmp_path)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert words in str(caught.value) and path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_object_arrays_are_never_unpickled(tmp_path):
    with pytest.raises(InputError, match="not a readable"):
        read_image(npy(tmp_path / "a.npy", np.array([[{}]], dtype=object)))


@RELAXED
@given(st.data())
def test_damaged_files_are_one_line(tmp_path, data):
    source = data.draw(st.sampled_from([png(tmp_path / "a.png", COLOUR), npy(tmp_path / "a.npy", GREY / 255)]))
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    source.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for read in (read_image, read_mask):
        try:
            read(source)
        except InputError as error:
            assert "\n" not in str(error)


MARKS = GREY > 100


@pytest.mark.parametrize(
    "make",
    [
        lambda p: png(p / "m.png", MARKS.astype(np.uint8)),
        lambda p: png(p / "m.png", MARKS.astype(np.uint8) * 255, "1"),
        lambda p: png(p / "m.png", MARKS.astype(np.uint16) * 300),
        lambda p: png(p / "m.png", np.stack([MARKS * 0, MARKS * 0, MARKS * 9], axis=2).astype(np.uint8)),
        lambda p: npy(p / "m.npy", MARKS),
        lambda p: npy(p / "m.npy", MARKS.astype(np.int64) * -2),
        lambda p: npy(p / "m.npy", MARKS * 0.25),
    ],
)
def test_masks_are_the_non_zero_pixels(tmp_path, make):
    assert np.array_equal(read_mask(make(tmp_path)).numpy(), MARKS)


BAD_MASKS = {
    "marks no pixel": lambda p: png(p / "m.png", GREY * 0),
    "marks no pixel; mark": lambda p: npy(p / "m.npy", GREY * 0),
    "RGBA": lambda p: png(p / "m.png", COLOUR, "RGBA"),
    "palette": lambda p: png(p / "m.png", GREY, "P"),
    "(1, 3, 4)": lambda p: npy(p / "m.npy", MARKS[None]),
    "<U1": lambda p: npy(p / "m.npy", np.array([["a"]])),
    "NaN": lambda p: npy(p / "m.npy", np.full((3, 4), np.nan)),
}


@pytest.mark.parametrize("words", BAD_MASKS)
def test_bad_masks_are_one_line(tmp_path, words):
    with pytest.raises(InputError) as caught:
        read_mask(BAD_MASKS[words](tmp_path))
    assert words in str(caught.value) and "\n" not in str(caught.value)


@RELAXED
@given(st.integers(0, 2**32), st.sampled_from([1, 3]), st.booleans())
def test_writing_loses_nothing(tmp_path, seed, channels, levels):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(channels, 3, 4, generator=generator, dtype=torch.float64)
    image = (image * 255).round() / 255 if levels else image
    name = write_image(tmp_path, "i", image)
    assert name == ("i.png" if levels else "i.npy")
    assert torch.equal(read_image(tmp_path / name), image)
    mask = torch.rand(3, 4, generator=generator) < 0.9
    mask[0, 0] = True
    assert torch.equal(read_mask(tmp_path / write_mask(tmp_path, "m", mask)), mask)
