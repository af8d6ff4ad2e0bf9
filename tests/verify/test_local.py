"""Local search: against brute force over activation patterns, and never worse than where it begins."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from brute_cases import case, cases
from brute_force import least_margin

from aureole.core import Budget, Verdict, Why
from aureole.verify import highs, local, prove
from aureole.verify.encoding import Choice, Encoding, encode
from aureole.verify.local import Local
from aureole.verify.prove import Portfolio
from aureole.verify.query import Known, Query
from aureole.verify.solver import Outcome, Status
from aureole.verify.stages import Screen
from nets_zoo import points_in, seeded

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


def closer_and_closer(query: Query, known: Known, count: int) -> tuple[Encoding, np.ndarray]:
    """Maxima of three candidates each, and how far ahead their winners are: the first least."""
    choices = tuple(Choice(0, np.arange(3), False, range(3 * n, 3 * n + 3)) for n in range(count))
    encoding = encode(query.graph, query.region, query.rows, 1, known.bounds, 0.0)
    return replace(encoding, choices=choices), np.logspace(-6, 3, count)


def test_a_seed_gives_the_same_search():
    query, known = asked(case(3))
    maxima = closer_and_closer(query, known, 40)
    chosen = [Local(free=30)._kept(replace(query, generator=seeded(1)), *maxima, turn) for turn in (1, 2, 1)]
    assert np.array_equal(chosen[0], chosen[2])
    assert not np.array_equal(chosen[0], chosen[1])


def test_so_many_binaries_are_freed_and_the_closest_first():
    query, known = asked(case(0))
    maxima = closer_and_closer(query, known, 100)
    kept = Local(free=31)._kept(query, *maxima, 1)
    assert (~kept).sum() == 10
    assert (~kept)[:15].sum() >= 9
    anywhere = Local(free=31)._kept(query, *maxima, 2)
    assert (~anywhere).sum() == 10
    assert (~anywhere)[:15].sum() < 9


def test_without_an_image_or_an_exact_encoding_nothing_happens(monkeypatch):
    query, known = asked(case(0))
    blind = Screen()(query, Known())
    assert Local()(query, blind) is blind
    monkeypatch.setattr(local, "inexact", lambda graph: "Sigmoid")
    assert Local()(query, known) is known


def test_ctrl_c_returns_what_is_known(monkeypatch):
    query, known = asked(case(0))
    calls = []

    def struck(*arguments):
        calls.append(1)
        return Outcome(Status.INTERRUPTED, None, np.inf)

    monkeypatch.setattr(highs, "solve", struck)
    found = Local(goal=-math.inf)(query, known)
    assert found.open_because is Why.INTERRUPTED and len(calls) == 1
    assert found.least == known.least
