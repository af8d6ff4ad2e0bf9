import pytest
import torch

from aureole.core import InputError
from aureole.nets import ARCHITECTURES, build

# parameters of the author's files, and the width of fc1 there
PUBLISHED = [("x1k", 64, 3818), ("x2", 64, 13626), ("x3", 64, 15554), ("x2", 84, 20602)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("arch", "canvas", "parameters"), PUBLISHED)
def test_published_parameter_counts(arch, canvas, parameters):
    assert sum(p.numel() for p in build(arch, canvas, generator()).parameters()) == parameters


@pytest.mark.parametrize("canvas", [64, 84])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_shapes_and_forward(arch, canvas):
    module = build(arch, canvas, generator())
    assert {k: tuple(v.shape) for k, v in module.state_dict().items()} == ARCHITECTURES[arch].shapes(canvas)
    assert module(torch.rand(3, 1, canvas, canvas)).shape == (3, 10)


def test_x1k_is_the_published_formula():
    module = build("x1k", 64, generator()).double()
    w = module.state_dict()
    x = torch.rand(2, 1, 64, 64, dtype=torch.float64)
    conv = torch.nn.functional.conv2d
    h = conv(x, w["conv1.weight"], w["conv1.bias"], stride=2, padding=1).clamp(min=0)
    h = conv(h, w["conv2.weight"], w["conv2.bias"], stride=2, padding=1).clamp(min=0)
    h = torch.nn.functional.max_pool2d(h, 4, 4).reshape(2, 256)
    assert torch.allclose(module(x), h @ w["fc1.weight"].T + w["fc1.bias"])


def test_the_generator_alone_decides_the_weights():
    torch.manual_seed(1)
    first = build("x1k", 64, generator(5)).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, other = build("x1k", 64, generator(5)).state_dict(), build("x1k", 64, generator(6)).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert all(bool(v.isfinite().all()) for v in first.values())


def test_bad_requests_are_one_line():
    with pytest.raises(InputError, match="x1k, x2, x3"):
        build("resnet", 64, generator())
    with pytest.raises(InputError, match="64 or 84"):
        build("x1k", 32, generator())
