from collections.abc import Callable

import pytest
import torch
from prices import PRICES

from aureole.core import Rings, TopK
from aureole.neighborhood import Problem
from nets_zoo import F64, Sketch, seeded


@pytest.fixture
def linear_problem() -> Callable[..., Problem]:
    """A network that is linear in its first row of pixels, ring d being priced at `PRICES[d]`.

    score_0 - score_1 = 1 - PRICES @ row 0, and score_2 is 0.5 below score_0 whatever the image.
    """

    def make(weights: tuple[float, ...] = (1.0, 1.0, 1.0), bands: tuple[int, ...] | None = None, **more) -> Problem:
        s = Sketch((1, 3, 3), seeded(1)).flat().linear(3)
        op = s.nodes[-1].op
        op.weight.zero_()
        op.bias.copy_(torch.tensor([1.0, 0.0, 0.5]))
        op.weight[1, :3] = PRICES
        mask = torch.zeros(3, 3, dtype=torch.bool)
        mask[0, 0] = True
        rings = Rings.around(mask)
        rings = rings if bands is None else rings.banded(bands)
        spec = more.pop("spec", TopK(0, 1))
        image = torch.zeros(1, 3, 3, dtype=F64)
        return Problem(s.graph(), image, rings, spec, torch.tensor(weights, dtype=F64), **more)

    return make
