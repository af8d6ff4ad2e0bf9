import functools
import threading

import numpy as np
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
        "leaky": lambda: nn.LeakyReLU(0.3),
        "e": lambda: nn.Linear(20, 3),
        "j": lambda: nn.Linear(40, 3),
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


def amp(n, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return n.f(n.c(x).flatten(1))


def without_gradients(n, x):
    with torch.no_grad():
        a = torch.relu(n.c(x))
    return n.f((a + n.d(a)).flatten(1))


def without_gradients_in_place(n, x):
    with torch.no_grad():
        a = n.c(x)
        n.r(a)
        a += 1
    return n.f((a + n.d(a)).flatten(1))


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
    "autocast": ("cf", amp),  # casts single precision; proofs are about the network in double
    "without gradients": ("cdf", without_gradients),
    "without gradients, in place": ("cdfr", without_gradients_in_place),
    "padded pool": ("cfp", lambda n, x: n.f(n.p(n.c(x)).flatten(1))),
    "hidden linear layers": ("cfh", lambda n, x: n.h(torch.relu(n.f(n.c(x).flatten(1))))),
    "one layer used twice": ("cfh", reused),
    "dropout": ("cfdrop", lambda n, x: n.f(n.drop(n.c(x)).flatten(1))),
    "functional dropout": ("cf", lambda n, x: n.f(F.dropout(n.c(x), 0.5, n.training).flatten(1))),
    "a node added to itself": ("cf", doubled),
}


def concatenated(n, x):
    a, b = n.c(x), torch.sigmoid(n.one(x))
    return n.e(torch.relu(torch.cat([a, b, a], 1)).flatten(1))


def padded(n, x):
    a = F.pad(F.leaky_relu(n.c(x), 0.2), (1, 0, 0, 1))
    b = F.pad(F.hardtanh(a), (0, 0, 1, 0), value=-0.5)
    return n.j(F.avg_pool2d(b, 2, 1, padding=1, count_include_pad=False).flatten(1))


def pooled(n, x):
    a = n.c(x)
    return n.g(F.adaptive_avg_pool2d(a, 1).flatten(1) + a.mean((2, 3)) - a.sum(1).flatten(1)[:, :2])


GOOD |= {
    "sigmoid": ("cf", lambda n, x: torch.sigmoid(n.f(n.c(x).flatten(1)))),
    "tanh": ("cfh", lambda n, x: n.h(n.f(n.c(x).tanh().flatten(1)).sigmoid())),
    "batch norm": ("cfnorm", lambda n, x: n.f(n.norm(n.c(x)).relu().flatten(1))),
    "transpose": ("cf", lambda n, x: n.f(torch.relu(n.c(x).transpose(2, 3)).flatten(1))),
    "constants": ("cf", lambda n, x: n.f(((1 - n.c(x) * 2) / 3 + 0.5 - n.c.weight[0, 0, 0, 0]).relu().flatten(1))),
    "padding by name": ("d", lambda n, x: F.conv2d(x.repeat(1, 2, 1, 1), n.d.weight, padding="same").sum((2, 3))),
    "average pool": ("cf", lambda n, x: n.f(F.avg_pool2d(x, 2).repeat(1, 2, 1, 1).flatten(1))),
    "computed weight": ("cf", lambda n, x: F.linear(n.c(x).flatten(1), n.f.weight.relu())),
    "ceil mode without effect": ("cf", lambda n, x: n.f(F.max_pool2d(n.c(x), 1, ceil_mode=True).flatten(1))),
    "alpha": ("cdf", lambda n, x: n.f(torch.add(n.c(x), n.d(n.c(x)), alpha=2).flatten(1))),
    "a broadcast sum": ("cfone", lambda n, x: n.f((n.c(x) + n.one(x)).relu().flatten(1))),
    "linear on an inner axis": ("cfg", lambda n, x: n.f(torch.relu(n.g(n.c(x))).flatten(1))),
    "an inner value": ("cfh", inner_value),
    "leaky relu": ("cfleaky", lambda n, x: n.f(n.leaky(n.c(x)).flatten(1))),
    "concatenated": ("ceone", concatenated),
    "padded": ("cj", padded),
    "pooled": ("cg", pooled),
    "relu6": ("cf", lambda n, x: n.f(F.relu6(n.c(x) * 9).flatten(1))),
    "pieces": ("cf", lambda n, x: n.f(torch.cat(n.c(x).chunk(2, 1)[::-1], 1).flatten(1))),
    "normalised by numbers": ("cf", lambda n, x: n.f(n.c((x - 0.1307) / 0.3081).flatten(1))),
    "numbers": ("cf", lambda n, x: n.f((0.9 - (n.c(x).relu() + 0.1).clamp(-0.1, 0.3) * 1e-3).flatten(1))),
    "padding with a number": ("c", lambda n, x: F.pad(n.c(x), (1, 1), value=0.1).flatten(1)),
    "hardtanh": ("c", lambda n, x: F.hardtanh(n.c(x), -0.3, 0.3).flatten(1)),
    "dropout of channels": ("c", lambda n, x: F.alpha_dropout(F.dropout2d(n.c(x), 0.3, n.training), 0.1).flatten(1)),
    "the image itself last": ("c", lambda n, x: x.flatten(1)),
}


def names(word):
    long = [part for part in ("drop", "norm", "one", "leaky") if part in word]
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
    "an operator": ("cf", lambda n, x: torch.erf(n.f(n.c(x).flatten(1))), "operator aten.erf.default"),
    "a product": ("cf", lambda n, x: n.f((n.c(x) * n.c(x)).flatten(1)), "node mul .Mul.: its input 1 is"),
    "computed filter": ("c", lambda n, x: F.conv2d(x, x).flatten(1), "weight is computed by the network"),
    "ceil mode": ("ch", lambda n, x: n.h(F.max_pool2d(x, 3, 2, ceil_mode=True).flatten(1)[:, :3]), "ceil_mode"),
    "pool dilation": ("cf", lambda n, x: n.f(F.max_pool2d(n.c(x), 1, dilation=2).flatten(1)), "dilation"),
    "images mixed": ("cfg", lambda n, x: n.g(n.c(x).view(-1, 2)), "batch axis"),
    "stubborn dropout": ("cf", lambda n, x: n.f(F.dropout(n.c(x), 0.5, training=True).flatten(1)), "dropout"),
    "noise": ("cf", lambda n, x: n.f((n.c(x) + torch.rand(2, 2, 2)).flatten(1)), "random"),
    "two outputs": ("cf", lambda n, x: (n.f(n.c(x).flatten(1)), x), "returns Tensor, Tensor"),
    "no output": ("cf", lambda n, x: None, "returns nothing"),
    "a number": ("cf", lambda n, x: {"score": 1.0}, "returns float"),
    "an assertion": ("cf", lambda n, x: n.f(n.c(x).flatten(1)) if x.dtype == torch.float32 else 1 // 0, "division"),
    "a dtype": ("cf", lambda n, x: n.f(n.c(x.float()).flatten(1)), "fix no dtype inside"),
    "no image": ("cf", lambda n, x: n.f.bias[None] + 1, "does not depend on the image"),
    "no vector": ("cf", lambda n, x: n.c(x), r"\(2, 2, 2\)"),
    "data-dependent": ("cf", lambda n, x: n.f(n.c(x).flatten(1)) if x.sum() > 0 else x, "control flow"),
    "an inner softmax": ("cfh", lambda n, x: n.h(n.f(n.c(x).flatten(1)).softmax(1)), "at the end only"),
    "a softmax over places": ("c", lambda n, x: n.c(x).softmax(2).flatten(1), "at the end only"),
    "rounding": ("cf", lambda n, x: n.f(n.c(x).flatten(1)).to(torch.int32), "rounding|to.dtype"),
    "uneven windows": ("c", lambda n, x: F.adaptive_avg_pool2d(x, 3).flatten(1), "unequal size"),
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


@pytest.mark.parametrize("shape", [(), (1, 4, 0), (1, -4, 4)])
def test_a_shape_that_is_none_is_told(shape):
    with pytest.raises(InputError, match="no image's"):
        trace(Net(GOOD["functional relu"][1], **layers(["c", "f"])), shape)


def test_a_network_that_cannot_be_copied_is_told():
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    module.lock = threading.Lock()
    with pytest.raises(InputError, match="cannot be copied") as caught:
        trace(module, (1, 2, 2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrapped", [lambda y: (y,), lambda y: [y], lambda y: {"logits": y}, lambda y: ({"a": [y]},)])
def test_one_result_in_a_wrapping(wrapped):
    plain = Net(lambda n, x: n.f(n.c(x).flatten(1)), **layers(["c", "f"]))
    module = Net(lambda n, x: wrapped(n.plain(x)), plain=plain)
    graph, image = trace(module, (1, 4, 4)), torch.rand(1, 4, 4, dtype=F64)
    assert torch.allclose(graph.replay(image), plain.double()(image[None])[0], rtol=0, atol=1e-12)
    assert torch.allclose(graph(image[None]), plain(image[None]), rtol=0, atol=1e-12)


def test_a_graph_stays_one():
    graph = trace(Net(GOOD["functional relu"][1], **layers(["c", "f"])), (1, 4, 4))
    assert trace(graph, (1, 4, 4)) is graph
    for shape, mean in (((1, 4, 5), None), ((1, 4, 4), [0.5])):
        with pytest.raises(InputError, match="trace its module anew"):
            trace(graph, shape, mean=mean)


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


def test_a_softmax_without_gradients():
    module = Net(torch.no_grad()(lambda n, x: n.f(n.c(x).flatten(1)).softmax(1)), **layers(["c", "f"]))
    graph, image = trace(module, (1, 4, 4)), torch.rand(1, 4, 4, dtype=F64)
    assert graph.softmax
    assert torch.allclose(graph.replay(image).softmax(0), module.double()(image[None])[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["softmax", "log_softmax"])
def test_a_softmax_at_the_end_is_dropped_from_graph_and_replay(kind):
    module = Net(lambda n, x: getattr(F, kind)(n.f(n.c(x).flatten(1)), 1), **layers("cf"))
    graph = trace(module, (1, 4, 4))
    image = torch.rand(1, 4, 4, generator=seeded(3), dtype=F64)
    with torch.no_grad():
        logits = module.f(module.c(image[None].float()).flatten(1))[0].double()
    assert torch.allclose(graph.replay(image), logits, atol=1e-5)
    assert torch.allclose(graph(image[None])[0], graph.replay(image), rtol=0, atol=1e-12)
    assert graph.softmax and "was dropped" in graph.notes[0]


@pytest.mark.parametrize("pad", [0, 1])
def test_normalisation_becomes_part_of_the_network(pad):
    class Rgb(nn.Module):
        def __init__(self):
            super().__init__()
            self.c, self.f = nn.Conv2d(3, 4, 3, padding=pad), nn.Linear(4 * (2 + 2 * pad) ** 2, 3)

        def forward(self, x):
            return self.f(torch.relu(self.c(x)).flatten(1))

    module, mean, std = Rgb(), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    graph = trace(module, (3, 4, 4), mean=mean, std=std)
    image = torch.rand(3, 4, 4, generator=seeded(4), dtype=F64)
    m, s = (torch.tensor(v, dtype=F64).reshape(3, 1, 1) for v in (mean, std))
    with torch.no_grad():
        expected = module.double()((image[None] - m) / s)[0]
    assert torch.allclose(graph.replay(image), expected, rtol=0, atol=1e-12)
    assert torch.allclose(graph(image[None])[0], expected, rtol=0, atol=1e-12)
    if not pad:  # no layer of its own
        assert [type(n.op).__name__ for n in graph.nodes] == ["Input", "Conv", "Relu", "Reshape", "Linear"]


@pytest.mark.parametrize("mean", [0.25, [0.25], torch.tensor([0.25]), np.array([0.25], dtype=np.float32)])
def test_one_number_in_every_form(mean):
    module = Net(GOOD["functional relu"][1], **layers(["c", "f"]))
    image = torch.rand(1, 4, 4, dtype=F64)
    expected = trace(module, (1, 4, 4), mean=(0.25,)).replay(image)
    assert torch.equal(trace(module, (1, 4, 4), mean=mean).replay(image), expected)


@pytest.mark.parametrize(
    ("mean", "std", "told"),
    [
        ((0.5, 0.5), None, "mean has 2 numbers"),
        (None, (0.0,), "std holds 0"),
        (None, torch.zeros(1), "std holds 0"),
        ((torch.nan,), None, "mean holds nan"),
    ],
)
def test_normalisation_that_does_not_fit_is_told(mean, std, told):
    with pytest.raises(InputError, match=told):
        trace(Net(GOOD["functional relu"][1], **layers(["c", "f"])), (1, 4, 4), mean=mean, std=std)
