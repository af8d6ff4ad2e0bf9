import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aureole.core import InputError
from aureole.core.graph import MaxPool, merge_rectified_pools
from aureole.nets import build, trace
from nets_zoo import F64, seeded


class Net(nn.Module):
    """A module whose layers are the attributes c, d (convolutions), f, h (linear); `run` is its forward."""

    def __init__(self, run, **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images):
        return self.run(self, images)


def layers(name):
    made = {
        "c": lambda: nn.Conv2d(1, 2, 3),
        "d": lambda: nn.Conv2d(2, 2, 3, padding=1),
        "f": lambda: nn.Linear(8, 3),
        "h": lambda: nn.Linear(3, 3),
        "g": lambda: nn.Linear(2, 2),
        "p": lambda: nn.MaxPool2d(3, 1, 1),
        "drop": lambda: nn.Dropout(0.5),
        "norm": lambda: nn.BatchNorm2d(2),
        "r": lambda: nn.ReLU(inplace=True),
        "one": lambda: nn.Conv2d(1, 1, 3),
    }
    return {part: made[part]() for part in name}


def residual(n, x):
    a = torch.relu(n.c(x))
    return n.f(F.relu(a + n.d(a)).flatten(1))


def in_place(n, x):
    a = n.c(x)
    n.r(a)  # changes `a`; its value is not used
    b = n.d(a)
    b += a
    return n.f((a + b).flatten(1))


def doubled(n, x):
    a = n.c(x)
    return n.f((a + a).flatten(1))


def inner_value(n, x):
    y = n.f(n.c(x).flatten(1))
    n.h(y)
    return y


def reused(n, x):
    y = n.f(n.c(x).flatten(1))
    return n.h(torch.relu(n.h(y)))


GOOD = {
    "functional relu": ("cf", lambda n, x: n.f(F.relu(n.c(x)).reshape(x.shape[0], -1))),
    "method relu": ("cf", lambda n, x: n.f(n.c(x).relu().view(-1, 8))),
    "relu in place": ("cdfr", in_place),
    "residual": ("cdf", residual),
    "padded pool": ("cfp", lambda n, x: n.f(n.p(n.c(x)).flatten(1))),
    "hidden linear layers": ("cfh", lambda n, x: n.h(torch.relu(n.f(n.c(x).flatten(1))))),
    "one layer used twice": ("cfh", reused),
    "dropout": ("cfdrop", lambda n, x: n.f(n.drop(n.c(x)).flatten(1))),
    "functional dropout": ("cf", lambda n, x: n.f(F.dropout(n.c(x), 0.5, n.training).flatten(1))),
    "a node added to itself": ("cf", doubled),
}


def names(word):
    long = [part for part in ("drop", "norm", "one") if part in word]
    for part in long:
        word = word.replace(part, "")
    return [*long, *word]


def check(module, shape, count=6):
    graph = trace(module, shape)
    images = torch.rand(count, *shape, generator=seeded(1), dtype=F64) * 2 - 0.5
    model = module.to(F64).eval()
    with torch.no_grad():
        assert torch.allclose(graph(images), model(images), rtol=0, atol=1e-12)
        assert torch.allclose(merge_rectified_pools(graph)(images), model(images), rtol=0, atol=1e-12)
        assert torch.allclose(graph.replay(images[0]), model(images[:1])[0], rtol=0, atol=1e-12)
    return graph


def test_a_network_that_insists_on_one_image():
    module = Net(lambda n, x: n.f(n.c(x).reshape(1, 8)), **layers("cf"))
    graph = trace(module, (1, 4, 4))
    image = torch.rand(1, 4, 4, dtype=F64)
    assert torch.allclose(graph(image[None])[0], graph.replay(image), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", GOOD)
def test_the_graph_is_the_module(name):
    word, run = GOOD[name]
    check(Net(run, **layers(names(word))), (1, 4, 4))


def test_every_kind_of_convolution_and_pool():
    module = nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2, bias=False),
        nn.ReLU(),
        nn.MaxPool2d((3, 2), stride=(1, 2), padding=(1, 0)),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.MaxPool2d(2),  # stride from the kernel, a row left over
        nn.Flatten(),
        nn.Linear(24, 3, bias=False),
    )
    graph = check(module, (2, 11, 9))
    pools = [n.op for n in graph.nodes if isinstance(n.op, MaxPool)]
    assert [(p.kernel, p.stride, p.padding) for p in pools] == [((3, 2), (1, 2), (1, 0)), ((2, 2), (2, 2), (0, 0))]


def test_the_authors_architecture():
    graph = check(build("x1k", 64, seeded(0)), (1, 64, 64), count=2)
    assert graph.classes == 10


def test_training_mode_and_later_changes_do_not_matter():
    module = Net(GOOD["dropout"][1], **layers(["c", "f", "drop"])).train()
    graph = trace(module, (1, 4, 4))
    image = torch.rand(1, 4, 4, dtype=F64)
    before = graph.replay(image)
    assert module.training
    with torch.no_grad():
        module.f.weight.zero_()
    assert torch.equal(graph.replay(image), before)
    assert torch.allclose(graph(image[None])[0], before, atol=1e-12)


BAD = {
    "sigmoid": ("cf", lambda n, x: torch.sigmoid(n.f(n.c(x).flatten(1))), "aten.sigmoid.default"),
    "batch norm": ("cfnorm", lambda n, x: n.f(n.norm(n.c(x)).flatten(1)), "aten.batch_norm.default"),
    "transpose": ("cf", lambda n, x: n.f(n.c(x).transpose(2, 3).flatten(1)), "aten.transpose.int"),
    "multiplication": ("cf", lambda n, x: n.f((n.c(x) * 2).flatten(1)), "aten.mul.Tensor"),
    "padding by name": ("cf", lambda n, x: n.f(F.conv2d(x, n.c.weight, padding="valid").flatten(1)), "aten.conv2d"),
    "average pool": ("cf", lambda n, x: n.f(F.avg_pool2d(x, 2).repeat(1, 2, 1, 1).flatten(1)), "aten.avg_pool2d"),
    "computed weight": ("cf", lambda n, x: F.linear(n.c(x).flatten(1), n.f.weight.relu()), "stored weights alone"),
    "computed filter": ("c", lambda n, x: F.conv2d(x, x).flatten(1), "weight is computed by the network"),
    "ceil mode": ("cf", lambda n, x: n.f(F.max_pool2d(n.c(x), 1, ceil_mode=True).flatten(1)), "ceil_mode"),
    "pool dilation": ("cf", lambda n, x: n.f(F.max_pool2d(n.c(x), 1, dilation=2).flatten(1)), "dilation"),
    "a constant added": ("cf", lambda n, x: n.f((n.c(x) + 1.0).flatten(1)), "constant"),
    "alpha": ("cdf", lambda n, x: n.f(torch.add(n.c(x), n.d(n.c(x)), alpha=2).flatten(1)), "alpha"),
    "a broadcast sum": ("cfone", lambda n, x: n.f((n.c(x) + n.one(x)).flatten(1)), r"\(2, 2, 2\) and \(1, 2, 2\)"),
    "linear on an inner axis": ("cfg", lambda n, x: n.f(torch.relu(n.g(n.c(x))).flatten(1)), r"\(2, 2, 2\)"),
    "images mixed": ("cfg", lambda n, x: n.g(n.c(x).view(-1, 2)), "batch axis"),
    "stubborn dropout": ("cf", lambda n, x: n.f(F.dropout(n.c(x), 0.5, training=True).flatten(1)), "dropout"),
    "two outputs": ("cf", lambda n, x: (n.f(n.c(x).flatten(1)), x), "2 tensors"),
    "no vector": ("cf", lambda n, x: n.c(x), r"\(2, 2, 2\)"),
    "an inner value": ("cfh", inner_value, "inner value"),
    "data-dependent": ("cf", lambda n, x: n.f(n.c(x).flatten(1)) if x.sum() > 0 else x, "control flow"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_supported_is_named_in_one_line(name):
    word, run, told = BAD[name]
    with pytest.raises(InputError, match=told) as caught:
        trace(Net(run, **layers(names(word))), (1, 4, 4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_told(bad):
    module = nn.Sequential(nn.Conv2d(1, 1, 2), nn.Flatten(), nn.Linear(9, 2))
    with torch.no_grad():
        module[2].bias[1] = bad
    with pytest.raises(InputError, match=r"linear\w*\.bias") as caught:
        trace(module, (1, 4, 4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 5, 4), (2, 4, 4), (1, 1, 1)])
def test_an_image_of_another_shape_is_told(shape):
    with pytest.raises(InputError, match="x".join(map(str, shape))) as caught:
        trace(Net(GOOD["functional relu"][1], **layers(["c", "f"])), shape)
    assert "\n" not in str(caught.value)


def test_an_image_without_channels_is_told():
    with pytest.raises(InputError, match="channels x height x width"):
        trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(4, 3)), (4, 4))


def test_a_buffer_as_weight():
    module = Net(lambda n, x: F.linear(x.flatten(1), n.kept))
    module.register_buffer("kept", torch.rand(3, 4))
    check(module, (1, 2, 2))


def test_a_bare_function_of_two_layers():
    first, second = nn.Linear(4, 3), nn.Linear(3, 2)
    run = functools.partial(lambda n, x, scale: n.b(F.relu(n.a(torch.flatten(x, scale)))), scale=1)
    check(Net(run, a=first, b=second), (1, 2, 2))
