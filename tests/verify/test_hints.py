"""What one answer offers the next question (`Answer.hints`)."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from split_cases import hard, split

from aureole.attacks import BRIEF
from aureole.bounds import Ascent, Interval
from aureole.core import AboveThreshold, Budget, Graph, Region, Rows, Spec, TopK, Verdict, Why
from aureole.core.graph import Linear, MaxPool, Relu
from aureole.verify import COMPLETE, Portfolio, prove, prove_all
from aureole.verify.boxes import Boxes, Leaves
from aureole.verify.hints import Hints, Mix, Proofs, table
from aureole.verify.known import Known
from aureole.verify.query import Query
from aureole.verify.stages import Break, Climb, Screen
from aureole.verify.together import Questions
from nets_zoo import F64, Sketch, draw, points_in, seeded

IMAGE = torch.full((1, 2, 2), 0.5, dtype=F64)
AT_ONCE = Portfolio((Screen(),))
CLIMBED = Portfolio((Screen(), Climb(Ascent(steps=5))))


def small(seed: int = 5) -> Graph:
    return Sketch((1, 2, 2), seeded(seed)).conv(3, 2, padding=(1, 1)).relu().pool(2, 1).flat().linear(4).graph()


def loud(seed: int) -> Graph:
    """Scores so large that rounding counts."""
    sketch = Sketch((1, 2, 2), seeded(seed)).flat().linear(6).relu()
    return sketch.put(Linear(1e7 * draw(sketch.generator, 4, 6), torch.zeros(4, dtype=F64))).graph()


def label(graph: Graph) -> int:
    return int(graph(IMAGE[None])[0].argmax())


def ask(graph: Graph, radius: float, spec: Spec, hints: Hints | None) -> Query:
    return put(graph, Region.ball(IMAGE, radius), spec, hints)


def put(graph: Graph, region: Region, spec: Spec, hints: Hints | None) -> Query:
    return Query.ask(graph, region, spec, Budget(), 0, hints)


def proved(seed: int, order: int = 1) -> tuple[Graph, TopK, float, Hints]:
    """A spec that holds on a ball, and the hints of the proof."""
    graph = small(seed)
    spec = TopK(label(graph), order)
    for radius in (0.2, 0.1, 0.05, 0.02, 0.01):
        answer = prove(graph, Region.ball(IMAGE, radius), spec)
        if answer.verdict is Verdict.ROBUST:
            return graph, spec, radius, answer.hints
    raise AssertionError("no ball is proved")


# ---- proofs hold inside


@pytest.mark.parametrize("seed", range(4))
def test_what_is_proved_needs_no_stage_inside(seed):
    graph, spec, radius, hints = proved(seed)
    for part in (1.0, 0.7, 0.2):
        answer = prove(graph, Region.ball(IMAGE, part * radius), spec, hints=hints)
        assert (answer.verdict, answer.calls) == (Verdict.ROBUST, {})
        assert answer.why is hints.proofs.proved
        again = prove(graph, Region.ball(IMAGE, 0.9 * part * radius), spec, hints=answer.hints)
        assert (again.verdict, again.calls) == (Verdict.ROBUST, {})


def everything(query) -> Hints:
    """Hints that prove something of every kind."""
    bounds = Screen()(query, Known()).bounds
    boxes = Boxes(query.region, torch.tensor([-1.0], dtype=F64), torch.tensor([0]), {})
    half = torch.full((2,), 0.5, dtype=F64)
    known = Known(
        bounds=bounds, lower=torch.full((3,), -1.0, dtype=F64), parameters={0: {}}, together=0.0,
        mixes={pair: Mix(0.1, half, {}) for pair in ((0, 1), (0, 2), (1, 2))}, leaves=Leaves(boxes, 1.0),
        proved=Why.MILP,
    )  # fmt: skip
    return known.hints(query)


def test_it_says_nothing_elsewhere():
    """Beyond the region on either side, about another graph, other rows, another order."""
    graph, spec, inside = small(1), TopK(label(small(1)), 2), Region.ball(IMAGE, 0.1)
    hints, edge = everything(put(graph, inside, spec, None)), torch.zeros(1, *IMAGE.shape, dtype=F64)
    edge[0, 0, 1, 1] = 1e-12

    def told(graph, region, spec) -> set[str]:
        known = Known.told(put(graph, region, spec, hints))
        return {
            name for name in ("bounds", "lower", "parameters", "together", "mixes", "leaves", "proved")
            if getattr(known, name) not in (None, {})
        }  # fmt: skip

    order, rows = TopK(spec.target, 1), TopK((spec.target + 1) % 4, 2)
    assert len(told(graph, inside, spec)) == 7
    assert told(graph, Region(inside.lower - edge, inside.upper), spec) == {"parameters"}
    assert told(graph, Region(inside.lower, inside.upper + edge), spec) == {"parameters"}
    assert told(replace(graph), inside, spec) == set()
    assert told(graph, inside, rows) == {"bounds"}
    assert told(graph, inside, order) == {"bounds", "parameters", "lower"}  # rows are rows in any order statistic


def test_the_same_rows_with_other_constants_are_others():
    """Behind a last layer that adds the constants all thresholds have the same rows."""
    graph = small(3)
    scores = graph(points_in(Region.ball(IMAGE, 0.05), 500, seeded(0)))[:, 0]
    easy, hard = AboveThreshold(0, float(scores.min()) - 1.0), AboveThreshold(0, float(scores.min()) + 1e-6)
    answer = prove(graph, Region.ball(IMAGE, 0.05), easy)
    assert answer.verdict is Verdict.ROBUST
    assert prove(graph, Region.ball(IMAGE, 0.05), hard, hints=answer.hints).verdict is Verdict.VULNERABLE
    both = prove_all(graph, Region.ball(IMAGE, 0.05), [easy, easy])
    assert both.verdict is Verdict.ROBUST
    assert prove_all(graph, Region.ball(IMAGE, 0.05), [easy, hard], hints=both.hints).verdict is Verdict.VULNERABLE


def test_proofs_of_several_questions_hold_inside():
    graph = small(8)
    specs = [TopK(label(graph), 1), TopK(label(graph), 2), AboveThreshold(label(graph), -9.0)]
    answer = prove_all(graph, Region.ball(IMAGE, 0.02), specs)
    assert answer.verdict is Verdict.ROBUST
    inside = prove_all(graph, Region.ball(IMAGE, 0.01), specs, hints=answer.hints)
    assert (inside.verdict, inside.calls) == (Verdict.ROBUST, {})
    beyond = prove_all(graph, Region.ball(IMAGE, 0.03), specs, AT_ONCE, hints=answer.hints)
    assert beyond.calls


def fails(radius: float = 0.3) -> tuple[Graph, TopK, Region]:
    """A spec that fails on a ball, though not at its center."""
    graph, region = small(5), Region.ball(IMAGE, radius)
    for target in range(4):
        spec = TopK(target, 1)
        if prove(graph, region, spec).verdict is Verdict.VULNERABLE and float(spec.margin(graph(IMAGE[None]))) > 0:
            return graph, spec, region
    raise AssertionError("no spec fails")


def lie(graph: Graph, region: Region, spec: TopK, bound: float) -> Hints:
    """Rows that are proved, as it says, to be at least `bound`."""
    rows = table(spec, graph.classes)
    return Hints(graph, region, rows=rows, proofs=Proofs(1, 0.0, torch.full((len(rows),), bound, dtype=F64)))


def test_a_refuted_proof_is_offered_to_nobody():
    """Hints that lie about a failing spec do not become a proof, and do not go on."""
    graph, spec, region = fails()
    wrong = lie(graph, region, spec, 9.0)
    answer = prove(graph, region, spec, AT_ONCE, hints=wrong)
    assert (answer.verdict, answer.hints.proofs.proved) == (Verdict.UNKNOWN, None)
    assert answer.hints.proofs.lower is None
    both = replace(wrong, rows=torch.cat([wrong.rows, wrong.rows]), proofs=None, each=(wrong, wrong))
    answer = prove_all(graph, region, [spec, spec], AT_ONCE, hints=both)
    assert answer.verdict is Verdict.UNKNOWN and "please report" in answer.detail
    assert prove_all(graph, region, [spec, spec], hints=answer.hints).verdict is Verdict.VULNERABLE


def test_a_witness_refutes_what_was_proved_of_other_regions_too():
    """Found in review: the witness won, and the wrong bounds went on without it."""
    graph, spec, region = fails()
    witness = prove(graph, region, spec).witness
    wrong = replace(lie(graph, region, spec, 0.01), images=(witness,))
    answer = prove(graph, region, spec, AT_ONCE, hints=wrong)
    assert answer.verdict is Verdict.VULNERABLE
    assert answer.hints.proofs.lower is None


def test_images_are_shown_to_questions_that_hints_prove():
    """Found in review: `prove_all` judged them by open questions alone, and answered ROBUST where `prove` did not."""
    graph, spec, region = fails()
    witness = prove(graph, region, spec).witness
    wrong = lie(graph, region, spec, 9.0)
    wrong = replace(wrong, proofs=replace(wrong.proofs, proved=Why.MILP))
    told = Hints(graph, region, rows=wrong.rows, images=(witness,), each=(wrong,))
    assert prove(graph, region, spec, AT_ONCE, hints=replace(wrong, images=(witness,))).verdict is Verdict.VULNERABLE
    assert prove_all(graph, region, [spec], AT_ONCE, hints=told).verdict is Verdict.VULNERABLE
    assert prove_all(graph, region, [spec], AT_ONCE, hints=replace(told, images=())).verdict is Verdict.UNKNOWN


def test_a_region_that_its_owner_changes_is_another():
    """Found in review: hints held the caller's own box."""
    graph, spec, radius, _ = proved(5)
    region = Region.ball(IMAGE, radius)
    hints = prove(graph, region, spec).hints
    region.lower.sub_(0.4)
    region.upper.add_(0.4)
    assert not hints.hold(graph, region)


def test_slopes_and_bounds_go_on():
    """Through an answer that needed no stage; slopes to any region, but not to other rows."""
    graph = small(0)
    spec = TopK(int(graph(IMAGE[None])[0].topk(2).indices[1]), 2)
    hints = prove(graph, Region.ball(IMAGE, 0.3), spec, CLIMBED).hints
    assert hints.bounds and hints.parameters
    again = prove(graph, Region.ball(IMAGE, 0.29), spec, Portfolio(()), hints=hints).hints
    assert (again.bounds, again.parameters) == (hints.bounds, hints.parameters)
    beyond = Known.told(ask(graph, 0.31, spec, hints))
    assert beyond.parameters is hints.parameters and not beyond.bounds
    assert not Known.told(ask(graph, 0.01, TopK((spec.target + 1) % 4, 2), hints)).parameters


def test_rows_not_climbed_keep_their_slopes():
    """Found in review: of several questions, they had those of a row that was climbed."""
    graph, region = small(5), Region.ball(IMAGE, 0.3)
    scores = graph(points_in(region, 4000, seeded(0)))[:, :2].amin(0)
    # the first row is proved by `Screen`, the second is climbed
    spec = Rows(torch.eye(4, dtype=F64)[:2], torch.tensor([3.0, 0.05], dtype=F64) - scores, 1)
    for question in (lambda h=None: prove(graph, region, spec, CLIMBED, hints=h),
                     lambda h=None: prove_all(graph, region, [spec], CLIMBED, hints=h)):  # fmt: skip
        hints = question().hints
        marked = {i: {n: torch.full_like(v, 0.125) for n, v in d.items()} for i, d in hints.parameters.items()}
        elsewhere = replace(hints, region=None, parameters=marked, each=())
        found = question(elsewhere).hints.parameters
        assert all(bool((value[:, 0] == 0.125).all()) for named in found.values() for value in named.values())


# ---- bounds move with the slack


@pytest.mark.parametrize("seed", range(4))
def test_moved_bounds_are_rounded_down(seed):
    graph, spec = loud(2), TopK(0, 1)
    wide, lower = ask(graph, 0.2, spec, None), draw(seeded(seed), 3)
    inner = ask(graph, 0.1, spec, Known(lower=lower).hints(wide))
    for before, after in zip(lower.tolist(), Known.told(inner).lower.tolist(), strict=True):
        assert Fraction(after) - Fraction(inner.slack) <= Fraction(before) - Fraction(wide.slack)


def test_bounds_of_inner_nodes_are_taken_over():
    graph, spec, region = small(8), TopK(label(small(8)), 1), Region.ball(IMAGE, 0.2)
    hints = prove(graph, region, spec, Portfolio((Screen(),))).hints
    tight = {i: Interval(z.lower * 0.9 + z.upper * 0.1, z.upper) for i, z in hints.bounds.items()}
    query = put(graph, region, spec, Hints(graph, region, tight))
    bounds = Screen()(query, Known.told(query)).bounds
    read = [node.inputs[0] for node in query.graph.nodes if isinstance(node.op, Relu | MaxPool)]
    assert read
    assert all(bool((bounds[i].lower >= tight[i].lower).all()) for i in read)


@pytest.mark.parametrize("order", [1, 2])
def test_bounds_exceed_the_slack_by_as_much(order):
    graph, spec = loud(2), TopK(0, order)
    wide = ask(graph, 0.2, spec, None)
    sets = {(0, 1): Mix(0.25, torch.full((2,), 0.5, dtype=F64), {})}
    lower = torch.tensor([-1.0, wide.slack, 3.0], dtype=F64)
    box = Boxes(wide.region, torch.tensor([-0.5], dtype=F64), torch.tensor([0]), {})
    leaves = Leaves(box, 0.5)
    known = Known(lower=lower, together=-0.125, mixes=sets if order == 2 else None, leaves=leaves)
    inner = ask(graph, 0.1, spec, known.hints(wide))
    assert inner.slack < wide.slack  # it grows with the region
    told = Known.told(inner)
    assert torch.allclose(told.lower - inner.slack, lower - wide.slack, rtol=0, atol=1e-12)
    assert bool((told.lower - inner.slack <= lower - wide.slack).all())
    assert told.together - inner.slack == pytest.approx(-0.125 - wide.slack, abs=1e-12)
    assert told.left(inner).tolist() == known.left(wide).tolist()  # not proved there, not proved here
    larger = Known.told(
        ask(graph, 0.1, spec, replace(known.hints(wide), proofs=replace(known.hints(wide).proofs, slack=0.0)))
    )
    assert torch.equal(larger.lower, lower)  # a bound does not rise with the slack
    assert told.leaves.proved - inner.slack == pytest.approx(0.5 - wide.slack, abs=1e-12)
    assert told.leaves.boxes.bound - inner.slack == pytest.approx(-0.5 - wide.slack, abs=1e-12)
    assert torch.equal(told.leaves.boxes.region.upper, inner.region.upper)
    if order == 2:
        assert told.mixes[0, 1].value - inner.slack == pytest.approx(0.25 - wide.slack, abs=1e-12)


def test_sets_are_not_taken_over_where_they_leave_out_a_row():
    """A row that no set names counts as proved."""
    graph, spec = loud(2), TopK(0, 2)
    wide = ask(graph, 0.2, spec, None)
    lower = torch.tensor([-1.0, -1.0, wide.slack], dtype=F64)
    known = Known(lower=lower, mixes={(0, 1): Mix(1.0, torch.full((2,), 0.5, dtype=F64), {})})
    assert Known.told(ask(graph, 0.1, spec, known.hints(wide))).mixes is None


@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5])
def test_open_answers_give_their_bounds(seed):
    """A bound of a larger region is one of a smaller, which a cheap look reaches at once."""
    graph, region = small(seed), Region.ball(IMAGE, 0.5)
    spec, climbed = (
        TopK(int(graph(IMAGE[None])[0].topk(2).indices[1]), 2),
        Portfolio((Screen(), Climb(Ascent(steps=60)))),
    )
    wide = prove(graph, region, spec, climbed)
    assert wide.verdict is not Verdict.ROBUST
    region = Region.ball(IMAGE, 0.499)
    plain, told = (prove(graph, region, spec, AT_ONCE, hints=hints) for hints in (None, wide.hints))
    assert told.margin_bound >= max(plain.margin_bound, wide.margin_bound - 1e-9)
    least = float(spec.margin(graph(points_in(region, 2000, seeded(1)))).min())
    assert told.margin_bound <= least


def test_a_whole_proof_says_that_the_margin_is_positive():
    """A solver's gives no bound but that."""
    graph, spec, region = fails()
    hints = lie(graph, region, spec, -1.0)
    known = Known.told(put(graph, region, spec, replace(hints, proofs=replace(hints.proofs, proved=Why.MILP))))
    assert known.margin_bound(1) == 0.0


def test_rows_keep_the_better_bound():
    """Of one question or several, at a cheap look, without what is known of sets."""
    graph, region, inner = small(5), Region.ball(IMAGE, 0.3), Region.ball(IMAGE, 0.2999)
    least = graph(points_in(region, 4000, seeded(0)))[:, :2].amin(0)
    spec = Rows(torch.eye(4, dtype=F64)[:2], 0.05 - least, 1)
    for question in (lambda r, stages, h=None: prove(graph, r, spec, stages, hints=h),
                     lambda r, stages, h=None: prove_all(graph, r, [spec, spec], stages, hints=h)):  # fmt: skip
        hints = question(region, CLIMBED).hints
        rows = [replace(each, proofs=replace(each.proofs, mixes=None)) for each in hints.each]
        hints = replace(hints, proofs=replace(hints.proofs, mixes=None), parameters={}, each=tuple(rows))
        plain, told = (question(inner, AT_ONCE, h).hints.proofs.lower for h in (None, hints))
        assert bool((told >= hints.proofs.lower - 1e-9).all()) and bool((told > plain + 1e-4).any())


def test_hints_about_some_rows():
    graph, spec, region = fails()
    hints = replace(
        lie(graph, region, spec, 2.0), parameters={1: {"alpha": torch.arange(3.0, dtype=F64)[None, :, None]}}
    )
    hints = replace(hints, proofs=replace(hints.proofs, lower=torch.tensor([1.0, 2.0, 3.0], dtype=F64), together=5.0))
    some = hints.about(hints.rows, torch.tensor([2, 0]))
    assert torch.equal(some.rows, hints.rows[[2, 0]])
    assert some.proofs.lower.tolist() == [3.0, 1.0] and some.proofs.together is None
    assert some.parameters[1]["alpha"].flatten().tolist() == [2.0, 0.0]
    assert hints.about(hints.rows + 1, torch.tensor([2, 0])).rows is None


def test_a_broken_conjunction_has_hints_of_all_its_specs():
    graph, spec, region = fails()
    answer = prove_all(graph, region, [AboveThreshold(0, -99.0), spec])
    assert answer.verdict is Verdict.VULNERABLE
    assert len(answer.hints.each) == 2
    again = prove_all(graph, region, [AboveThreshold(0, -99.0), spec], Portfolio(()), hints=answer.hints)
    assert (again.verdict, again.calls) == (Verdict.VULNERABLE, {})


def test_rows_of_others_are_not_taken_over():
    """Several questions are told of all rows at once."""
    graph, region = small(8), Region.ball(IMAGE, 0.02)
    specs = [TopK(label(graph), 1), AboveThreshold(label(graph), -9.0)]
    hints = prove_all(graph, region, specs).hints

    def told(*specs):
        return Known.told(Questions.ask(graph, region, specs, Budget(), 0, hints=hints).whole)

    assert told(*specs).lower is not None
    for others in ([*specs, specs[0]], [specs[0], AboveThreshold(label(graph), -8.0)]):
        assert told(*others).lower is None
        assert told(*others).bounds


@pytest.mark.parametrize("ask_all", [False, True])
def test_slopes_are_a_start_beyond(ask_all):
    """Where nothing that was proved holds; without a step the bound is that of the slopes."""
    graph, wide = small(8), Region.ball(IMAGE, 0.2 + 1e-9)
    specs = [TopK(label(graph), 1), TopK(label(graph), 2), AboveThreshold(label(graph), -9.0)]

    def asked(region, steps, hints=None):
        method = Portfolio((Screen(), Climb(Ascent(steps=steps))))
        if ask_all:
            return prove_all(graph, region, specs, method, hints=hints)
        return prove(graph, region, specs[0], method, hints=hints)

    climbed = asked(Region.ball(IMAGE, 0.2), 60)
    plain, told = (asked(wide, 0, hints) for hints in (None, climbed.hints))
    assert told.margin_bound == pytest.approx(climbed.margin_bound, abs=1e-6)
    assert plain.margin_bound < climbed.margin_bound - 1e-4


# ---- splitting goes on


def test_splitting_goes_on_where_it_ended():
    graph, spec, region = hard()
    answer, turns = prove(graph, region, spec, split(30)), 1
    bounds = [answer.margin_bound]
    while answer.verdict is Verdict.UNKNOWN:
        assert turns < 500
        answer, turns = prove(graph, region, spec, split(30), hints=answer.hints), turns + 1
        bounds.append(answer.margin_bound)
    assert answer.verdict is Verdict.ROBUST
    assert turns > 2
    assert bounds == sorted(bounds)
    assert bounds[-1] <= float(spec.margin(graph(points_in(region, 5000, seeded(0)))).min())


def test_boxes_left_open_cover_what_is_not_proved():
    """Of a smaller, oblong region too: points outside of the boxes have the margin that is said."""
    graph, spec, region = hard()
    leaves = prove(graph, region, spec, split(400)).hints.proofs.leaves
    cut = torch.tensor([[0.0, 0.0, 0.4, 0.0, 0.1], [0.1, 0.3, 0.0, 0.2, 0.4]], dtype=F64)
    inner = Region(region.lower + cut[0], region.upper - cut[1])
    boxes = leaves.boxes.within(inner)
    assert 0 < len(boxes) < len(leaves.boxes)
    points = torch.cat([points_in(inner, 5000, seeded(3)), *corners(boxes.region)])
    low, high = boxes.region.lower, boxes.region.upper
    assert bool((low >= inner.lower).all() and (high <= inner.upper).all() and (low < high).all())
    held = ((points[:, None] >= low) & (points[:, None] <= high)).flatten(2).all(2).any(1)
    margins = spec.margin(graph(points))
    assert 0 < int(held.sum()) < len(points)
    assert float(margins[~held].min()) >= leaves.proved - 1e-9
    whole = (points[:, None] >= leaves.boxes.region.lower) & (points[:, None] <= leaves.boxes.region.upper)
    assert bool((held == whole.flatten(2).all(2).any(1)).all())


def corners(region: Region) -> list[torch.Tensor]:
    return [region.lower, region.upper]


def test_slivers_are_halved_elsewhere():
    """Found in review: cut along the axis to halve, a box could not be halved, and splitting ended for good."""
    graph, spec, region = hard()
    boxes = prove(graph, region, spec, split(30)).hints.proofs.leaves.boxes.take(torch.tensor([0]))
    inner = Region(region.lower.clone(), region.upper.clone())
    axis = int(boxes.axis[0])
    low = boxes.region.lower.flatten(1)[0, axis]
    for width in (0.0, 1e-17):
        inner.lower[..., axis], inner.upper[..., axis] = low, torch.nextafter(low, low + 1) if width else low
        cut = boxes.within(inner)
        assert len(cut) == 1 and int(cut.axis[0]) != axis
    assert len(boxes.take(torch.tensor([], dtype=torch.int64)).within(inner)) == 0


def test_a_box_that_only_touches_is_left_out():
    graph, spec, region = hard()
    boxes = prove(graph, region, spec, split(20)).hints.proofs.leaves.boxes
    side = Region(boxes.region.lower[:1].clone(), boxes.region.upper[:1].clone())
    side.upper[..., 0] = side.lower[..., 0]  # no width there: what touches is kept
    assert len(boxes.within(side)) >= 1
    beside = Region(boxes.region.upper[:1], boxes.region.upper[:1] + 0.1)
    apart = boxes.take(torch.tensor([0]))
    assert len(apart.within(beside)) == 0


# ---- images


def test_images_are_seen_and_attacked_from():
    graph, spec, region = small(5), TopK(label(small(5)), 1), Region.ball(IMAGE, 0.5)
    found = prove(graph, region, spec)
    assert found.verdict is Verdict.VULNERABLE
    alone = Portfolio(())
    told = prove(replace(graph), region, spec, alone, hints=Hints(graph, images=(found.witness,)))
    assert (told.verdict, told.calls) == (Verdict.VULNERABLE, {})
    assert prove_all(graph, region, [spec, spec], alone, hints=found.hints).verdict is Verdict.VULNERABLE
    assert prove(graph, region, spec, alone, hints=Hints(graph, images=(found.witness * torch.nan,))).margin_seen > 0


def test_images_are_starts_inside_the_region():
    graph, spec, region = small(5), TopK(label(small(5)), 1), Region.ball(IMAGE, 0.01)
    known = Known.told(put(graph, region, spec, Hints(graph, images=(IMAGE + 7.0,))))
    assert [start.tolist() for start in known.starts] == [region.upper[0].tolist()]
    assert torch.equal(known.image, region.upper[0])


def test_the_attack_begins_at_the_images(monkeypatch):
    starts = []
    real = type(BRIEF)._search

    def search(self, graph, region, spec, given, generator, budget):
        starts.append(given)
        return real(self, graph, region, spec, given, generator, budget)

    monkeypatch.setattr(type(BRIEF), "_search", search)
    graph, region = small(5), Region.ball(IMAGE, 0.01)
    image = region.lower[0].clone()
    prove(graph, region, TopK(label(graph), 1), Portfolio((Break(BRIEF),)), hints=Hints(graph, images=(image - 1.0,)))
    assert torch.equal(starts[0][0, 1], image.float())  # where it is nearest


def test_a_failing_image_of_a_smaller_region_ends_the_work():
    graph = small(5)
    spec = TopK(label(graph), 1)
    radius = next(r for r in (0.1, 0.2, 0.3, 0.4, 0.5) if prove(graph, Region.ball(IMAGE, r), spec).witness is not None)
    broken = prove(graph, Region.ball(IMAGE, radius), spec)
    wider = prove(graph, Region.ball(IMAGE, 1.2 * radius), spec, COMPLETE, hints=broken.hints)
    assert (wider.verdict, wider.calls) == (Verdict.VULNERABLE, {})
