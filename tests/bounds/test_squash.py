"""The lines of Sigmoid and Tanh, against decimal arithmetic of 50 digits."""

from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aureole.bounds import Interval
from aureole.bounds.ops.squash import SquashRelaxation, squash_interval
from aureole.core.graph import Node, Sigmoid, Tanh
from nets_zoo import F64

NODES = {"sigmoid": Node(Sigmoid(), (0,), (1,)), "tanh": Node(Tanh(), (0,), (1,))}
every_node = pytest.mark.parametrize("name", NODES)


def exact(name: str, x: float) -> Decimal:
    with localcontext() as context:
        context.prec = 50
        small = (-(2 if name == "tanh" else 1) * abs(Decimal(x))).exp()
        value = (1 - small) / (1 + small) if name == "tanh" else 1 / (1 + small)
        return value if x >= 0 else (-value if name == "tanh" else 1 - value)


def limits(lower: float, upper: float, dtype: torch.dtype = F64) -> Interval:
    return Interval(torch.tensor([[lower]], dtype=dtype), torch.tensor([[upper]], dtype=dtype))


def lines(name: str, z: Interval, share: float | None) -> tuple[Decimal, ...]:
    relaxation = SquashRelaxation.of(NODES[name], z)
    touching = {n: v if share is None else torch.full_like(v, share) for n, v in relaxation.parameters(1).items()}
    return tuple(Decimal(float(part)) for part in relaxation.lines(touching))


SIZES = st.one_of(st.floats(-9, 9), st.floats(-60, 60), st.floats(-1e-6, 1e-6), st.sampled_from([0.0, 1e-300, -800.0]))


@every_node
@pytest.mark.parametrize("dtype", [F64, torch.float32])
@settings(max_examples=60, deadline=None)
@given(ends=st.tuples(SIZES, SIZES), inner=st.lists(st.floats(0, 1), max_size=4), share=st.floats(0, 1) | st.none())
def test_the_function_lies_between_the_lines(name, dtype, ends, inner, share):
    z = limits(*sorted(ends), dtype)
    lower, upper = float(z.lower), float(z.upper)
    low, low_offset, high, high_offset = lines(name, z, share)
    span = squash_interval(NODES[name], [z])
    steps = [0.0, 1.0, 0.5, 1e-9, 1 - 1e-9, *inner]
    points = [min(max(lower + part * (upper - lower), lower), upper) for part in steps]
    with localcontext() as context:
        context.prec = 50
        for x in points + [p for p in (0.0, -1.0, 1.0) if lower <= p <= upper]:
            value, at = exact(name, x), Decimal(x)
            assert low * at + low_offset <= value <= high * at + high_offset
            assert Decimal(float(span.lower)) <= value <= Decimal(float(span.upper))
    assert 0 <= low <= 1 and 0 <= high <= 1


@every_node
@pytest.mark.parametrize(
    ("lower", "upper"), [(-3.0, 2.0), (-1.0, 4.0), (0.5, 2.0), (-2.0, -0.1), (-8.0, 0.3), (-0.4, 0.5)]
)
def test_lines_touch_and_the_default_is_no_worse_than_its_neighbours(name, lower, upper):
    z = limits(lower, upper)
    x = torch.linspace(lower, upper, 4001, dtype=F64)
    value = x.tanh() if name == "tanh" else x.sigmoid()

    def errors(share: float | None) -> tuple[float, float]:
        low, low_offset, high, high_offset = (float(part) for part in lines(name, z, share))
        above, below = high * x + high_offset - value, value - low * x - low_offset
        assert 0 <= float(above.min()) < 1e-5 and 0 <= float(below.min()) < 1e-5  # tight: each line touches
        return float(above.mean()), float(below.mean())

    best = errors(None)
    for share in (0.0, 0.2, 0.5, 0.8, 1.0):
        assert all(b <= other + 1e-9 for b, other in zip(best, errors(share), strict=True))


@every_node
def test_a_chord_touches_both_ends(name):
    for lower, upper in ((-2.0, -0.1), (-8.0, 0.3), (-1e-3, 0.0)):
        _, _, high, high_offset = lines(name, limits(lower, upper), None)
        low, low_offset, _, _ = lines(name, limits(-upper, -lower), None)
        for x in (lower, upper):
            assert abs(high * Decimal(x) + high_offset - exact(name, x)) < 1e-13
            assert abs(low * Decimal(-x) + low_offset - exact(name, -x)) < 1e-13


@every_node
def test_gradients_reach_the_limits_and_the_points_of_contact(name):
    lower = torch.tensor([[-2.0, -3.0, 0.5, -1.0]], dtype=F64, requires_grad=True)
    upper = torch.tensor([[1.5, -0.5, 2.0, -1.0]], dtype=F64, requires_grad=True)
    relaxation = SquashRelaxation.of(Node(NODES[name].op, (0,), (4,)), Interval(lower, upper))
    parameters = {n: v.requires_grad_(True) for n, v in relaxation.parameters(2).items()}
    rows = torch.tensor([[[1.0, 2.0, -1.0, 1.0], [-1.0, -1.0, 1.0, -1.0]]], dtype=F64)
    coefficients, constant = relaxation.rows(rows, parameters)
    (coefficients.sum() + constant.sum()).backward()
    for tensor in (lower, upper, *parameters.values()):
        assert bool(tensor.grad.isfinite().all()) and bool(tensor.grad.any())
