"""Local search: against brute force over activation patterns, and never worse than where it begins."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from brute_cases import case, cases
from brute_force import least_margin

from aureole.core import Budget, Region, TopK, Verdict, Why
from aureole.core.graph import Linear
from aureole.verify import highs, local, prove
from aureole.verify.encoding import Encoding, encode
from aureole.verify.known import Known
from aureole.verify.local import Links, Local, Window
from aureole.verify.prove import Portfolio
from aureole.verify.query import Query
from aureole.verify.solver import Outcome, Status
from aureole.verify.stages import Screen
from nets_zoo import Sketch, points_in, seeded

TO_THE_END = {"share": 1.0, "goal": -math.inf, "gain": 1e-6}


def asked(found, seed: int = 0, seconds: float = 60.0) -> tuple[Query, Known]:
    """After `Screen`, with one image of the region looked at."""
    query = Query.ask(found.graph, found.region, found.spec, Budget.seconds(seconds), seed)
    image = points_in(query.region, 2, seeded(seed))[1]
    return query, Screen()(query, Known().seen(query, image))


def least_of_lowest(query: Query, known: Known) -> float:
    """The least margin of the rows that are lowest at the image known, by brute force."""
    rows = query.rows[(query.graph(known.image[None])[0] @ query.rows.T).argsort()[: query.spec.order]]
    return least_margin(query.graph, query.region, rows, torch.zeros(len(rows)).to(rows), len(rows))


@pytest.mark.parametrize("n", range(60))
def test_with_all_maxima_free_it_finds_the_least_margin(n):
    query, known = asked(case(n))
    least = least_of_lowest(query, known)
    found = Local(free=10**6, seconds=20.0, share=0.1, goal=least + 1e-6, gain=1e-6)(query, known)
    assert found.least <= least + 1e-5


@pytest.mark.parametrize("n", range(60))
@pytest.mark.parametrize("tries", [0, 4])
def test_it_goes_down_inside_the_region(n, tries):
    query, known = asked(case(n), seconds=20.0)
    found = Local(free=4, tries=tries, **TO_THE_END)(query, known)
    assert case(n).least - 1e-6 <= found.least <= known.least
    assert query.region.contains(found.image)
    assert float(query.spec.margin(query.original.replay(found.image))) == found.least


def test_linear_programs_alone_go_far():
    """From one image at random: nearly all cases get lower, and most come near the least margin of their rows."""
    begun = lower = near = 0
    for n, found in enumerate(cases()):
        query, known = asked(found, seed=n)
        least, after = least_of_lowest(query, known), Local(tries=0, **TO_THE_END)(query, known)
        begun += known.least > least + 1e-3
        lower += after.least < known.least - 1e-3
        near += known.least > least + 1e-3 and after.least - least <= 0.2 * (known.least - least)
    assert begun >= 20
    assert lower >= 0.8 * begun
    assert near >= 0.6 * begun


def test_small_programs_go_further():
    """Where linear programs stop above the least margin, some binaries at a time find a way on."""
    further = stuck = 0
    for found in cases():
        query, known = asked(found)
        known = Local(tries=0, **TO_THE_END)(query, known)
        least = least_of_lowest(query, known)
        if known.least > least + 1e-3:
            stuck += 1
            after = Local(free=6, seconds=5.0, share=0.01, goal=least + 1e-3, gain=1e-4)(query, known)
            further += after.least < known.least
    assert stuck >= 3
    assert further >= stuck / 2


def test_what_it_finds_is_a_verdict():
    """A portfolio of nothing else: what fails is mostly found, from the middle of the box; nothing else is claimed."""
    broken = failing = named = 0
    for found in cases():
        answer = prove(
            found.graph, found.region, found.spec, Portfolio((Screen(), Local(share=0.5))), budget=Budget.seconds(2.0)
        )
        failing += found.least < 0
        broken += answer.verdict is Verdict.VULNERABLE
        if answer.verdict is Verdict.VULNERABLE:
            assert found.least < 1e-6 and answer.why in (Why.ATTACK, Why.LOCAL)  # the middle itself may fail
            named += answer.why is Why.LOCAL
    assert broken >= 0.7 * failing
    assert named >= 5


def strip(pixels: int = 24) -> tuple[Query, Known, Encoding]:
    """A row of pixels, and a relu over each two that are next to each other: what is near is known."""
    sketch = Sketch((1, 1, pixels), seeded(0)).conv(1, (1, 2)).relu().flat()
    weight = torch.stack([torch.ones(pixels - 1), torch.zeros(pixels - 1)])
    graph = sketch.put(Linear(weight.double(), torch.zeros(2, dtype=torch.float64))).graph()
    region = Region.ball(torch.zeros(1, 1, pixels), 1.0)
    query = Query.ask(graph, region, TopK(1, k=1), Budget.seconds(20.0), 0)  # fails where the relus are high
    known = Screen()(query, Known().seen(query, query.region.center[0]))
    return query, known, encode(query.graph, query.region, query.rows, 1, known.bounds, 0.0)


def windows(free: int, seed: int) -> list[Window]:
    """Of four turns, on a long strip whose winners are further ahead the further right they are."""
    query, _, encoding = strip(100)
    asked, ahead = replace(query, generator=seeded(seed)), np.logspace(-6, 3, 99)
    return [Local(free=free)._window(asked, encoding, Links.of(encoding), ahead, turn) for turn in range(4)]


def test_a_seed_gives_the_same_windows():
    chosen = [[found.kept for found in windows(10, seed)] for seed in (1, 2, 1)]
    assert np.array_equal(chosen[0], chosen[2])
    assert not np.array_equal(chosen[0], chosen[1])


def test_so_many_binaries_are_freed_and_the_closest_first():
    _, closest, _, anywhere = windows(10, 1)
    for found in (closest, anywhere):
        assert (~found.kept).sum() == 10
        assert found.moved.all()
    assert (~closest.kept)[:15].sum() >= 9
    assert (~anywhere.kept)[:15].sum() < 9


@pytest.mark.parametrize("turn", [0, 2])
def test_what_is_near_is_freed_and_no_other_pixel_moves(turn):
    query, known, encoding = strip()
    assert len(encoding.choices) == 23
    won, ahead = local._winners(query, encoding, known)
    search = Local(free=5)
    found = search._window(query, encoding, Links.of(encoding), ahead, turn)
    freed, moved = np.flatnonzero(~found.kept), np.flatnonzero(found.moved)
    assert len(freed) == 5 and freed.max() - freed.min() <= 6
    assert len(moved) < 12 and moved.max() - moved.min() == len(moved) - 1
    assert {*freed, *(freed + 1)} <= {*moved}
    after = search._solved(query, known, encoding, won, found, 1e-4)
    assert after.least < known.least
    held = np.setdiff1d(np.arange(24), moved)
    assert torch.equal(after.image.flatten()[held], known.image.flatten()[held])


def test_with_one_thread_the_same_seed_gives_the_same_image():
    query, known, _ = strip()
    images = [
        Local(free=5, threads=1, **TO_THE_END)(replace(query, generator=seeded(3)), known).image for _ in range(2)
    ]
    assert torch.equal(*images)


def test_without_an_image_or_an_exact_encoding_nothing_happens(monkeypatch):
    query, known = asked(case(0))
    blind = Screen()(query, Known())
    assert Local()(query, blind) is blind
    monkeypatch.setattr(local, "inexact", lambda graph: "Sigmoid")
    assert Local()(query, known) is known


def test_ctrl_c_between_small_programs_returns_what_is_known(monkeypatch):
    query, known, _ = strip()

    def struck(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "wait", struck)
    found = Local(goal=-math.inf)(query, known)
    assert found.open_because is Why.INTERRUPTED
    assert found.least <= known.least  # the programs under way are asked for what they have


def test_ctrl_c_returns_what_is_known(monkeypatch):
    query, known = asked(case(0))
    calls = []

    def struck(*arguments, **more):
        calls.append(1)
        return Outcome(Status.INTERRUPTED, None, np.inf)

    monkeypatch.setattr(highs, "solve", struck)
    found = Local(goal=-math.inf)(query, known)  # with what the programs under way had found
    assert found.open_because is Why.INTERRUPTED and len(calls) == 1
    assert found.least == known.least


def test_what_a_program_had_found_when_the_search_ended_counts(monkeypatch):
    calls, solved = itertools.count(), Local._solved

    def one_fails_one_is_ended(self, query, known, encoding, won, window, gain, stop=None):
        if stop is None:
            return solved(self, query, known, encoding, won, window, gain)
        if next(calls) == 0:
            return known
        assert stop.wait(30.0)
        return replace(known, margin=known.least - 1)

    monkeypatch.setattr(Local, "_solved", one_fails_one_is_ended)
    query, known, _ = strip()
    alone = Local(tries=0, goal=-math.inf)(query, known)
    assert Local(tries=1, goal=-math.inf)(query, known).least == alone.least - 1
