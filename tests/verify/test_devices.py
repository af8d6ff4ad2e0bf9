"""The device argument: refused where it is not there, and the same verdicts where it is."""

import pytest
import torch
from brute_cases import cases

from aureole.attacks import SmoothPgd
from aureole.core import Budget, InputError, Region, Rings, TopK, Verdict
from aureole.core.graph import merge_rectified_pools
from aureole.neighborhood import Problem, maximize
from aureole.verify import classify_labels, prove, prove_all
from nets_zoo import ZOO, box_of, image_of, seeded

ABSENT = ["cuda:99", "meta", "nonsense", *([] if torch.cuda.is_available() else ["cuda"])]
on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
every_net = pytest.mark.parametrize("net", ZOO)


@pytest.mark.parametrize("device", ABSENT)
def test_a_device_that_is_not_here_is_told_in_one_line(device):
    case = cases()[0]
    for ask in (
        lambda: prove(case.graph, case.region, case.spec, device=device),
        lambda: prove_all(case.graph, case.region, [case.spec], device=device),
        lambda: classify_labels(case.graph, case.region, 1, device=device),
    ):
        with pytest.raises(InputError, match=f"device '{device}' cannot be used here; pass cpu") as told:
            ask()
        assert "\n" not in str(told.value)


@on_cuda
@every_net
def test_attacks_on_the_gpu_stay_inside_to_the_last_bit(net):
    g = seeded(31)
    graph = merge_rectified_pools(ZOO[net](g))
    region = Region.stack([box_of(graph, g, r) for r in (0.0, 0.01, 0.3)])
    spec = TopK(0, 1)
    found = SmoothPgd(steps=12, restarts=4)(graph, region, spec, generator=seeded(7), device="cuda")
    assert found.images.device.type == "cpu"
    assert bool((found.images >= region.lower).all() and (found.images <= region.upper).all())
    assert torch.allclose(found.margins, spec.margin(graph(found.images)), rtol=0, atol=1e-12)


@on_cuda
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_verdicts_by_the_gpu_are_those_of_brute_force(case):
    answer = prove(case.graph, case.region, case.spec, budget=Budget.seconds(20.0), device="cuda")
    assert answer.verdict is (Verdict.ROBUST if case.least > 0 else Verdict.VULNERABLE)


@on_cuda
@every_net
def test_labels_and_conjunctions_on_the_gpu_agree_with_the_cpu(net):
    g = seeded(33)
    graph = ZOO[net](g)
    region = box_of(graph, g, 0.02)
    here, there = (
        classify_labels(graph, region, 1, budget=Budget.seconds(20.0), device=device) for device in ("cpu", "cuda")
    )
    for one, other in zip(here.answers, there.answers, strict=True):
        assert "unknown" in (one.standing, other.standing) or one.standing == other.standing


@on_cuda
def test_neighborhoods_on_the_gpu_are_proved():
    g = seeded(34)
    graph = ZOO["rectified_pools"](g)
    image = image_of(graph, g)
    mask = torch.zeros(image.shape[1:], dtype=torch.bool)
    mask[0, 0] = True
    rings = Rings.around(mask)
    target = int(graph.replay(image).argmax())
    problem = Problem(graph, image, rings, TopK(target, 1), torch.ones(len(rings), dtype=torch.float64))
    found = maximize(problem, budget=Budget.seconds(20.0), device="cuda")
    assert found.verdict is Verdict.ROBUST
    assert float(found.radii.max()) > 0
