"""Networks saved by torch.export.save, against the module they came from."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from aureole.core import InputError
from aureole.nets import load
from nets_zoo import F64, seeded


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(8, 3)

    def forward(self, images):
        x = torch.tanh(self.norm(self.conv(images)))
        return self.fc(x.reshape(x.shape[0], -1) * torch.tensor(2.0))


def save(path: Path, module: nn.Module, *shape: int, open_batch: bool = False) -> str:
    sizes = ({0: torch.export.Dim("batch")},) if open_batch else None
    torch.export.save(torch.export.export(module.eval(), (torch.zeros(shape),), dynamic_shapes=sizes), path)
    return str(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("pt2") / "small.pt2"
    save(path, Small(), 1, 1, 4, 4)
    return path.read_bytes()


@pytest.mark.parametrize("open_batch", [False, True])
@pytest.mark.parametrize("scales", [{}, {"mean": (0.2,), "std": (0.5,)}])
def test_the_network_is_the_module(tmp_path, open_batch, scales):
    module = Small()
    path = save(tmp_path / "small.pt2", module, 2 if open_batch else 1, 1, 4, 4, open_batch=open_batch)
    network = load(path, **scales)
    assert (network.name, network.arch, network.classes, network.input_shape) == ("small", "pt2", 3, (1, 4, 4))
    images = torch.rand(5, 1, 4, 4, generator=seeded(1), dtype=F64)
    inner = (images - 0.2) / 0.5 if scales else images
    with torch.no_grad():
        expected = module.double()(inner)
    assert torch.allclose(network.module(images), expected, rtol=0, atol=1e-9)
    assert torch.allclose(network.module.replay(images[0]), expected[0], rtol=0, atol=1e-9)


def test_a_program_of_core_operators(tmp_path):
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2),
        nn.Conv2d(3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(8, 3), nn.Softmax(1),
    ).eval()  # fmt: skip
    program = torch.export.export(module, (torch.zeros(1, 1, 8, 8),)).run_decompositions()
    torch.export.save(program, tmp_path / "core.pt2")
    network = load(str(tmp_path / "core.pt2"))
    images = torch.rand(3, 1, 8, 8, generator=seeded(2), dtype=F64)
    with torch.no_grad():
        assert torch.allclose(network.module(images).softmax(1), module.double()(images), rtol=0, atol=1e-9)
    assert network.module.softmax


def test_what_is_not_supported_is_told(tmp_path):
    class Two(nn.Module):
        def forward(self, a, b):
            return a + b

    path = tmp_path / "two.pt2"
    torch.export.save(torch.export.export(Two(), (torch.zeros(1, 2), torch.zeros(1, 2))), path)
    for file, told in (
        (str(path), "takes 2 inputs"),
        (save(tmp_path / "four.pt2", Small(), 4, 1, 4, 4), "batch of 1"),
        (save(tmp_path / "erf.pt2", nn.Sequential(nn.Flatten(), nn.GELU()), 1, 1, 2, 2), "aten.gelu.default"),
        (str(tmp_path / "nowhere.pt2"), "cannot read"),
    ):
        with pytest.raises(InputError, match=told) as caught:
            load(file)
        assert "\n" not in str(caught.value) and file in str(caught.value)


class Trap:
    """What an attacker puts into a pickle."""

    def __reduce__(self):
        return (Path.touch, (Path("/tmp/aureole-trap"),))


def changed(data: bytes, change) -> bytes:
    """The archive with each entry's bytes replaced by `change(name, bytes)`."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out.getvalue()


def test_pickled_objects_are_refused_before_they_run(tmp_path, saved):
    def flag(name: str, content: bytes) -> bytes:
        if not name.endswith("weights_config.json"):
            return content
        table = json.loads(content)
        next(iter(table["config"].values()))["use_pickle"] = True
        return json.dumps(table).encode()

    def sample(name: str, content: bytes) -> bytes:
        return pickle.dumps(Trap()) if "sample_inputs" in name else content

    def opaque(name: str, content: bytes) -> bytes:
        return content.replace(b"tensor_0", b"opaque_obj_0") if name.endswith("constants_config.json") else content

    for n, change in enumerate((flag, sample, opaque)):
        path = tmp_path / f"bad{n}.pt2"
        path.write_bytes(changed(saved, change))
        with pytest.raises(InputError, match=r"could run code|not a readable"):
            load(str(path))
    assert not Path("/tmp/aureole-trap").exists()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files(tmp_path, saved, place, byte, cut):
    place %= len(saved)
    path = tmp_path / "bad.pt2"
    path.write_bytes(saved[:place] if cut else saved[:place] + bytes([byte]) + saved[place + 1 :])
    try:
        network = load(str(path))
    except InputError as error:
        assert "\n" not in str(error)
    else:
        images = torch.rand(1, 1, 4, 4, dtype=F64)
        assert torch.allclose(network.module(images)[0], network.module.replay(images[0]), atol=1e-9)
