import pytest
import torch

from aureole.core import AboveThreshold, Budget, Region, Rings, Verdict
from aureole.core.graph import Linear
from aureole.neighborhood import Problem, named_weights
from aureole.neighborhood.ascent import JointAscent, climb
from aureole.neighborhood.certificate import AT_ONCE
from aureole.verify import Hints, prove
from nets_zoo import F64, Sketch, seeded


def test_what_is_offered_on_the_way_is_larger_each_time_and_proved_at_once():
    image = torch.full((1, 4, 4), 0.5, dtype=F64)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, 0] = True
    rings = Rings.around(mask)
    graph = Sketch((1, 4, 4), seeded(7)).conv(2, 2).relu().flat().linear(3).graph()
    spec = AboveThreshold(0, float(graph(image[None])[0, 0]) - 0.2)
    problem = Problem(graph, image, rings, spec, named_weights("uniform", rings))
    offered: list[tuple[torch.Tensor, Hints]] = []
    start = torch.full((len(rings),), 1e-3, dtype=F64)
    final = climb(problem, start, JointAscent(steps=80, offers=3), Budget(), lambda *met: offered.append(met)).radii
    assert len(offered) == 3
    sizes = [float(radii.sum()) for radii in (start, *(radii for radii, _ in offered), final)]
    assert sizes == sorted(sizes)
    assert sizes[1] > sizes[0]
    for radii, hints in offered:
        answer = prove(graph, Region.ringed(image, rings, radii), spec, AT_ONCE, hints=hints)
        assert answer.verdict is Verdict.ROBUST


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
