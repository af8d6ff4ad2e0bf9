"""Questions that share their work, conjunctions and labels, beyond what the oracles check."""

import itertools

import pytest
import torch

from aureole.bounds import Ascent
from aureole.core import AboveThreshold, Budget, Graph, InputError, OutOfTopK, Region, TopK, Verdict, Why
from aureole.core.graph import Linear
from aureole.verify import COMPLETE, Portfolio, Standing, classify_labels, prove, prove_all
from aureole.verify import labels as labels_module
from aureole.verify import stages as stages_module
from aureole.verify import together as together_module
from aureole.verify.known import Known
from aureole.verify.query import Query
from aureole.verify.stages import Break, Climb, Milp, Screen
from aureole.verify.together import Questions, settle
from nets_zoo import F64, Sketch, seeded

IMAGE = torch.full((1, 2, 2), 0.5, dtype=F64)


def small(seed: int = 5, classes: int = 4) -> Graph:
    return Sketch((1, 2, 2), seeded(seed)).conv(3, 2, padding=(1, 1)).relu().pool(2, 1).flat().linear(classes).graph()


def constant(*scores: float) -> Graph:
    graph = small(classes=len(scores))
    last = graph.nodes[-1].op
    assert isinstance(last, Linear)
    last.weight.zero_()
    last.bias.copy_(torch.tensor(scores))
    return graph


class Seen(Milp):
    """Counts its calls."""

    calls = 0

    def __call__(self, query, known):
        type(self).calls += 1
        return super().__call__(query, known)


# ---- questions


def test_every_answer_is_that_of_prove():
    graph, verdicts = small(), set()
    for radius in (0.02, 0.1, 0.3):
        region = Region.ball(IMAGE, radius)
        specs = [TopK(j, 2) for j in range(4)] + [OutOfTopK(j, 1, 4) for j in range(4)] + [AboveThreshold(0, 0.1)]
        questions = Questions.ask(graph, region, specs, Budget(), 0)
        for spec, answer in zip(specs, settle(questions), strict=True):
            alone = prove(graph, region, spec)
            assert answer.verdict is alone.verdict, (radius, spec)
            verdicts.add(answer.verdict)
            if answer.witness is not None:
                assert region.contains(answer.witness)
                assert float(spec.margin(graph.replay(answer.witness))) == answer.margin_seen
    assert verdicts == {Verdict.ROBUST, Verdict.VULNERABLE}


def test_rows_that_questions_share_are_asked_once():
    specs = [TopK(0, 1), TopK(0, 2), OutOfTopK(1, 1, 4)]
    questions = Questions.ask(small(), Region.ball(IMAGE, 0.1), specs, Budget(), 0)
    assert len(questions.whole.rows) == 3 + 3 - 1  # F_0 - F_1 stands in all of them
    for query, spec in zip(questions.each, specs, strict=True):
        scores = torch.randn(7, 4, dtype=F64, generator=seeded(1))
        torch.testing.assert_close(query.inner.margin(scores), spec.margin(scores))


def test_without_specs_there_is_no_question():
    with pytest.raises(InputError, match="at least one"):
        prove_all(small(), Region.ball(IMAGE, 0.1), [])


def test_a_spent_budget_leaves_what_the_first_image_says():
    found = classify_labels(small(), Region.ball(IMAGE, 0.1), 2, budget=Budget.seconds(0.0))
    assert [answer.standing for answer in found.answers] == [Standing.UNKNOWN] * 4
    assert found.settled == 0
    for answer in found.answers:
        assert {answer.stays_in.verdict, answer.stays_out.verdict} == {Verdict.VULNERABLE, Verdict.UNKNOWN}
        assert answer.deciding.why is Why.DEADLINE
        assert answer.question in ("can it leave?", "can it enter?")
        assert answer.detail.startswith(f"seen {'in' if answer.question == 'can it leave?' else 'out'}; ")


def test_time_is_shared_between_the_questions_left():
    """A stage that uses all it gets leaves the same to every question."""
    given: list[float] = []
    now = [0.0]

    class Slow(Milp):
        def __call__(self, query, known):
            given.append(query.budget.remaining)
            now[0] += query.budget.remaining
            return known

    budget = Budget.seconds(12.0, clock=lambda: now[0])
    graph = small()
    found = classify_labels(graph, Region.ball(IMAGE, 0.0), 2, blind(Slow()), budget=budget)
    assert given == pytest.approx([3.0] * 4)
    assert found.settled == 0


def blind(stage: Milp) -> Portfolio:
    """Screen finds nothing out, so that every question reaches the stage."""

    class Blind(Screen):
        def looked(self, query, known):
            known, corners = super().looked(query, known)
            assert known.lower is not None
            return Known(known.bounds, known.relaxations, torch.full_like(known.lower, -1.0)), corners

    return Portfolio((Blind(), stage))


# ---- conjunctions


def test_a_conjunction_stops_at_the_first_spec_that_fails():
    graph = small()
    region = Region.ball(IMAGE, 0.1)
    best = int(graph(IMAGE[None]).argmax())
    worst = int(graph(IMAGE[None]).argmin())
    Seen.calls = 0
    answer = prove_all(graph, region, [TopK(best, 1), TopK(worst, 1)], Portfolio((Screen(), Seen())))
    assert answer.verdict is Verdict.VULNERABLE
    assert TopK(worst, 1).claim in answer.detail
    assert Seen.calls == 0


def test_a_conjunction_names_what_is_open():
    scores = (3.0, 2.0, 0.0, 1e-9)
    answer = prove_all(constant(*scores), Region.ball(IMAGE, 0.1), [TopK(0, 1), TopK(3, 3)])
    assert answer.verdict is Verdict.UNKNOWN  # the second is true, but below the slack that proofs ask for
    assert TopK(3, 3).claim in answer.detail and TopK(0, 1).claim not in answer.detail
    assert answer.margin_seen == pytest.approx(1e-9)
    proved = prove_all(constant(*scores), Region.ball(IMAGE, 0.1), [TopK(0, 1), TopK(1, 2), OutOfTopK(2, 2, 4)])
    assert proved.verdict is Verdict.ROBUST
    assert proved.margin_bound == pytest.approx(1.0, abs=1e-6)
    assert proved.detail == ""


# ---- labels


def test_ties_are_both():
    found = classify_labels(constant(2.0, 1.0, 1.0, 0.0), Region.ball(IMAGE, 0.1), 2)
    assert [answer.standing for answer in found.answers] == ["in", "both", "both", "out"]
    found = classify_labels(constant(2.0, 1.0, 1.0, 0.0), Region.ball(IMAGE, 0.1), 3)
    assert [answer.standing for answer in found.answers] == ["in", "in", "in", "out"]


def test_a_k_that_does_not_fit_is_told():
    for k in (0, 4):
        with pytest.raises(InputError, match=f"k = {k}"):
            classify_labels(small(), Region.ball(IMAGE, 0.1), k)


def test_counting_proves_the_rest():
    """Without bounds for the labels outside, the proofs of those inside settle them; and the other way round."""
    scores = constant(3.0, 2.0, 1.0, 0.0)
    region = Region.ball(IMAGE, 0.1)
    k = 2
    specs = [TopK(j, k) for j in range(4)] + [OutOfTopK(j, k, 4) for j in range(4)]
    queries = Questions.ask(scores, region, specs, Budget(), 0).each
    unknown = [Known(lower=torch.full((3,), -1.0, dtype=F64)) for _ in specs]

    def proved(i: int) -> Known:
        return Known(lower=queries[i].rows @ scores.replay(IMAGE), proved=Why.BOUNDS)

    for given, follows in (((0, 1), (6, 7)), ((6, 7), (0, 1))):
        known = [proved(i) if i in given else unknown[i] for i in range(8)]
        found = labels_module.counted(known, k)
        assert [i for i in range(8) if found[i].proved] == sorted((*given, *follows))
        for i in follows:
            bound = found[i].margin_bound(specs[i].order)
            assert bound is not None and 0 < bound <= float(specs[i].margin(scores.replay(IMAGE))) + 1e-12
    too_few = [proved(i) if i in (0, 6) else unknown[i] for i in range(8)]
    assert [bool(known.proved) for known in labels_module.counted(too_few, k)] == [i in (0, 6) for i in range(8)]


def test_counting_says_how_hard_its_proofs_were():
    specs = [TopK(j, 1) for j in range(3)] + [OutOfTopK(j, 1, 3) for j in range(3)]
    known = [Known(lower=torch.full((2,), -1.0, dtype=F64)) for _ in specs]
    known[0] = Known(lower=torch.full((2,), -1.0, dtype=F64), together=0.0, proved=Why.MILP)
    found = labels_module.counted(known, 1)
    assert [k.proved for k in found] == [Why.MILP, None, None, None, Why.MILP, Why.MILP]


def test_a_stage_may_be_left_out():
    """Without attack and bounds the solver alone finds the standing."""
    graph, region = small(8), Region.ball(IMAGE, 0.2)
    lean = classify_labels(graph, region, 2, Portfolio((Screen(), Milp())))
    full = classify_labels(graph, region, 2, COMPLETE)
    lone = classify_labels(graph, region, 2, Portfolio((Screen(), Climb(), Break(), Milp())))
    assert (
        [a.standing for a in lean.answers] == [a.standing for a in full.answers] == [a.standing for a in lone.answers]
    )


def test_a_conjunction_says_how_long_its_stages_took():
    answer = prove_all(constant(3.0, 2.0, 0.0), Region.ball(IMAGE, 0.1), [TopK(0, 2), TopK(1, 2)])
    assert answer.verdict is Verdict.ROBUST
    assert answer.stage_seconds.keys() == answer.calls.keys()
    assert 0 < sum(answer.stage_seconds.values()) <= answer.seconds


# ---- hints


def test_hints_of_all_specs_are_a_start():
    """The rows of two are the same, and merged; one is proved before any climb."""
    graph, region = small(8), Region.ball(IMAGE, 0.2)
    label = int(graph(IMAGE[None])[0].argmax())
    specs = [TopK(label, 1), TopK(label, 2), AboveThreshold(label, -9.0)]
    at_once = Portfolio((Screen(), Climb(Ascent(steps=0))))
    climbed = prove_all(graph, region, specs, Portfolio((Screen(), Climb(Ascent(steps=60)))))
    plain, told = (prove_all(graph, region, specs, at_once, hints=hints) for hints in (None, climbed.hints))
    assert told.margin_bound == pytest.approx(climbed.margin_bound)
    assert plain.margin_bound < climbed.margin_bound - 1e-4


# ---- many rows


def test_rows_in_parts_are_the_same(monkeypatch):
    graph, region = small(9), Region.ball(IMAGE, 0.05)
    whole = classify_labels(graph, region, 2)
    monkeypatch.setattr(stages_module, "PART", 2)
    monkeypatch.setattr(together_module, "PART", 2)
    for label, other in zip(whole.answers, classify_labels(graph, region, 2).answers, strict=True):
        assert (label.standing, label.stays_in.margin_bound) == (other.standing, other.stays_in.margin_bound)


def test_rows_hear_of_the_time_limit(monkeypatch):
    """What was not bounded by then proves nothing."""
    graph, ticks = small(8), itertools.count()
    budget = Budget(1.0, 0.0, lambda: float(next(ticks)))
    query = Query.ask(graph, Region.ball(IMAGE, 0.02), TopK(0, 1), budget, 0)
    monkeypatch.setattr(stages_module, "PART", 1)
    known, corners = Screen().looked(query, Known())
    assert known.lower.isfinite().sum() == 1 and (known.lower == -torch.inf).sum() == 2
    assert known.proved is None and corners.shape == (3, 1, 2, 2)
