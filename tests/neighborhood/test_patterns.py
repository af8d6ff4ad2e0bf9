"""Known changes at other radii, on the network that is linear in its radii."""

import pytest
import torch

from aureole.neighborhood.patterns import Patterns
from nets_zoo import F64


def radii(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


def test_a_change_is_scaled_to_the_radii_asked_about(linear_problem):
    problem = linear_problem()
    patterns = Patterns(problem)
    image = torch.zeros(1, 3, 3, dtype=F64)
    image[0, 0, :2] = torch.tensor([0.6, 0.2])
    patterns.add(image, radii(0.6, 0.4, 0.0))  # ring 0 all the way, ring 1 half of it
    images, margins = patterns.at([radii(0.3, 0.8, 0.5), radii(0.6, 0.4, 0.0)])
    assert images.shape == (2, 1, 1, 3, 3)
    torch.testing.assert_close(images[0, 0, 0, 0], torch.tensor([0.3, 0.4, 0.0]))  # ring 2 was at radius 0: unknown
    torch.testing.assert_close(images[1, 0], image.float())
    torch.testing.assert_close(margins[:, 0], torch.tensor([1 - 0.6 - 0.2, 1 - 1.2 - 0.1]))


def test_images_stay_inside_and_the_worst_come_first(linear_problem):
    problem = linear_problem()
    patterns = Patterns(problem, most=4, best=3)
    for share in (0.2, 1.0, 0.5, 0.9, 0.7, 0.1):
        patterns.add(torch.full((1, 3, 3), share, dtype=F64), radii(1.0, 1.0, 1.0))
    levels = [radii(0.5, 0.5, 0.5), radii(0.0, 1.0, 0.0)]
    images, margins = patterns.at(levels)
    assert images.shape[:2] == margins.shape == (2, 3)  # of the last four the best three
    assert bool((margins[:, 1:] >= margins[:, :-1]).all())
    for level, members in zip(levels, images, strict=True):
        assert all(problem.region(level).contains(image.double()) for image in members)
    assert float(images[0].max()) == pytest.approx(0.45)  # the change of 1.0 is forgotten


def test_without_changes_the_image_itself_comes_back(linear_problem):
    images, margins = Patterns(linear_problem()).at([radii(0.1, 0.1, 0.1)] * 2)
    assert images.shape == (2, 1, 1, 3, 3) and not bool(images.any())
    assert bool(margins.isinf().all())
