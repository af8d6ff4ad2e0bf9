"""Specs by name, conjunctions and the standing of labels against brute force over activation patterns."""

from functools import cache

import pytest
from brute import least_margin
from brute_force import least_margin as least_with_constants
from tiny import case

from aureole.core import AboveThreshold, Budget, Graph, OutOfTopK, Region, Spec, TopK, Verdict
from aureole.verify import Standing, classify_labels, prove, prove_all
from nets_zoo import points_in, seeded
from provers import DECIDES, PORTFOLIOS, complaint

NUMBERS = (*range(18), 41, 58)
NEAR = 1e-5
"""Margins so close to zero may stay open: proofs ask for some slack."""


@cache
def net(n: int) -> tuple[Graph, Region]:
    found = case(n)
    return found.graph, found.region


@cache
def least(n: int, spec: Spec) -> float:
    """The exact least margin."""
    graph, region = net(n)
    if isinstance(spec, AboveThreshold):
        rows, constants = spec.rows(graph.classes), spec.offsets(graph.classes)
        return least_with_constants(graph, region, rows, constants, spec.order)
    return least_margin(graph, region, spec.rows(graph.classes), spec.order)


@pytest.mark.parametrize("portfolio", PORTFOLIOS)
def test_out_of_the_top_k(portfolio):
    verdicts = set()
    for n in NUMBERS[::2]:
        graph, region = net(n)
        spec = OutOfTopK(n % graph.classes, 1 + n % 2, graph.classes)
        answer = prove(graph, region, spec, PORTFOLIOS[portfolio])
        verdicts.add(answer.verdict)
        assert complaint(answer, graph, region, spec, least(n, spec), decides=portfolio in DECIDES) == "", n
    assert {Verdict.ROBUST, Verdict.VULNERABLE} <= verdicts


@pytest.mark.parametrize("portfolio", PORTFOLIOS)
def test_above_a_threshold(portfolio):
    for n in NUMBERS[1::3]:
        graph, region = net(n)
        lowest = least(n, AboveThreshold(0, 0.0))
        for distance in (-0.02, 0.02):
            spec = AboveThreshold(0, lowest - distance)
            answer = prove(graph, region, spec, PORTFOLIOS[portfolio])
            assert complaint(answer, graph, region, spec, distance, decides=portfolio in DECIDES) == "", n


@pytest.mark.parametrize("portfolio", PORTFOLIOS)
def test_conjunctions(portfolio):
    """Of two labels, and of a label and a threshold: as good as the worse of the two."""
    verdicts = set()
    for n in NUMBERS[::2]:
        graph, region = net(n)
        for specs in ([TopK(0, 1), TopK(1, 2)], [TopK(1, 2), AboveThreshold(0, -1.0)]):
            worst = min(least(n, spec) for spec in specs)
            answer = prove_all(graph, region, specs, PORTFOLIOS[portfolio])
            verdicts.add(answer.verdict)
            fits = [spec for spec in specs if spec.claim in answer.detail]
            match answer.verdict:
                case Verdict.ROBUST:
                    assert worst > 0 and answer.margin_bound is not None and answer.margin_bound <= worst + 1e-7, n
                case Verdict.VULNERABLE:
                    assert worst <= 1e-9 and answer.witness is not None and region.contains(answer.witness), n
                    assert len(fits) == 1 and float(fits[0].margin(graph.replay(answer.witness))) <= 0, n
                case Verdict.UNKNOWN:
                    assert portfolio not in DECIDES or abs(worst) < NEAR, n
                    assert fits and answer.witness is None, n
    assert {Verdict.ROBUST, Verdict.VULNERABLE} <= verdicts


@pytest.mark.parametrize("portfolio", PORTFOLIOS)
def test_the_standing_of_labels(portfolio):
    standings = set()
    for n in NUMBERS:
        graph, region = net(n)
        for k in range(1, graph.classes):
            found = classify_labels(graph, region, k, PORTFOLIOS[portfolio])
            for answer in found.answers:
                into, out = TopK(answer.label, k), OutOfTopK(answer.label, k, graph.classes)
                where = f"{n}, label {answer.label}, k = {k}"
                for spec, side in ((into, answer.stays_in), (out, answer.stays_out)):
                    # an open side is no failure: the other one may have decided, or the portfolio may be weak
                    told = complaint(side, graph, region, spec, least(n, spec), decides=False)
                    assert told == "", where
                standings.add(answer.standing)
                margins = least(n, into), least(n, out)
                match answer.standing:
                    case Standing.IN:
                        assert margins[0] > 0, where
                    case Standing.OUT:
                        assert margins[1] > 0, where
                    case Standing.BOTH:
                        assert max(margins) <= 1e-9, where
                    case Standing.UNKNOWN:
                        assert portfolio not in DECIDES or min(map(abs, margins)) < NEAR, where
                        assert answer.question.startswith("can it"), where
    assert {Standing.IN, Standing.OUT, Standing.BOTH} <= standings


def test_sampled_images_keep_to_the_standing():
    for n in NUMBERS:
        graph, region = net(n)
        found = classify_labels(graph, region, 1, budget=Budget.seconds(5.0))
        scores = graph(points_in(region, 500, seeded(n)))
        for answer in found.answers:
            if answer.standing is Standing.IN:
                assert bool((scores.argmax(1) == answer.label).all()), n
            if answer.standing is Standing.OUT:
                assert not bool((scores.argmax(1) == answer.label).any()), n
