from dataclasses import replace

import pytest
import torch

from aureole.bounds import Interval
from aureole.core import AboveThreshold, Budget, Region, Rings, Verdict
from aureole.core.graph import Linear
from aureole.neighborhood import Problem, maximize, named_weights
from aureole.neighborhood.ascent import JointAscent, climb, climb_all
from aureole.neighborhood.certificate import AT_ONCE, Certificate
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


def deep_problem(seed: int = 3, **more) -> Problem:
    """Two layers of relus, so that inner bounds are not exact."""
    image = torch.full((1, 6, 6), 0.5, dtype=F64)
    mask = torch.zeros(6, 6, dtype=torch.bool)
    mask[0, 0] = True
    rings = Rings.around(mask)
    graph = Sketch((1, 6, 6), seeded(seed)).conv(4, 2).relu().conv(4, 2).relu().flat().linear(3).graph()
    spec = AboveThreshold(0, float(graph(image[None])[0, 0]) - 0.3)
    return Problem(graph, image, rings, spec, named_weights("uniform", rings), **more)


def certified(problem: Problem, radii: torch.Tensor, hints: Hints) -> float:
    """The margin by the climbed bounds."""
    answer = prove(problem.graph, problem.region(radii), problem.spec, AT_ONCE, hints=hints)
    assert answer.margin_bound is not None
    return answer.margin_bound


@pytest.mark.parametrize("fall", [0.1, 0.5])
def test_a_fall_is_how_far_below_the_start_the_certified_margin_may_end(fall):
    problem = deep_problem()
    first = climb(problem, torch.full((len(problem.rings),), 1e-3, dtype=F64), JointAscent(steps=60), Budget())
    further = climb(problem, first.radii, JointAscent(steps=40, warm=5, fall=fall), Budget(), hints=first.hints)
    assert problem.size(further.radii) > 1.01 * problem.size(first.radii)
    before, after = (certified(problem, found.radii, found.hints) for found in (first, further))
    assert before > -1e-4
    assert after > before - (fall + 0.01) * 0.3  # 0.3 is the clean margin


def test_tighter_bounds_near_the_start_carry_larger_radii():
    """An answer's bounds are believed, here half as wide as plain ones; those of another network are not."""
    problem = deep_problem()
    start = climb(problem, torch.full((len(problem.rings),), 1e-3, dtype=F64), JointAscent(steps=60), Budget()).radii
    region = problem.region(start)
    plain = prove(problem.graph, region, problem.spec, AT_ONCE).hints
    assert plain is not None
    clean = problem.graph.values(problem.image[None])
    halved = {
        i: Interval((b.lower + clean[i]) / 2, (b.upper + clean[i]) / 2)
        for i, b in plain.bounds.items()
        if i < len(clean)
    }
    tight = replace(plain, bounds=halved)
    elsewhere = replace(tight, graph=deep_problem(4).graph)
    plain_size, tight_size, other_size = (
        problem.size(climb(problem, start, JointAscent(steps=40, warm=5), Budget(), hints=hints).radii)
        for hints in (plain, tight, elsewhere)
    )
    assert tight_size > 1.03 * plain_size
    assert other_size == pytest.approx(plain_size, rel=0.05)


def test_rings_at_their_caps_stay_there_and_others_begin_where_told():
    problem = deep_problem(cap=torch.tensor([1e-4, 1.0, 1.0, 1.0, 1.0, 1e-4], dtype=F64))
    start = torch.tensor([1e-4, 0, 0, 0, 0, 1e-4], dtype=F64)
    least = torch.full((6,), 1e-3, dtype=F64)
    found = climb(problem, start, JointAscent(steps=1, rates=(0.0, 0.1, 0.1)), Budget(), least=least).radii
    assert found.tolist() == pytest.approx([1e-4, 1e-3, 1e-3, 1e-3, 1e-3, 1e-4], rel=1e-4)
    longer = climb(problem, start, JointAscent(steps=40, goal=0.9), Budget(), least=least).radii
    assert longer[[0, 5]].tolist() == pytest.approx([1e-4, 1e-4], rel=1e-4)


def several() -> list[Problem]:
    """Scenes of one network with other images, rings, objectives and constants."""
    graph = Sketch((1, 6, 6), seeded(3)).conv(4, 2).relu().conv(4, 2).relu().flat().linear(3).graph()
    problems = []
    for n, (at, room, objective) in enumerate([((0, 0), 0.3, "sum"), ((3, 3), 0.2, "log"), ((5, 0), 0.25, "sum")]):
        image = torch.rand(1, 6, 6, dtype=F64, generator=seeded(n))
        mask = torch.zeros(6, 6, dtype=torch.bool)
        mask[at] = True
        rings = Rings.around(mask)
        spec = AboveThreshold(0, float(graph(image[None])[0, 0]) - room)
        problems.append(Problem(graph, image, rings, spec, named_weights("uniform", rings), objective=objective))
    return problems


def test_many_scenes_climb_as_each_would_alone():
    problems = several()
    assert len({len(p.rings) for p in problems}) > 1
    starts = [torch.full((len(p.rings),), 1e-3 * (n + 1), dtype=F64) for n, p in enumerate(problems)]
    ascent = JointAscent(steps=40, offers=2)
    met: list[tuple[int, torch.Tensor, Hints]] = []
    together = climb_all(problems, starts, ascent, Budget(), lambda *offer: met.append(offer))
    for n, (problem, start, found) in enumerate(zip(problems, starts, together, strict=True)):
        alone = climb(problem, start, ascent, Budget())
        assert found.radii.tolist() == pytest.approx(alone.radii.tolist(), rel=0.02)
        assert problem.size(found.radii) > 2 * problem.size(start)
        assert found.prices.tolist() == pytest.approx(alone.prices.tolist(), rel=0.05, abs=1e-3)
        assert certified(problem, 0.99 * found.radii, found.hints) > 0
        offers = [(radii, hints) for which, radii, hints in met if which == n]
        assert len(offers) == 2
        for radii, hints in offers:
            assert certified(problem, radii, hints) > -1e-4


def test_the_search_goes_on_from_a_climb_of_many_scenes():
    problems = several()
    starts = [torch.full((len(p.rings),), 1e-3, dtype=F64) for p in problems]
    for problem, begun in zip(problems, climb_all(problems, starts, JointAscent(steps=40), Budget()), strict=True):
        found = maximize(problem, Certificate(begun=begun), budget=Budget.seconds(4.0))
        assert found.verdict is Verdict.ROBUST
        assert found.size >= 0.99 * problem.size(begun.radii)


def test_hints_of_one_scene_leave_the_others_as_they_are():
    """Bounds and parameters of an answer about the second scene, and that it begins at caps and floors of its own."""
    problems = several()
    starts = [torch.full((len(p.rings),), 1e-3, dtype=F64) for p in problems]
    first = climb_all(problems, starts, JointAscent(steps=30), Budget())
    answer = prove(problems[1].graph, problems[1].region(first[1].radii), problems[1].spec, AT_ONCE)
    hints = [None, replace(answer.hints, parameters=first[1].hints.parameters), None]
    ascent = JointAscent(steps=20, warm=5, fall=0.1)
    radii = [found.radii for found in first]
    together = climb_all(problems, radii, ascent, Budget(), hints=hints)
    for problem, begun, told, found in zip(problems, radii, hints, together, strict=True):
        alone = climb(problem, begun, ascent, Budget(), hints=told)
        assert found.radii.tolist() == pytest.approx(alone.radii.tolist(), rel=0.02)


def test_scenes_of_other_networks_or_specs_are_refused():
    problem, starts = deep_problem(), [torch.full((6,), 1e-3, dtype=F64)] * 2
    for other in (deep_problem(4), replace(problem, also=(problem.spec,))):
        with pytest.raises(ValueError, match="pass problems of one graph and as many rows each"):
            climb_all([problem, other], starts, JointAscent(steps=1), Budget())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_many_scenes_climb_on_the_gpu_as_on_the_cpu():
    problems = several()
    starts = [torch.full((len(p.rings),), 1e-3, dtype=F64) for p in problems]
    here, there = (climb_all(problems, starts, JointAscent(steps=40), Budget(), device=d) for d in ("cpu", "cuda"))
    for problem, one, other in zip(problems, here, there, strict=True):
        assert other.radii.tolist() == pytest.approx(one.radii.tolist(), rel=0.05)
        assert certified(problem, 0.98 * other.radii, other.hints) > 0
