import json
import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from aureole.core import InputError
from aureole.nets import ARCHITECTURES, AUTHORS, SHIPPED, build, load, save, training_record


def fresh(arch="x1k", canvas=64):
    return build(arch, canvas, torch.Generator().manual_seed(0))


def weights(change=lambda state: None, arch="x1k", canvas=64):
    state = dict(fresh(arch, canvas).state_dict())
    change(state)
    return state


@pytest.mark.parametrize("canvas", [64, 84])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_save_and_load_recognise_architecture_and_canvas(tmp_path, arch, canvas):
    module = fresh(arch, canvas)
    sha256 = save(tmp_path / "net.safetensors", module, {"seed": 3})
    for asked in (None, arch):
        network = load(str(tmp_path / "net.safetensors"), asked)
        assert (network.arch, network.input_shape, network.classes) == (arch, (1, canvas, canvas), 10)
        assert (network.name, network.sha256) == ("net", sha256)
    x = torch.rand(2, 1, canvas, canvas)
    assert torch.equal(network.module(x), module(x))
    record = json.loads((tmp_path / "net.json").read_text())
    assert record == {"arch": arch, "sha256": sha256, "seed": 3}
    assert training_record(str(tmp_path / "net.safetensors")) == record


def test_a_loaded_network_is_frozen(tmp_path):
    save(tmp_path / "net.safetensors", fresh(), {})
    network = load(str(tmp_path / "net.safetensors"))
    assert not network.module.training
    assert not any(p.requires_grad for p in network.module.parameters())


def test_sha256_tells_weights_apart(tmp_path):
    module = fresh()
    first = save(tmp_path / "a.safetensors", module, {})
    with torch.no_grad():
        module.fc1.bias[9] += 1e-6
    assert save(tmp_path / "b.safetensors", module, {}) != first


def test_other_precisions_and_class_counts_load(tmp_path):
    state = {k: v.double() for k, v in weights().items()}
    state["fc1.weight"], state["fc1.bias"] = torch.rand(7, 256), torch.rand(7)
    save_file(state, tmp_path / "net.safetensors")
    assert load(str(tmp_path / "net.safetensors")).classes == 7


BAD = {
    "conv2.bias is absent but x1k wants 16": lambda s: s.pop("conv2.bias"),
    "conv1.weight is 8x1x5x5 but x1k wants 8x1x3x3": lambda s: s.update({"conv1.weight": torch.zeros(8, 1, 5, 5)}),
    "fc1.weight is 10x100 but x1k wants 10x": lambda s: s.update({"fc1.weight": torch.zeros(10, 100)}),
    "fc1.bias is a single number": lambda s: s.update({"fc1.bias": torch.tensor(1.0)}),
    "extra is present": lambda s: s.update({"extra": torch.zeros(1)}),
    "fc1.bias holds NaN": lambda s: s["fc1.bias"].fill_(torch.nan),
    "conv1.weight holds NaN or infinite": lambda s: s["conv1.weight"].fill_(torch.inf),
    "conv1.weight holds torch.int64": lambda s: s.update({"conv1.weight": torch.zeros(8, 1, 3, 3).long()}),
}


@pytest.mark.parametrize("words", BAD)
def test_weights_that_do_not_fit_name_the_layer(tmp_path, words):
    save_file(weights(BAD[words]), tmp_path / "net.safetensors")
    with pytest.raises(InputError) as caught:
        load(str(tmp_path / "net.safetensors"), "x1k")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_shapes_list_the_architectures(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "net.safetensors")
    with pytest.raises(InputError, match="x1k, x2, x3"):
        load(str(tmp_path / "net.safetensors"))
    with pytest.raises(InputError, match=r"conv1\.weight is absent"):
        load(str(tmp_path / "net.safetensors"), "x2")


def test_unknown_names_are_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("AUREOLE_DATA", raising=False)
    save(tmp_path / "net.safetensors", fresh(), {})
    with pytest.raises(InputError, match="digits-none"):
        load("digits-some")
    with pytest.raises(InputError, match="'x9' is unknown"):
        load(str(tmp_path / "net.safetensors"), "x9")
    with pytest.raises(InputError, match="cannot read"):
        load(str(tmp_path / "gone.safetensors"))
    with pytest.raises(InputError, match="AUREOLE_DATA"):
        load("model-noDef-x1k")
    with pytest.raises(InputError, match="model-noDef-x1k"):
        load("model-noDef-x1k", root=tmp_path)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_are_one_line(tmp_path, data):
    path = tmp_path / "net.safetensors"
    save_file(weights(), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, 400))] = data.draw(st.integers(0, 255))  # the header's part of the file
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        load(str(path))
    except InputError as error:
        assert "\n" not in str(error)


def test_a_refusing_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        save(tmp_path / "net.safetensors", fresh(), {})
    assert list(tmp_path.iterdir()) == []


def test_weights_need_their_ending(tmp_path):
    with pytest.raises(InputError, match=r"\*\.safetensors"):
        save(tmp_path / "net.pt", fresh(), {})


def test_a_damaged_record_is_one_line(tmp_path):
    save(tmp_path / "net.safetensors", fresh(), {})
    for text, words in (("{", "not JSON"), ("[]", "holds list")):
        (tmp_path / "net.json").write_text(text)
        with pytest.raises(InputError, match=words):
            training_record(str(tmp_path / "net.safetensors"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_load_by_name(name):
    network = load(name)
    assert (network.name, network.arch, network.input_shape) == (name, "x1k", (1, 64, 64))
    assert training_record(name)["sha256"] == network.sha256


@pytest.mark.shared
@pytest.mark.parametrize("name", AUTHORS)
def test_author_networks_load_by_name(name, data_root):
    network = load(name, root=data_root)
    assert network.arch == AUTHORS[name]
    side = 84 if name.startswith("tmnist") else 64
    assert network.module(torch.rand(1, *network.input_shape)).shape == (1, 10)
    assert network.input_shape == (1, side, side)
