import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from aureole.core import InputError
from aureole.data import load_mnist
from aureole.data.mnist import parse_idx

HERE = Path("train-images")


def idx(array: np.ndarray) -> bytes:
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes((0, 0, 8, array.ndim)) + lengths + array.astype(np.uint8).tobytes()


def write_mnist(root: Path, count: int = 20, packed: bool = True) -> np.ndarray:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(0).integers(1, 256, (count, 28, 28))
    files = {"images-idx3-ubyte": idx(images), "labels-idx1-ubyte": idx(np.arange(count) % 10)}
    for name, data in files.items():
        for part in ("train", "t10k"):
            path = raw / f"{part}-{name}"
            if packed:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(data))
            else:
                path.write_bytes(data)
    return images


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, max_side=5)))
def test_idx_round_trip(array):
    assert np.array_equal(parse_idx(idx(array), array.ndim, HERE), array)


@given(arrays(np.uint8, (2, 3, 3)), st.data())
def test_a_cut_or_longer_idx_file_is_refused(array, data):
    whole = idx(array)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for bad in (whole[:cut], whole + b"x"):
        with pytest.raises(InputError, match="train-images"):
            parse_idx(bad, 3, HERE)


@given(st.binary(max_size=64))
def test_arbitrary_bytes_never_crash(data):
    try:
        parse_idx(data, 1, HERE)
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("packed", [True, False])
def test_reads_both_forms(tmp_path, packed):
    images = write_mnist(tmp_path, packed=packed)
    digits = load_mnist("train", tmp_path)
    assert np.array_equal(digits.images.numpy(), images)
    assert digits.labels.tolist() == [i % 10 for i in range(20)]


def test_absent_files_and_folders_are_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("AUREOLE_DATA", raising=False)
    with pytest.raises(InputError, match="AUREOLE_DATA"):
        load_mnist("test")
    with pytest.raises(InputError, match="not a folder"):
        load_mnist("test", tmp_path / "nowhere")
    with pytest.raises(InputError, match="MNIST/raw"):
        load_mnist("test", tmp_path)


def test_the_environment_names_the_root(tmp_path, monkeypatch):
    write_mnist(tmp_path)
    monkeypatch.setenv("AUREOLE_DATA", str(tmp_path))
    assert len(load_mnist("test")) == 20


def test_damaged_gzip_is_one_line(tmp_path):
    write_mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged gzip"):
        load_mnist("train", tmp_path)


def test_images_and_labels_must_match(tmp_path):
    write_mnist(tmp_path, packed=False)
    (tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(10)))
    with pytest.raises(InputError, match="10 labels"):
        load_mnist("train", tmp_path)


@pytest.mark.shared
def test_the_published_files(data_root):
    digits = load_mnist("test", data_root)
    assert len(digits) == 10_000
    assert digits.labels[:5].tolist() == [7, 2, 1, 0, 4]
