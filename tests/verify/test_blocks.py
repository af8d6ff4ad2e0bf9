"""The stage that adds up tiles: its bounds against images, its verdicts against brute force, its ends by Ctrl-C."""

import math
import signal
import threading
import time
from dataclasses import replace
from itertools import product

import pytest
import torch
from brute_cases import case
from brute_force import least_margin
from tile_nets import CLIMB, NETS, asked, overlapping, question

from aureole.bounds import Ascent
from aureole.core import AboveThreshold, Budget, Graph, Region, Rows, TopK, Verdict, Why
from aureole.verify import Portfolio, prove, prove_all
from aureole.verify import blocks as blocks_module
from aureole.verify import tiles as tiles_module
from aureole.verify.blocks import Blocks
from aureole.verify.known import Known
from aureole.verify.query import Query
from aureole.verify.stages import Climb, Screen
from aureole.verify.tiles import Tiling, heads
from aureole.verify.tree import Tree
from nets_zoo import F64, ZOO, Sketch, box_of, points_in, seeded
from provers import complaint

BLOCKS = Portfolio((Screen(), CLIMB, Blocks(small=-1)))
"""Tiles are joined, too: by default these programs are so small that the MILP gets them."""


@pytest.fixture(params=[2.0, math.inf], autouse=True)
def seen(request, monkeypatch):
    """These networks are so small that their tiles overlap a lot: some are left whole, with infinity all are cut."""
    monkeypatch.setattr(tiles_module, "SEEN", request.param)


def open_one(name: str = "pooled", order: int = 2, room: float = 0.1) -> tuple[Query, Known]:
    """A question that holds at all images tried and that the bounds leave open."""
    for seed in range(40):
        query, known = asked(*question(name, seed, order, room))
        if known.open_mixes(query) and not known.broken:
            return query, known
    raise AssertionError("no seed gives one")


@pytest.mark.parametrize("name", NETS)
def test_bounds_lie_below_all_images_and_above_what_was_known(name):
    better = 0
    for seed, order in product(range(3), (1, 2, 3)):
        graph, region, spec = question(name, seed, order, 0.02 if seed % 2 else 0.15, radius=0.3)
        query, known = asked(graph, region, spec)
        if known.proved:
            continue
        after = Blocks(small=-1)(query, known)
        margins = spec.margin(graph(points_in(region, 3000, seeded(seed))))
        before, bound = known.margin_bound(order), after.margin_bound(order)
        assert before is not None and bound is not None
        assert before <= bound <= float(margins.min()) + 1e-9
        if after.image is not None:
            assert region.contains(after.image)
            assert bound <= float(spec.margin(graph.replay(after.image))) == after.margin <= known.margin
        assert (after.proved is Why.BLOCKS) is (bound > query.slack)
        for rows, mix in after.mixes.items():  # each set on its own as well
            largest = (graph(points_in(region, 500, seeded(1))) @ spec.weights.T + spec.constants)[:, list(rows)].amax(
                1
            )
            assert known.mixes[rows].value <= mix.value <= float(largest.min()) + 1e-9
        better += bound > before + 1e-6
    assert better > 0


@pytest.mark.parametrize("count", [1, 7])
def test_rows_of_another_number_than_classes(count):
    """With constants they are scores of their own, which the original model does not give."""
    asked_blocks = 0
    for name, seed in product(NETS, range(4)):
        graph, region, spec = question(name, seed, 1, 0.02, count=count)
        answer = prove(graph, region, spec, BLOCKS, budget=Budget.seconds(20.0))
        assert not complaint(answer, graph, region, spec, float(answer.margin_seen or 0.0), decides=False)
        asked_blocks += answer.calls.get("blocks", 0)
    assert asked_blocks > 6


def test_the_cut_whose_floor_is_the_highest_is_taken(monkeypatch):
    """By a few turns for each; an answer is an answer with any."""
    monkeypatch.setattr(tiles_module, "SEEN", 2.0)
    ran = 0
    for seed in range(8):
        g = seeded(seed)
        graph = overlapping(g)
        region = box_of(graph, g, 0.15)
        raw = Rows(torch.randn(2, 4, generator=g, dtype=F64), torch.zeros(2, dtype=F64), 1)
        least = float(raw.margin(graph(points_in(region, 2000, g))).min())
        spec = replace(raw, constants=torch.full((2,), 0.1 - least, dtype=F64))
        query, known = asked(graph, region, spec)
        mixes = known.open_mixes(query)
        if known.broken or not mixes:
            continue
        ways = [Tiling.of(region, known.bounds, known.relaxations, cut) for cut in heads(query.graph)]
        stage = Blocks(trial=3)
        rows, mix = min(mixes.items(), key=lambda item: item[1].value)
        weights = blocks_module._start(known, rows, mix)
        scores = weights @ query.rows[list(rows)]
        floors = [_floor(stage, query, known, way, scores, mix.parameters) for way in ways]
        for order in (ways, ways[::-1]):
            chosen, begun = stage._tiling(query, known, order)
            assert floors[ways.index(chosen)] == pytest.approx(max(floors), abs=1e-9)
            alone = float(weights.max()) == 1
            assert list(begun) == [rows[int(weights.argmax())]] * alone
            assert [total.floor for total in begun.values()] == pytest.approx([max(floors)] * alone, abs=1e-9)
        ran += 1
        bound = stage(query, known).margin_bound(1)
        assert bound <= float(spec.margin(graph(points_in(region, 2000, g))).min()) + 1e-9
    assert ran > 2


def _floor(stage, query, known, tiling, scores, parameters) -> float:
    total = stage._begin(query, known, tiling, scores, parameters)
    stage._grow(query, total, patient=True, most=stage.trial)
    return total.floor


def test_verdicts_agree_with_brute_force():
    """Convolutions, pools and sums small enough to try all patterns; weak bounds before, so that tiles have work."""
    ran = proved = broken = 0
    for found in [case(n) for n in range(110) if n % 9 in (3, 5, 6, 7, 8)]:  # the kinds with tiles
        answer = prove(found.graph, found.region, found.spec, BLOCKS)
        told = complaint(answer, found.graph, found.region, found.spec, found.least, decides=False)
        assert told == "", found.name
        ran += "blocks" in answer.calls
        proved += answer.why is Why.BLOCKS and answer.verdict is Verdict.ROBUST
        broken += answer.why is Why.BLOCKS and answer.verdict is Verdict.VULNERABLE
    assert ran >= 15 and proved >= 1 and broken >= 5


@pytest.mark.parametrize("seed", range(3))
def test_constants_and_linear_layers_at_the_end(seed):
    """Two last layers, thresholds and rows with constants, against brute force; some pixels have no width."""
    g = seeded(500 + seed)
    s = Sketch((1, 2, 4), g).conv(2, 2)
    s = s.relu() if seed % 2 else s.pool(1 + seed % 2, 1).relu()
    graph = s.flat().linear(3).linear(3).graph()
    region = box_of(graph, g, 0.6)
    for order, rows in ((1, 1), (1, 3), (2, 3), (3, 3)):
        weights = torch.randn(rows, 3, generator=g, dtype=F64)
        zero = torch.zeros(rows, dtype=F64)
        least = least_margin(graph, region, weights, zero, order)
        for room, turns in ((0.05, 0), (0.05, 100), (-0.05, 2)):
            spec = Rows(weights, zero - least + room, order)
            portfolio = Portfolio((Screen(), CLIMB, Blocks(turns=turns)))
            answer = prove(graph, region, spec, portfolio)
            assert complaint(answer, graph, region, spec, room, decides=False) == ""
    threshold = AboveThreshold(1, least_margin(graph, region, torch.eye(3, dtype=F64)[1:2], zero[:1], 1) - 0.05)
    answer = prove(graph, region, threshold, BLOCKS)
    assert complaint(answer, graph, region, threshold, 0.05, decides=False) == ""


def test_without_tiles_or_sets_or_with_too_many_nothing_is_tried(monkeypatch):
    def never(*arguments):
        raise AssertionError("a tile was looked at")

    monkeypatch.setattr(blocks_module.Tiling, "parts", never)
    for name in ("squashed",):
        graph = ZOO[name](seeded(1))
        query, known = asked(graph, box_of(graph, seeded(1), 0.5), TopK(0, 1))
        assert Blocks()(query, known) is known
    query, known = open_one()
    sets = len(known.open_mixes(query))
    assert Blocks(most=sets - 1)(query, known) is known
    assert Blocks()(query, replace(known, mixes=None)).margin_bound(2) == Known(lower=known.lower).margin_bound(2)
    monkeypatch.undo()
    done = replace(known, mixes={rows: replace(mix, value=1.0) for rows, mix in known.mixes.items()})
    assert Blocks()(query, done).proved is Why.BLOCKS or done.margin_bound(2) <= query.slack


def test_a_network_that_is_linear_on_the_region_is_left_to_its_bounds():
    """No relu is open in some tile, or in none: programs without rows, or without variables."""
    graph = ZOO["affine"](seeded(2))
    image = torch.full((1, 4, 4), 0.5, dtype=F64)
    for radius in (0.0, 0.4):
        lower = image - radius * (torch.arange(4) < 1)
        region = Region(lower[None], image[None])
        raw = TopK(0, 1).rows(3)
        least = float((graph(points_in(region, 4000, seeded(3))) @ raw.T).amin())
        spec = Rows(raw, torch.full((2,), -least - 0.05, dtype=F64), 1)
        query, known = asked(graph, region, spec)
        after = Blocks()(query, replace(known, margin=None, image=None))
        assert after.broken
        assert not after.proved


def test_one_tile_leaves_time_to_a_small_milp(monkeypatch):
    """Else one hard row would take it all, and stages that decide the question in a second would never be asked."""
    given = []
    monkeypatch.setattr(Blocks, "_grow", lambda self, query, *rest, **how: given.append(query.budget.remaining))
    monkeypatch.setattr(tiles_module, "SEEN", 0.0)
    query, known = open_one("pooled", 1)
    query = replace(query, budget=Budget.seconds(100.0))
    Blocks(small=-1)(query, known)
    Blocks()(query, known)
    whole, part = given[0], given[-1]
    assert whole > 90 and part <= 30


# ---- several sets


def test_a_proof_needs_every_open_set():
    """A margin holds when all its sets do: none is forgotten, none is taken for another."""
    several = 0
    for seed in range(8):
        query, known = asked(*question("pooled", seed, 2, (0.3, 0.1)[seed % 2]))
        still = known.open_mixes(query)
        if len(still) < 2:
            continue
        several += 1
        after = Blocks(small=-1)(query, known)
        images = query.graph(points_in(query.region, 2000, seeded(seed))) @ query.rows.T
        for rows in still:
            assert after.mixes[rows].value <= float(images[:, list(rows)].amax(1).min()) + 1e-9
        assert all(after.mixes[rows].value == known.mixes[rows].value for rows in known.mixes.keys() - still.keys())
        if after.proved:
            assert after.open_mixes(query) == {}
        elif not after.broken:
            assert after.open_mixes(query) != {}
    assert several > 0


def test_questions_asked_together_name_the_stage():
    """A conjunction proved by tiles alone says so."""
    proved = 0
    for seed in range(12):
        graph, region, spec = question("added", seed, 2, 0.15)
        alone = prove(graph, region, spec, BLOCKS)
        if (alone.verdict, alone.why) == (Verdict.ROBUST, Why.BLOCKS):
            together = prove_all(graph, region, [spec, spec], BLOCKS)
            assert together.verdict is Verdict.ROBUST
            assert together.why is Why.BLOCKS
            proved += 1
            break
    assert proved > 0


# ---- ends


def test_ctrl_c_leaves_what_was_known(monkeypatch):
    query, _ = open_one()
    before = prove(query.original, query.region, query.spec, Portfolio(BLOCKS.stages[:2]))

    def struck(*arguments, **more):
        raise KeyboardInterrupt

    for owner, place in ((blocks_module, "_slopes"), (blocks_module.Tiling, "parts"), (blocks_module, "judge")):
        with monkeypatch.context() as m:
            m.setattr(owner, place, struck)
            answer = prove(query.original, query.region, query.spec, BLOCKS)
        assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, Why.INTERRUPTED)
        assert answer.margin_bound == before.margin_bound
        assert answer.margin_seen == before.margin_seen


def test_after_ctrl_c_no_other_tile_is_begun(monkeypatch):
    query, _ = open_one("relus")
    begun: list[int] = []

    def slow(tree, *how):
        begun.append(tree.count)
        if len(begun) == 3:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.05)

    monkeypatch.setattr(Tree, "grow", slow)
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may be born deaf to it
    try:
        answer = prove(query.original, query.region, query.spec, BLOCKS)
    finally:
        signal.signal(signal.SIGINT, heard)
    assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, Why.INTERRUPTED)
    assert len(begun) <= 3 + Blocks().threads  # of 2000 turns


class Ticking:
    """A clock that moves on by itself every time it is read."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize("seconds", [1.0, 3.0, 6.0, 12.0, 25.0, 50.0])
def test_a_budget_that_ends_anywhere_gives_an_honest_answer(seconds):
    late = 0
    for name in ("pooled", "added"):
        query, _ = open_one(name)
        budget = Budget.seconds(seconds, Ticking(0.3))
        answer = prove(query.original, query.region, query.spec, BLOCKS, budget=budget)
        least = float(query.spec.margin(query.original(points_in(query.region, 3000, seeded(9)))).min())
        assert answer.verdict in (Verdict.ROBUST, Verdict.UNKNOWN) or answer.margin_seen <= 0
        if answer.margin_bound is not None:
            assert answer.margin_bound <= least + 1e-9
        late += answer.why is Why.DEADLINE
    assert late > 0 or seconds > 10


def test_any_weights_and_efforts_are_sound():
    """Climbing nothing, or a lot; few turns, or many; one thread, or more."""
    for seed, order in ((0, 1), (1, 2), (2, 3)):
        graph, region, spec = question("rectified", seed, order, 0.05)
        least = float(spec.margin(graph(points_in(region, 3000, seeded(4)))).min())
        for climb in (Climb(Ascent(steps=0)), Climb(Ascent(steps=30))):
            for stage in (Blocks(turns=3), Blocks(turns=50, weights=1), Blocks(turns=20, threads=5)):
                query, known = asked(graph, region, spec, climb=climb)
                bound = (known if known.proved else stage(query, known)).margin_bound(order)
                assert bound is not None and bound <= least + 1e-9


def test_one_answer_for_one_seed():
    query, known = open_one()
    first, again = Blocks()(query, known), Blocks()(query, known)
    assert isinstance(query.original, Graph)
    assert first.margin_bound(2) == pytest.approx(again.margin_bound(2), abs=1e-9)
    assert first.proved is again.proved


def test_sets_that_a_row_has_closed_are_not_searched(monkeypatch):
    """Found in review: with no set left open, the program that tells whether a MILP would be faster had no rows."""
    query, known = open_one(order=2)
    rows = max(known.open_mixes(query), key=len)
    others = [(rows[0], row) for row in range(len(query.rows)) if row not in rows][:2]
    known = replace(known, mixes={rows: known.mixes[rows], **{tuple(sorted(o)): known.mixes[rows] for o in others}})
    asked_about = []

    def proves(self, query, known, tiling, rows, grown):
        asked_about.append(rows)
        return known.raised(shared, 1.0)

    shared = rows[0]
    monkeypatch.setattr(Blocks, "_rows", lambda self, query, known, tiling, begun: (known, {}))
    monkeypatch.setattr(Blocks, "_set", proves)
    assert len(known.open_mixes(query)) > 1
    assert Blocks()(query, known).proved is Why.BLOCKS
    assert len(asked_about) == 1
