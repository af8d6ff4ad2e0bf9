"""Ctrl-C ends a proof with what is known."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from brute_cases import Case, case

from aureole.core import Answer, Budget, Rings, TopK, Verdict, Why
from aureole.neighborhood import Problem, maximize, named_weights
from aureole.neighborhood import prover as prover_module
from aureole.verify import COMPLETE, Decision, Portfolio, classify_labels, decide, prove, prove_all, read_vnnlib
from aureole.verify import properties as properties_module
from aureole.verify import split as split_module
from aureole.verify import stages as stages_module
from aureole.verify.known import Known
from aureole.verify.query import Query
from aureole.verify.solver import Outcome, Status
from aureole.verify.split import Split
from aureole.verify.stages import Break, Milp, Screen, Stage
from nets_zoo import Sketch, image_of, seeded
from provers import MILP


@dataclass(frozen=True)
class Struck(Stage):
    """Ctrl-C comes while it works."""

    needs_screen: ClassVar[bool] = False
    name: str = "struck"

    def __call__(self, query: Query, known: Known) -> Known:
        raise KeyboardInterrupt


@cache
def open_case() -> Case:
    """A robust query that fixed slopes do not settle."""
    robust = filter(lambda c: c.least > 1e-2, map(case, range(200)))
    return next(c for c in robust if prove(c.graph, c.region, c.spec, Portfolio((Screen(),))).why is Why.INCOMPLETE)


def test_what_the_stages_before_found_comes_back():
    c = open_case()
    answer = prove(c.graph, c.region, c.spec, Portfolio((Screen(), Break(), Struck(), Milp())))
    assert (answer.verdict, answer.why, answer.detail) == (
        Verdict.UNKNOWN, Why.INTERRUPTED, "interrupted in stage struck"
    )  # fmt: skip
    assert answer.calls == {"screen": 1, "attack": 1, "struck": 1}
    assert answer.margin_bound is not None and answer.margin_bound <= c.least
    assert answer.margin_seen is not None and answer.margin_seen >= c.least - 1e-9
    assert answer.witness is None


def test_ctrl_c_is_told_before_the_deadline():
    c = open_case()
    ticks = iter(range(10**6))
    late = Budget(2.5, 0.0, lambda: float(next(ticks)))
    answer = prove(c.graph, c.region, c.spec, Portfolio((Struck(), Screen())), budget=late)
    assert answer.why is Why.INTERRUPTED


def test_seconds_by_stage_add_up():
    c = open_case()
    answer = prove(c.graph, c.region, c.spec, COMPLETE)
    assert answer.stage_seconds.keys() == answer.calls.keys()
    assert min(answer.stage_seconds.values()) >= 0
    assert sum(answer.stage_seconds.values()) <= answer.seconds


def test_several_questions_end_together(monkeypatch):
    """Neither a stage that lets Ctrl-C through nor one that keeps what it knows lets the next question begin."""
    c = open_case()
    asked: list[float] = []

    def struck(program, seconds, enough):
        asked.append(seconds)
        return Outcome(Status.INTERRUPTED, None, float("inf"))

    monkeypatch.setattr(stages_module, "solver", lambda _: struck)
    open_labels = [TopK(label, k) for label in range(c.graph.classes) for k in range(1, c.graph.classes)]
    for stage in (Milp(), Struck()):
        answer = prove_all(c.graph, c.region, [c.spec, *open_labels], Portfolio((Screen(), stage)))
        if answer.verdict is not Verdict.VULNERABLE:
            assert answer.why is Why.INTERRUPTED
        found = classify_labels(c.graph, c.region, c.spec.k, Portfolio((Screen(), stage)))
        assert found.interrupted == (found.settled < c.graph.classes)
    assert prove_all(c.graph, c.region, [c.spec], Portfolio((Screen(), Struck()))).why is Why.INTERRUPTED
    asked.clear()
    assert prove_all(c.graph, c.region, [c.spec, c.spec], Portfolio((Screen(), Milp()))).why is Why.INTERRUPTED
    assert len(asked) == 1


def test_images_of_an_interrupted_solver_are_kept(monkeypatch):
    c = open_case()
    before = prove(c.graph, c.region, c.spec, Portfolio((Screen(),)))
    images: list[torch.Tensor] = []

    def struck(program, seconds, enough):
        corner = program.lower.copy()
        for sign in (-1.0, 1.0):
            corner[:] = sign
            images.append(corner)
            assert not enough(corner)
        return Outcome(Status.INTERRUPTED, None, float("inf"))

    monkeypatch.setattr(stages_module, "solver", lambda _: struck)
    answer = prove(c.graph, c.region, c.spec, MILP)
    assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, Why.INTERRUPTED)
    assert len(images) == 2
    assert answer.margin_seen <= before.margin_seen
    assert answer.margin_bound == before.margin_bound


def test_boxes_of_an_interrupted_split_still_bound_the_margin(monkeypatch):
    real, calls = split_module._bounded, []
    portfolio = Portfolio((Screen(), Split(batch=1, least_open=0), Milp()))

    def bounded(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(split_module, "_bounded", bounded)
    stopped = 0
    for c in filter(lambda c: c.least > 0, map(case, range(60))):
        calls.clear()
        answer = prove(c.graph, c.region, c.spec, portfolio)
        if len(calls) == 4:
            stopped += 1
            screened = prove(c.graph, c.region, c.spec, Portfolio((Screen(),)))
            assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, Why.INTERRUPTED)
            assert answer.calls == {"screen": 1, "split": 1}
            assert screened.margin_bound <= answer.margin_bound <= c.least
    assert stopped >= 2


def test_a_property_tells_how_many_queries_are_open(monkeypatch):
    c = open_case()
    size, classes = c.region.lower[0].numel(), c.graph.classes
    text = "".join(f"(declare-const {n}_{i} Real)" for n, m in (("X", size), ("Y", classes)) for i in range(m))
    text += "".join(f"(assert (>= X_{i} 0))(assert (<= X_{i} 1))" for i in range(size))
    text += "(assert (or (and (>= Y_0 1e6) (<= Y_0 2e6)) (and (>= Y_1 1e6) (<= Y_1 2e6))))"
    answers = iter([Answer(Verdict.ROBUST, Why.BOUNDS), Answer(Verdict.UNKNOWN, Why.INTERRUPTED)])
    monkeypatch.setattr(properties_module, "prove", lambda *a, **b: next(answers))
    found = decide(c.graph, read_vnnlib(text), lambda x: x.reshape(c.region.shape), torch.flatten, budget=Budget())
    assert (found.decision, found.interrupted) == (Decision.UNKNOWN, True)
    assert found.detail == "interrupted with 1 of 2 open"


def test_a_search_over_radii_ends_too(monkeypatch):
    graph = Sketch((1, 4, 4), seeded(80)).conv(2, 2).relu().flat().linear(4).graph()
    image = image_of(graph, seeded(81))
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, 0] = True
    rings = Rings.around(mask)
    spec = TopK(int(graph(image[None]).argmax()), 1)
    problem = Problem(graph, image, rings, spec, named_weights("uniform", rings))
    asked: list[object] = []

    def struck_later(*query, **more):
        asked.append(query)
        return prove(*query, **more) if len(asked) == 1 else Answer(Verdict.UNKNOWN, Why.INTERRUPTED)

    monkeypatch.setattr(prover_module, "prove", struck_later)
    found = maximize(problem, "bisection")
    assert found.interrupted
    assert (len(asked), sum(found.calls.values())) == (2, 1)


CHILD = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it
from programs import knapsack
from aureole.verify.solver import solver

def enough(solution):
    print("searching", flush=True)
    return False

solve = solver({name!r})
print(solve(knapsack(200), 600.0, enough).status.value, flush=True)
"""


@pytest.mark.parametrize("name", ["highs", "scip", "gurobi"])
def test_a_solver_stops_on_ctrl_c(name):
    if name != "highs":
        pytest.importorskip({"scip": "pyscipopt", "gurobi": "gurobipy"}[name])
    tests = Path(__file__).parents[1]
    code = CHILD.format(name=name)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "searching\n"
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (out.splitlines()[-1], err, process.returncode) == ("interrupted", "", 0)
