"""decide(): specs with constants, several boxes, witnesses in float32; against brute force on tiny networks."""

import math

import pytest
import torch
from brute_force import least_margin

from aureole.core import Budget, Graph, Region, Rows, Verdict
from aureole.core.graph import Input, Linear, Node
from aureole.verify import Decision, Portfolio, Property, decide, prove, read_vnnlib
from aureole.verify import properties as properties_module
from aureole.verify.properties import specs
from aureole.verify.split import Split
from aureole.verify.vnnlib import Case, Unsafe
from nets_zoo import F64, Sketch, draw, seeded
from provers import PORTFOLIOS, complaint


def tiny(n):
    g = seeded(n)
    return Sketch((1, 1, 3), g).flat().linear(3 + n % 5).relu().linear(3).graph(), g


@pytest.mark.parametrize("n", range(24))
@pytest.mark.parametrize("portfolio", PORTFOLIOS)
def test_rows_with_constants(n, portfolio):
    graph, g = tiny(n)
    rows, constants = draw(g, 2 + n % 3, 3), draw(g, 2 + n % 3)
    nth = 1 + n % len(rows)
    region = Region.ball(torch.rand(1, 1, 3, generator=g, dtype=F64), (0.2, 0.5, 1.0)[n % 3])
    least = least_margin(graph, region, rows, constants, nth)
    wanted = (0.02, -0.02, 0.0005, -0.0005)[n % 4]
    spec = Rows(rows, constants + wanted - least, nth)  # every row gains the same, and so does the margin
    answer = prove(graph, region, spec, PORTFOLIOS[portfolio], budget=Budget.seconds(30.0))
    assert complaint(answer, graph, region, spec, wanted, decides=portfolio in ("complete", "milp")) == ""


def test_split_alone_is_complete_for_few_inputs():
    graph, g = tiny(4)
    rows, constants = draw(g, 2, 3), draw(g, 2)
    region = Region.ball(torch.rand(1, 1, 3, generator=g, dtype=F64), 0.5)
    least = least_margin(graph, region, rows, constants, 2)
    for wanted in (0.02, -0.02):
        spec = Rows(rows, constants + wanted - least, 2)
        answer = prove(graph, region, spec, Portfolio((Split(least_open=0),)))
        assert answer.verdict is (Verdict.ROBUST if wanted > 0 else Verdict.VULNERABLE)


def test_split_leaves_images_alone():
    graph = Sketch((1, 5, 5), seeded(0)).conv(2, 3).relu().flat().linear(3).graph()
    region = Region.ball(torch.full((1, 5, 5), 0.5, dtype=F64), 0.1)
    spec = Rows(torch.eye(3, dtype=F64), torch.zeros(3, dtype=F64), 1)
    answer = prove(graph, region, spec, Portfolio((Split(least_open=0),)))
    assert answer.verdict is not Verdict.ROBUST
    assert answer.margin_bound is None


def _property(graph, cases):
    closed = torch.zeros(3, dtype=torch.bool)
    return Property(3, graph.classes, tuple(Case(
        torch.full((3,), a, dtype=F64), torch.full((3,), b, dtype=F64), closed, closed,
        tuple(Unsafe(rows, constants, torch.zeros(len(rows), dtype=torch.bool)) for rows, constants in unsafe),
    ) for a, b, unsafe in cases))  # fmt: skip


@pytest.mark.parametrize("n", range(16))
def test_decide_against_brute_force(n):
    graph, g = tiny(50 + n)
    cases, least = [], math.inf
    for low, high in ((0.0, 0.4), (0.4, 1.0))[: 1 + n % 2]:
        unsafe = [(draw(g, r, 3), draw(g, r)) for r in (1, 1, 2, 3)[: 1 + n % 4]]
        region = Region(torch.full((1, 1, 1, 3), low, dtype=F64), torch.full((1, 1, 1, 3), high, dtype=F64))
        least = min(least, *(least_margin(graph, region, rows, c, len(rows)) for rows, c in unsafe))
        cases.append((low, high, unsafe))
    gap = (0.01, -0.01)[n // 2 % 2]
    question = _property(graph, [(a, b, [(r, c + gap - least) for r, c in unsafe]) for a, b, unsafe in cases])
    found = decide(graph, question, lambda flat: flat.reshape(1, 1, 3), torch.flatten, budget=Budget.seconds(60.0))
    assert found.decision is (Decision.UNSAT if gap > 0 else Decision.SAT)
    if found.witness is not None:
        assert question.violated(found.witness.flatten(), found.scores)


def test_lone_rows_are_one_query():
    unsafe = [(torch.ones(r, 3, dtype=F64), torch.zeros(r, dtype=F64)) for r in (1, 2, 1, 3)]
    graph, _ = tiny(0)
    assert [(len(s.rows(3)), s.order) for s in specs(_property(graph, [(0, 1, unsafe)]).cases[0])] == [
        (2, 1),
        (2, 2),
        (3, 3),
    ]


@pytest.mark.parametrize(
    ("assertion", "decision"),
    [
        ("(>= Y_0 1)", Decision.SAT),  # at the corner X_0 = 1
        ("(> Y_0 1)", Decision.UNKNOWN),  # only a tie is there, and proofs do not tell it from a failure
        ("(> Y_0 0.5)", Decision.SAT),
        ("(and (> Y_0 0.5) (< X_0 1))", Decision.SAT),
        ("(and (>= Y_0 1) (< X_0 1))", Decision.UNKNOWN),
        ("(> Y_0 1.001)", Decision.UNSAT),
        ("(and (> X_0 0) (< X_0 0))", Decision.UNSAT),
    ],
)
def test_strict_comparisons(assertion, decision):
    graph = Graph(
        (Node(Input(), (), (1,)), Node(Linear(torch.eye(1, dtype=F64), torch.zeros(1, dtype=F64)), (0,), (1,)))
    )
    text = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 0))(assert (<= X_0 1))"
    question = read_vnnlib(f"{text}(assert {assertion})")
    found = decide(graph, question, lambda flat: flat, lambda image: image, budget=Budget.seconds(20.0))
    assert found.decision is decision
    if found.witness is not None:
        assert question.violated(found.witness, found.scores)


def test_the_second_look_goes_on_from_the_first(monkeypatch):
    """Each query has its own hints, and none before it was looked at."""
    asked: dict[int, list[object]] = {}

    def seen(graph, region, spec, *args, hints, **kwargs):
        answer = prove(graph, region, spec, *args, hints=hints, **kwargs)
        asked.setdefault(id(spec), []).extend([hints, answer.hints])
        return answer

    monkeypatch.setattr(properties_module, "prove", seen)
    graph, g = tiny(3)
    region = Region.ball(torch.full((1, 1, 3), 0.5, dtype=F64), 0.5)
    unsafe = []
    for _ in range(2):
        rows = draw(g, 2, 3)
        unsafe.append(
            (rows, 1e-3 - least_margin(graph, region, rows, torch.zeros(2, dtype=F64), 2) * torch.ones(2, dtype=F64))
        )
    question = _property(graph, [(0.0, 1.0, unsafe)])
    found = decide(graph, question, lambda flat: flat.reshape(1, 1, 3), torch.flatten, budget=Budget.seconds(60.0))
    assert found.decision is Decision.UNSAT
    assert all(first is None for first, *_ in asked.values())
    twice = [(before, after) for _, before, *rest in asked.values() for after in rest[:1]]
    assert twice
    assert all(before is after for before, after in twice)


def test_time_runs_out():
    graph, g = tiny(1)
    question = _property(graph, [(0.0, 1.0, [(draw(g, 1, 3), torch.full((1,), 50.0, dtype=F64))])])
    found = decide(graph, question, lambda flat: flat.reshape(1, 1, 3), torch.flatten, budget=Budget.seconds(0.0))
    assert found.decision is Decision.TIMEOUT and found.witness is None


@pytest.mark.parametrize("width", [0.0, 1e-12, 1e-3])
def test_images_of_a_coarser_precision(width):
    image = torch.rand(50, generator=seeded(3), dtype=F64)
    region = Region((image - width)[None], (image + width)[None])
    nearest = region.nearest(image + 1, torch.float32)[0]
    assert region.contains(nearest)
    exact = nearest.to(torch.float32).to(F64) == nearest
    assert bool(exact.all()) or width < 1e-6
    if width == 0.0:
        assert torch.equal(nearest, image)
