"""What images nearest to failing say, on the network that is linear in its radii (2, 0.5 and 0.25 per ring)."""

import pytest
import torch
from prices import PRICES

from aureole.core import AboveThreshold
from aureole.neighborhood.facing import facing, pushed
from aureole.neighborhood.witnesses import settled, stopping, with_ring
from nets_zoo import F64

RADII = torch.tensor([0.3, 0.2, 0.1], dtype=F64)  # margin 1 - 0.6 - 0.1 - 0.025 = 0.275


def corner(problem, radii):
    """The image of N(radii) that is nearest to failing."""
    return problem.image + problem.rings.spread(radii)


def test_margins_and_prices_are_those_of_the_network(linear_problem):
    problem = linear_problem()
    images = [problem.image, corner(problem, RADII), corner(problem, 0.9 * RADII)]
    found = facing(problem, RADII, images, 2)
    assert found.known[0] is images[1]
    assert found.known[1] is images[2]
    assert found.margins.tolist() == pytest.approx([0.275, 0.3475])
    assert found.prices.tolist() == [PRICES.tolist()] * 2


def test_an_image_outside_is_clipped(linear_problem):
    problem = linear_problem()
    outside = corner(problem, torch.ones(3, dtype=F64))
    found = facing(problem, RADII, [outside], 2)
    assert problem.region(RADII).contains(found.images[0])
    assert float(found.margins[0]) == pytest.approx(0.275)
    assert found.known[0] is outside


def test_a_pixel_at_the_end_of_its_range_costs_nothing(linear_problem):
    """The margin falls where pixels get darker, and all of them are black already."""
    problem = linear_problem(spec=AboveThreshold(1, -1.0))  # score_1 rises with row 0
    assert facing(problem, RADII, [problem.image], 1).prices.tolist() == [[0.0] * 3]


def test_what_a_ring_can_afford_is_the_least_over_the_images(linear_problem):
    problem = linear_problem()
    found = facing(problem, RADII, [problem.image, corner(problem, RADII)], 2)
    assert found.affordable(0.5).tolist() == pytest.approx((0.5 * 0.275 / PRICES).tolist())


def test_only_the_pixels_of_its_ring_are_pushed(linear_problem):
    problem = linear_problem()
    asked = [RADII + step for step in torch.eye(3, dtype=F64) * 0.1]
    start = corner(problem, RADII)
    images = pushed(problem, asked, range(3), start)
    for ring, (image, radii) in enumerate(zip(images, asked, strict=True)):
        assert problem.region(radii).contains(image)
        moved = (image != start).any(0)
        assert bool(moved.any())
        assert bool((problem.rings.index[moved] == ring).all())
        assert float(problem.margin(problem.graph(image[None]))[0]) == pytest.approx(0.275 - 0.1 * float(PRICES[ring]))


def test_programs_end_at_the_least_margin(linear_problem):
    problem = linear_problem()
    margin, image = settled(problem, RADII, problem.image + 0.9 * problem.rings.spread(RADII))
    assert margin == pytest.approx(0.275, abs=1e-6)
    assert problem.region(RADII).contains(image)


def test_rings_whose_delta_is_worth_the_margin_are_stopped(linear_problem):
    """With 0.004 of margin left a step of 0.01 breaks rings 0 and 1 and not ring 2."""
    problem = linear_problem(delta=0.01)
    radii = torch.tensor([(1 - 0.125 - 0.004) / 2, 0.2, 0.1], dtype=F64)
    found = facing(problem, radii, [corner(problem, radii)], 1)
    grown = {ring: with_ring(radii, ring, float(radii[ring]) + 0.01) for ring in range(3)}
    witnesses = stopping(problem, grown, found)
    assert len(witnesses) == 2
    for ring, image in enumerate(witnesses):
        assert problem.region(grown[ring]).contains(image)
        assert float(problem.margin(problem.graph.replay(image))) <= 0
    assert stopping(problem, {}, found) == []


def test_programs_stop_a_ring_where_its_slope_alone_does_not(linear_problem):
    """The image is not at its worst in ring 1, so moving ring 0 is not enough; programs move both."""
    problem = linear_problem(delta=0.01)
    radii = torch.tensor([(1 - 0.125 - 0.018) / 2, 0.2, 0.1], dtype=F64)
    start = corner(problem, radii)
    start[0, 0, 1] -= 0.008  # 0.004 of the margin
    found = facing(problem, radii, [start], 1)
    assert float(found.margins[0]) == pytest.approx(0.022)
    grown = with_ring(radii, 0, float(radii[0]) + 0.01)
    (image,) = stopping(problem, {0: grown}, found)
    assert problem.region(grown).contains(image)
    assert float(problem.margin(problem.graph.replay(image))) <= 0
