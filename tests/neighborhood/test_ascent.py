import pytest
import torch

from aureole.core import AboveThreshold, Budget, Region, Rings, Verdict
from aureole.core.graph import Linear
from aureole.neighborhood import Problem, named_weights
from aureole.neighborhood.ascent import JointAscent, climb
from aureole.verify import prove
from nets_zoo import F64, Sketch, seeded


def test_a_spec_with_constants_climbs_as_its_shifted_network():
    """A score above a threshold is the same as that score, lowered by the threshold, above zero."""
    image = torch.full((1, 4, 4), 0.5, dtype=F64)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, 0] = True
    rings = Rings.around(mask)
    start = torch.full((len(rings),), 1e-3, dtype=F64)
    climbed = []
    for shift in (0.0, 1.0):
        graph = Sketch((1, 4, 4), seeded(7)).conv(2, 2).relu().flat().linear(3).graph()
        score = float(graph(image[None])[0, 0])
        last = graph.nodes[-1].op
        assert isinstance(last, Linear)
        last.bias[0] -= shift
        spec = AboveThreshold(0, score - 0.2 - shift)
        problem = Problem(graph, image, rings, spec, named_weights("uniform", rings))
        radii = climb(problem, start, JointAscent(steps=80), Budget()).radii
        assert float(radii.sum()) > 3 * float(start.sum())
        region = Region.ringed(image, rings, 0.99 * radii)
        assert prove(graph, region, spec).verdict is Verdict.ROBUST
        climbed.append(radii)
    assert climbed[0].tolist() == pytest.approx(climbed[1].tolist(), rel=0.05)
