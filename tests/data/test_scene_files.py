import json
import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aureole.core import InputError, Scene
from aureole.data import load_source_digits, make_scene, read_scene, write_scene


@pytest.fixture
def scene() -> Scene:
    return make_scene(load_source_digits("test"), 2, torch.Generator().manual_seed(0), "two")


def same(a: Scene, b: Scene) -> bool:
    masks = all(torch.equal(x, y) for x, y in zip(a.masks, b.masks, strict=True))
    return torch.equal(a.image, b.image) and masks and a.labels == b.labels and a.name == b.name


def test_round_trip_as_png(tmp_path, scene):
    write_scene(tmp_path / "s", scene)
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["image.png", "mask-0.png", "mask-1.png", "scene.json"]
    assert same(read_scene(tmp_path / "s"), scene)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_round_trip_of_any_pixels(tmp_path, channels):
    image = torch.rand(channels, 5, 7, dtype=torch.float64)
    write_scene(tmp_path, Scene(image, (4,), (image[0] > 0.5,), "any"))
    assert torch.equal(read_scene(tmp_path).image, image)


def test_round_trip_in_colour(tmp_path):
    image = torch.randint(256, (3, 5, 7)).double() / 255
    write_scene(tmp_path, Scene(image, (4,), (torch.ones(5, 7, dtype=torch.bool),), "colour"))
    assert (tmp_path / "image.png").exists()
    assert torch.equal(read_scene(tmp_path).image, image)


def test_writing_again_replaces(tmp_path, scene):
    write_scene(tmp_path, scene)
    other = make_scene(load_source_digits("test"), 3, torch.Generator().manual_seed(1), "three")
    write_scene(tmp_path, other)
    assert same(read_scene(tmp_path), other)


def test_a_failed_write_leaves_no_scene(tmp_path, scene, monkeypatch):
    write_scene(tmp_path, scene)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_scene(tmp_path, scene)
    assert not (tmp_path / "scene.json").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def broken(folder, change) -> str:
    content = json.loads((folder / "scene.json").read_text())
    change(content)
    (folder / "scene.json").write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        read_scene(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("image"), "image"),
        (lambda c: c.update(labels=["3", 4]), "labels"),
        (lambda c: c.update(labels=[-3, 4]), "labels"),
        (lambda c: c.update(labels=[1]), "1 labels but 2 masks"),
        (lambda c: c.update(colour="red"), "colour"),
        (lambda c: c.update(image="gone.png"), "gone.png"),
        (lambda c: c.update(masks=["mask-0.png", "gone.png"]), "gone.png"),
        (lambda c: c.update(image="scene.json"), "ends in .json"),
    ],
)
def test_bad_scene_json_is_one_line(tmp_path, scene, change, words):
    write_scene(tmp_path, scene)
    assert words in broken(tmp_path, change)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40) | st.sampled_from([b"[]", b"null", b"3", b"{", b"[" * 100_000, b"\xff\xfe"]))
def test_arbitrary_bytes_as_scene_json(tmp_path, data):
    (tmp_path / "scene.json").write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_scene(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_absent_folder_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"scene\.json"):
        read_scene(tmp_path / "nowhere")


def test_a_mask_of_another_size_is_told(tmp_path, scene):
    write_scene(tmp_path, scene)
    np.save(tmp_path / "m.npy", np.ones((28, 28)))
    message = broken(tmp_path, lambda c: c.update(masks=["mask-0.png", "m.npy"]))
    assert "mask is 28x28 but the image is 1x64x64" in message
