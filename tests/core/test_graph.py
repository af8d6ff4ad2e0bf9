import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aureole.core import Graph, InputError
from aureole.core.graph import Linear, MaxPool, Relu, check_finite, merge_rectified_pools, taking
from nets_zoo import F64, ZOO, Sketch, image_of, seeded


def test_values_are_those_of_a_module():
    g = seeded(3)
    module = nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), groups=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Flatten(),
        nn.Linear(24, 5),
    ).to(F64)
    conv, linear = module[0], module[4]
    s = Sketch((2, 7, 6), g).conv(4, (3, 2), groups=2, stride=(2, 1), padding=(1, 0)).relu().pool(3, 2, 1).flat()
    assert s.shape == (24,)
    graph = s.linear(5).graph()
    with torch.no_grad():
        for layer, node in ((conv, graph.nodes[1]), (linear, graph.nodes[5])):
            layer.weight.copy_(node.op.weight)
            layer.bias.copy_(node.op.bias)
        images = torch.rand(4, 2, 7, 6, generator=g, dtype=F64)
        assert torch.allclose(graph(images), module(images), rtol=0, atol=1e-12)
    assert graph.classes == 5
    assert graph.input_shape == (2, 7, 6)
    assert graph.to(torch.float32)(images.float()).dtype == torch.float32


def test_a_rectified_pool_is_at_least_zero():
    graph = Sketch((1, 2, 2), seeded(0)).pool(2, rectify=True).flat().graph()
    images = torch.tensor([[-3.0, -3, -3, -3], [-1, 2, 0, 1]]).reshape(2, 1, 2, 2)
    assert graph(images).tolist() == [[0], [2]]


@pytest.mark.parametrize("name", ZOO)
def test_merging_pools_keeps_the_function(name):
    g = seeded(5)
    graph = ZOO[name](g)
    merged = merge_rectified_pools(graph)
    images = torch.stack([image_of(graph, g) for _ in range(20)]) * 4 - 2
    assert torch.allclose(graph(images), merged(images), rtol=0, atol=1e-12)
    assert len(merged.nodes) <= len(graph.nodes)
    assert all(j < i for i, n in enumerate(merged.nodes) for j in n.inputs)


def kinds(graph: Graph) -> list[str]:
    return [type(n.op).__name__ for n in graph.nodes]


def test_both_orders_become_one_rectified_pool():
    for s in (Sketch((1, 4, 4), seeded(1)).relu().pool(2), Sketch((1, 4, 4), seeded(1)).pool(2).relu()):
        merged = merge_rectified_pools(s.flat().graph())
        assert kinds(merged) == ["Input", "MaxPool", "Reshape"]
        assert merged.nodes[1].op.rectify


def test_a_relu_with_two_readers_stays():
    s = Sketch((1, 3, 3), seeded(1)).relu()
    skip = s.last
    s.pool(3, 1, 1)
    s.add(skip, s.last).flat()
    merged = merge_rectified_pools(s.graph())
    assert kinds(merged) == ["Input", "Relu", "MaxPool", "Add", "Reshape"]
    images = torch.randn(9, 1, 3, 3, generator=seeded(2), dtype=F64)
    assert torch.equal(merged(images), s.graph()(images))


def test_a_pool_with_two_readers_stays():
    s = Sketch((1, 3, 3), seeded(1)).pool(3, 1, 1)
    pooled = s.last
    s.relu()
    s.add(pooled, s.last).flat()
    merged = merge_rectified_pools(s.graph())
    images = torch.randn(9, 1, 3, 3, generator=seeded(2), dtype=F64)
    assert torch.equal(merged(images), s.graph()(images))
    assert isinstance(merged.nodes[1].op, MaxPool)
    assert not merged.nodes[1].op.rectify
    assert isinstance(merged.nodes[2].op, Relu)


def test_replay_goes_through_the_source():
    graph = Sketch((1, 2, 2), seeded(1)).flat().linear(2).graph()
    other = Graph(graph.nodes, source=lambda images: images.flatten(1)[:, :2] * 7)
    image = torch.rand(1, 2, 2, dtype=torch.float32)
    assert torch.equal(other.replay(image), image.double().flatten()[:2] * 7)
    assert graph.to(torch.float32).replay(image).dtype == F64
    assert torch.allclose(graph.replay(image), graph(image.double()[None])[0])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_weights_that_are_not_finite_are_named(bad, part):
    graph = Sketch((1, 2, 2), seeded(1)).flat().linear(3).relu().linear(2).graph()
    check_finite(graph)
    op = graph.nodes[4].op
    assert isinstance(op, Linear)
    getattr(op, part).view(-1)[0] = bad
    with pytest.raises(InputError, match=rf"linear4\.{part}"):
        check_finite(graph)


def test_a_smooth_pool_replaces_every_pool():
    graph = Sketch((1, 4, 4), seeded(1)).pool(2).pool(2).flat().graph()
    images = torch.rand(2, 1, 4, 4)
    means = graph.values(images, pool=lambda z, op: F.avg_pool2d(z, op.kernel, op.stride))
    assert torch.allclose(means[-1][:, 0], images.mean((1, 2, 3)))


@pytest.mark.parametrize("net", ["dense", "strided", "residual"])
def test_images_of_another_shape(net):
    graph = ZOO[net](seeded(7))
    image = image_of(graph, seeded(8))
    line = taking(graph, (image.numel(),))
    assert line.input_shape == (image.numel(),)
    assert torch.equal(line(image.reshape(1, -1)), graph(image[None]))
    back = taking(line, graph.input_shape)
    assert torch.equal(back(image[None]), graph(image[None]))
    assert len(back.nodes) == len(graph.nodes)  # no reshape there and back
    assert torch.equal(taking(graph, graph.input_shape)(image[None]), graph(image[None]))
    source = Graph(graph.nodes, source=graph)
    assert torch.equal(taking(source, (image.numel(),)).replay(image.flatten()), graph(image[None])[0])
    with pytest.raises(InputError, match="numbers"):
        taking(graph, (7,))
