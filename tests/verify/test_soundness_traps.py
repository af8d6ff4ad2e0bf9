"""Ways in which a prover can believe too much, each found by a reviewer in an earlier version."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aureole.core import Budget, Region, TopK, Verdict, Why
from aureole.core.graph import Graph, Input, Linear, Node, Relu
from aureole.nets import trace
from aureole.verify import Portfolio, prove
from aureole.verify.blocks import Blocks
from aureole.verify.choose import Choose
from aureole.verify.stages import Milp, Ranges, Screen, Stage
from nets_zoo import F64, Sketch, rescaled, seeded
from provers import PORTFOLIOS


def linear(weight: Tensor, bias: Tensor) -> Graph:
    inputs = weight.shape[1]
    return Graph((Node(Input(), (), (inputs,)), Node(Linear(weight, bias), (0,), (weight.shape[0],), "fc")))


def test_a_bound_that_overflowed_is_no_bound() -> None:
    nodes = (
        Node(Input(), (), (2,)),
        Node(
            Linear(torch.tensor([[1e200, 0.0], [0.0, 1.0]], dtype=torch.float64), torch.zeros(2).double()), (0,), (2,)
        ),
        Node(
            Linear(
                torch.tensor([[0.0, 0.0], [1e200, 1.0], [0.0, 0.0]], dtype=torch.float64),
                torch.tensor([0.6, 0.0, -5.0], dtype=torch.float64),
            ),
            (1,),
            (3,),
        ),
    )
    region = Region(torch.zeros(1, 2).double(), torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    assert prove(Graph(nodes), region, TopK(0, 1)).verdict is not Verdict.ROBUST  # the scores at (0, 1) are .6, 1, -5


def test_many_tiny_coefficients_add_up_in_the_milp() -> None:
    pixels, weight, radius = 4000, 9e-7, 1e-3
    graph = linear(
        torch.stack([torch.full((pixels,), weight), torch.zeros(pixels)]).double(),
        torch.tensor([2.0e-6, 0.0], dtype=torch.float64) - torch.tensor([0.5 * weight * pixels, 0]).double(),
    )
    image = torch.full((pixels,), 0.5, dtype=torch.float64)
    answer = prove(graph, Region.ball(image, radius), TopK(0, 1), Portfolio((Screen(), Milp())))
    assert answer.verdict is Verdict.VULNERABLE  # the lower corner loses 3.6e-6 of a margin of 2e-6


def test_an_in_place_operator_on_a_view_is_seen() -> None:
    class ThroughView(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(8, 3)

        def forward(self, images: Tensor) -> Tensor:
            values = self.conv(images)
            F.relu(values.flatten(1), inplace=True)
            return self.fc(values.flatten(1))

    module = ThroughView()
    graph = trace(module, (1, 4, 4))
    images = torch.rand(8, 1, 4, 4, dtype=torch.float64)
    assert torch.allclose(graph(images), module.double()(images))


def test_a_ball_holds_no_image_further_than_its_radius() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1000, dtype=torch.float64, generator=generator)
    for radius in torch.rand(20, dtype=torch.float64, generator=generator).tolist():
        region = Region.ball(image, radius)
        assert bool(((image - region.lower).abs() <= radius).all() and ((region.upper - image).abs() <= radius).all())


def test_what_reads_bounds_comes_after_them() -> None:
    for stage in (Milp(), Ranges(), Choose(), Blocks()):
        with pytest.raises(ValueError, match="Screen"):
            Portfolio((stage,))


def test_a_bound_that_overflowed_is_none_in_a_part_of_the_box_either() -> None:
    """Found in review: `score 0 = 1e320 |x0|` as sums of relus, whose planes have coefficients beyond float64."""
    count, large, near = 60, 1e160, 1e-300
    sign = torch.ones(count, dtype=torch.float64)
    sign[1::2] = -1
    first = torch.stack([large * sign, torch.zeros_like(sign)], 1)
    second = torch.zeros(2, count, dtype=torch.float64)
    second[0] = large / 30
    graph = Graph((
        Node(Input(), (), (2,)), Node(Linear(first, -large * near / 2 * sign), (0,), (count,)),
        Node(Relu(), (1,), (count,)), Node(Linear(second, torch.tensor([0.0, 1e19], dtype=torch.float64)), (2,), (2,)),
    ))  # fmt: skip
    region = Region(*(torch.tensor([ends], dtype=torch.float64) for ends in ([-near, -near], [3 * near, near])))
    failing = torch.tensor([near / 2, 0.0], dtype=torch.float64)
    assert region.contains(failing) and float(TopK(0, 1).margin(graph.replay(failing))) < 0
    assert prove(graph, region, TopK(0, 1), budget=Budget.seconds(3.0)).verdict is not Verdict.ROBUST


def test_a_proof_that_an_image_refutes_is_none() -> None:
    """Whatever went wrong: the worst image known is inside the region, and its margin is below the bound."""

    class Wrong(Stage):
        name, needs_screen = "wrong", False

        def __call__(self, query, known):
            return replace(known, proved=Why.BOUNDS, together=known.least + 0.1)

    graph = linear(torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    region = Region.ball(torch.tensor([0.8, 0.2], dtype=torch.float64), 0.01)
    answer = prove(graph, region, TopK(0, 1), Portfolio((Wrong(),)))
    assert answer.verdict is Verdict.UNKNOWN and "please report" in answer.detail


def test_a_margin_within_rounding_is_said_to_be_so() -> None:
    graph = linear(torch.zeros(2, 2, dtype=torch.float64), torch.tensor([5e-7, 0.0], dtype=torch.float64))
    answer = prove(graph, Region.ball(torch.tensor([0.5, 0.5], dtype=torch.float64), 0.1), TopK(0, 1))
    assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, Why.INCOMPLETE) and "to spare" in answer.detail


@pytest.mark.parametrize("portfolio", PORTFOLIOS)
def test_the_scale_of_neurons_changes_no_verdict(portfolio):
    """Factors of 1e-9 to 1e9, up and down again; what is decided one way is never decided the other."""
    decided = Counter[Verdict]()
    for seed in range(12):

        def net(seed: int = seed) -> Graph:
            return Sketch((1, 1, 4), seeded(seed)).flat().linear(5).relu().linear(4).relu().linear(3).graph()

        generator, graph = seeded(seed), net()
        region = Region.ball(torch.rand(1, 1, 4, generator=generator, dtype=F64), 0.4)
        spec = TopK(int(graph(region.center).argmax()), 1)
        answer = prove(rescaled(net(), generator), region, spec, PORTFOLIOS[portfolio])
        assert {answer.verdict, prove(graph, region, spec).verdict} != {Verdict.ROBUST, Verdict.VULNERABLE}
        decided[answer.verdict] += 1
    assert decided[Verdict.ROBUST] >= 3
