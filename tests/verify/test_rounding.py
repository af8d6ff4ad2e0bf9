from fractions import Fraction

import numpy as np
import pytest
import torch

from aureole.bounds import intermediate_bounds, lower_bounds, relax
from aureole.core import Graph, Region, TopK
from aureole.core.graph import Add, Conv, Linear, MaxPool, Relu, Reshape, merge_rectified_pools
from aureole.verify.rounding import LEAST_SLACK, slack
from nets_zoo import F64, ZOO, Sketch, box_of, points_in, seeded

EXACT = np.vectorize(Fraction, otypes=[object])


def exact(graph: Graph, image: torch.Tensor) -> np.ndarray:
    """The scores in rational arithmetic: no rounding at all."""
    values: list[np.ndarray] = [EXACT(image.numpy())]
    for node in graph.nodes[1:]:
        args = [values[j] for j in node.inputs]
        match node.op:
            case Linear() as op:
                value = EXACT(op.weight.numpy()) @ args[0] + EXACT(op.bias.numpy())
            case Conv() as op:
                value = _conv(op, args[0], node.shape)
            case Relu():
                value = np.maximum(args[0], Fraction(0))
            case MaxPool() as op:
                value = _pool(op, args[0], node.shape)
            case Reshape():
                value = args[0].reshape(node.shape)
            case Add():
                value = args[0] + args[1]
        values.append(value)
    return values[-1]


def _conv(op: Conv, z: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    weight, (ph, pw) = EXACT(op.weight.numpy()), op.padding
    z = np.pad(z, ((0, 0), (ph, ph), (pw, pw)), constant_values=Fraction(0))
    out = np.empty(shape, dtype=object)
    inner, per = weight.shape[1], shape[0] // op.groups
    for c, i, j in np.ndindex(*shape):
        first = (c // per) * inner
        r = i * op.stride[0] + np.arange(weight.shape[2]) * op.dilation[0]
        s = j * op.stride[1] + np.arange(weight.shape[3]) * op.dilation[1]
        window = z[first : first + inner][:, r][:, :, s]
        out[c, i, j] = (window * weight[c]).sum() + Fraction(float(op.bias[c]))
    return out


def _pool(op: MaxPool, z: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(shape, dtype=object)
    for c, i, j in np.ndindex(*shape):
        top, left = i * op.stride[0] - op.padding[0], j * op.stride[1] - op.padding[1]
        window = z[c, max(top, 0) : top + op.kernel[0], max(left, 0) : left + op.kernel[1]]
        value = max(window.flatten())
        out[c, i, j] = max(value, Fraction(0)) if op.rectify else value
    return out


NETS = ("strided", "overlapping_pools", "rectified_pools", "residual", "dense", "doubled")


def scaled(graph: Graph, factor: float) -> Graph:
    for node in graph.nodes:
        if isinstance(node.op, Conv | Linear):
            node.op.weight.mul_(factor)
            node.op.bias.mul_(factor)
    return graph


def pure(graph: Graph, region: Region, rows: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> float:
    """The slack without its floor of 1e-6."""
    with monkeypatch.context() as patch:
        patch.setattr("aureole.verify.rounding.LEAST_SLACK", 0.0)
        return slack(graph, region, rows)


@pytest.mark.parametrize("factor", [1.0, 100.0])
@pytest.mark.parametrize("net", NETS)
def test_evaluation_and_bounds_in_float64_stay_within_the_slack(net, factor, monkeypatch):
    g = seeded(41)
    graph = scaled(merge_rectified_pools(ZOO[net](g)), factor)
    rows = TopK(0, 1).rows(graph.classes)
    for radius in (1e-9, 0.05):
        region = box_of(graph, g, radius)
        allowed = pure(graph, region, rows, monkeypatch)
        assert 0 < allowed < 1e-6 * max(1.0, float(graph(region.center).abs().max()))
        lower = lower_bounds(graph, region, rows[None], relax(graph, intermediate_bounds(graph, region)))[0]
        for image in points_in(region, 3, g):
            true = EXACT(rows.numpy()) @ exact(graph, image)
            seen = rows @ graph(image[None])[0]
            assert max(abs(float(t - Fraction(float(s)))) for t, s in zip(true, seen, strict=True)) <= allowed
            assert min(float(t - Fraction(float(b))) for t, b in zip(true, lower, strict=True)) >= -allowed


def test_exact_arithmetic_is_the_graph():
    for net in ZOO.keys() - {"squashed", "steep"}:  # no rational numbers
        graph = ZOO[net](seeded(42))
        image = points_in(box_of(graph, seeded(43), 0.1), 1, seeded(44))[0]
        assert np.allclose(exact(graph, image).astype(float), graph(image[None])[0].numpy(), rtol=0, atol=1e-12)


def test_the_slack_grows_with_weights_pixels_and_depth(monkeypatch):
    rows = TopK(0, 1).rows(4)

    def of(depth: int, factor: float, side: float) -> float:
        s = Sketch((1, 2, 2), seeded(45)).flat()
        for _ in range(depth):
            s.linear(6).relu()
        graph = scaled(s.linear(4).graph(), factor)
        return pure(graph, Region.ball(torch.zeros(1, 2, 2, dtype=F64), side, (-99.0, 99.0)), rows, monkeypatch)

    assert of(1, 1.0, 1.0) < of(1, 10.0, 1.0) < of(1, 100.0, 1.0)
    assert of(1, 1.0, 1.0) < of(1, 1.0, 9.0)
    assert of(1, 1.0, 1.0) < of(2, 1.0, 1.0) < of(4, 1.0, 1.0)


def test_the_least_slack_covers_the_solver():
    graph = Sketch((1, 2, 2), seeded(46)).flat().linear(3).graph()
    region = Region.ball(torch.full((1, 2, 2), 0.5, dtype=F64), 0.1)
    assert slack(graph, region, TopK(0, 1).rows(3)) == LEAST_SLACK == 1e-6
    assert slack(scaled(graph, 1e9), region, TopK(0, 1).rows(3)) > 1e-6
