import math
from dataclasses import replace

import pytest
import torch

from aureole.core import Answer, Budget, Graph, InputError, Region, Rows, TopK, Verdict, Why
from aureole.core.graph import Linear
from aureole.verify import COMPLETE, INCOMPLETE, Portfolio, prove
from aureole.verify import stages as stages_module
from aureole.verify.blocks import Blocks
from aureole.verify.local import Local
from aureole.verify.solver import Outcome, Status
from aureole.verify.split import Split
from aureole.verify.stages import Break, Milp, Ranges, Screen
from nets_zoo import F64, ZOO, Sketch, box_of, image_of, points_in, seeded
from provers import DECIDES, MILP, PORTFOLIOS, complaint

every_portfolio = pytest.mark.parametrize("name", PORTFOLIOS)
IMAGE = torch.full((1, 2, 2), 0.5, dtype=F64)


def small(seed: int = 5) -> Graph:
    return Sketch((1, 2, 2), seeded(seed)).conv(3, 2, padding=(1, 1)).relu().pool(2, 1).flat().linear(4).graph()


def best(graph: Graph, image: torch.Tensor = IMAGE) -> TopK:
    return TopK(int(graph(image[None]).argmax()), 1)


# ---- what is asked is checked before any work starts


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_told(bad):
    graph = small()
    graph.nodes[1].op.weight[0, 0, 0, 0] = bad
    with pytest.raises(InputError, match=r"conv1\.weight"):
        prove(graph, Region.ball(IMAGE, 0.1), TopK(0, 1))


def test_regions_that_do_not_fit_are_told():
    graph = small()
    with pytest.raises(InputError, match=r"1x3x3.*1x2x2"):
        prove(graph, Region.ball(torch.zeros(1, 3, 3, dtype=F64), 0.1), TopK(0, 1))
    with pytest.raises(InputError, match="2 boxes"):
        prove(graph, Region.stack([Region.ball(IMAGE, 0.1)] * 2), TopK(0, 1))
    with pytest.raises(InputError, match="infinite"):
        prove(graph, Region.ball(IMAGE, math.inf, clip=(-math.inf, math.inf)), TopK(0, 1))
    with pytest.raises(InputError, match="NaN"):
        prove(graph, Region(IMAGE[None] * math.nan, IMAGE[None]), TopK(0, 1))


@pytest.mark.parametrize(("target", "k"), [(4, 1), (-1, 1), (0, 4), (0, 0)])
def test_specs_that_do_not_fit_are_told(target, k):
    with pytest.raises(InputError, match="pass"):
        prove(small(), Region.ball(IMAGE, 0.1), TopK(target, k))


def test_scores_that_overflow_are_told():
    graph = Sketch((1, 2, 2), seeded(1)).flat().linear(3).relu().linear(3).relu().linear(2).graph()
    for node in graph.nodes:
        if isinstance(node.op, Linear):
            node.op.weight.abs_().mul_(1e300)
    with pytest.raises(InputError, match=r"NaN or infinite|not finite|overflow"):
        prove(graph, Region.ball(IMAGE, 0.1), TopK(0, 1))


def test_a_seed_that_no_generator_takes_is_told():
    with pytest.raises(InputError, match="64 bits"):
        prove(small(), Region.ball(IMAGE, 0.1), TopK(0, 1), seed=2**70)


def test_a_source_that_gives_nan_is_told():
    graph = Graph(small().nodes, source=lambda images: images.flatten(1) * math.nan)
    with pytest.raises(InputError, match="NaN or infinite"):
        prove(graph, Region.ball(IMAGE, 0.1), TopK(0, 1))


# ---- witnesses go through the original model


@every_portfolio
def test_a_graph_that_fails_is_not_enough(name):
    """The source is more robust than its graph: no witness of the graph is one of the source."""
    graph = small()
    spec = best(graph)
    region = Region.ball(IMAGE, 0.5)
    assert prove(graph, region, spec, PORTFOLIOS[name]).verdict is Verdict.VULNERABLE
    lift = torch.zeros(4, dtype=F64)
    lift[spec.target] = 100
    tough = Graph(graph.nodes, source=lambda images: graph(images) + lift)
    answer = prove(tough, region, spec, PORTFOLIOS[name])
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.witness is None
    assert answer.margin_seen is not None
    assert answer.margin_seen > 90
    if "milp" in answer.calls:
        assert answer.why is Why.SOLVER
        assert "replayed" in answer.detail


@every_portfolio
def test_a_source_that_fails_alone_is_seen(name):
    graph = small()
    spec = best(graph)
    drop = torch.zeros(4, dtype=F64)
    drop[spec.target] = -100
    weak = Graph(graph.nodes, source=lambda images: graph(images) + drop)
    answer = prove(weak, Region.ball(IMAGE, 0.0), spec, PORTFOLIOS[name])
    assert answer.verdict is Verdict.VULNERABLE
    assert answer.margin_seen is not None
    assert answer.margin_seen < -90


def test_witnesses_are_inside_to_the_last_bit():
    broken = 0
    for seed in range(12):
        g = seeded(60 + seed)
        graph = small(60 + seed)
        region = box_of(graph, g, 2.0)
        spec = TopK(int(graph(region.center).argmax()), 1)
        for portfolio in (COMPLETE, MILP):
            answer = prove(graph, region, spec, portfolio)
            if answer.verdict is Verdict.VULNERABLE:
                broken += 1
                assert answer.witness is not None
                assert bool((answer.witness >= region.lower[0]).all() and (answer.witness <= region.upper[0]).all())
                assert float(spec.margin(graph.replay(answer.witness))) == answer.margin_seen
                assert answer.margin_seen <= 0
    assert broken >= 2


# ---- doubt falls to UNKNOWN


@every_portfolio
def test_without_time_nothing_is_claimed(name):
    graph = small()
    answer = prove(graph, Region.ball(IMAGE, 0.5), best(graph), PORTFOLIOS[name], budget=Budget.seconds(0.0))
    assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, Why.DEADLINE)
    assert answer.calls == {}
    assert answer.margin_bound is None
    assert answer.margin_seen == pytest.approx(float(best(graph).margin(graph(IMAGE[None]))[0]))
    assert answer.detail


class Ticking:
    """A clock that moves on by itself every time it is read."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize("seconds", [0.5, 2.0, 5.0, 20.0, 60.0])
def test_a_budget_that_ends_anywhere_gives_an_honest_answer(seconds):
    for seed in range(4):
        graph = ZOO["rectified_pools"](seeded(seed))
        region = box_of(graph, seeded(seed), 0.05)
        spec = TopK(int(graph(region.center).argmax()), 1)
        whole = prove(graph, region, spec)
        answer = prove(graph, region, spec, budget=Budget.seconds(seconds, Ticking(0.4)))
        assert answer.verdict in (whole.verdict, Verdict.UNKNOWN)
        if answer.verdict is Verdict.UNKNOWN:
            assert answer.why is Why.DEADLINE
        assert answer.seconds > 0


def open_question() -> tuple[Graph, Region, TopK]:
    """A query that the screen leaves open and that holds."""
    for seed in range(300):
        graph = small(seed)
        region = Region.ball(image_of(graph, seeded(seed)), 0.12)
        spec = TopK(int(graph(region.center).argmax()), 1)
        if prove(graph, region, spec, MILP).why is Why.MILP and prove(graph, region, spec).verdict is Verdict.ROBUST:
            return graph, region, spec
    raise AssertionError("no seed gives one")


@pytest.mark.parametrize(
    ("status", "why", "told"),
    [
        (Status.TIME, Why.DEADLINE, "ran out of time"),
        (Status.FAILED, Why.SOLVER, "solver failed"),
        (Status.SOLUTION, Why.SOLVER, "replayed"),
    ],
)
def test_every_way_the_solver_may_let_us_down(monkeypatch, status, why, told):
    graph, region, spec = open_question()
    monkeypatch.setattr(stages_module, "solver", lambda _: lambda *_: Outcome(status, None, 0.0))
    answer = prove(graph, region, spec, MILP)
    assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, why)
    assert told in answer.detail
    assert answer.calls == {"screen": 1, "milp": 1}


def test_an_image_from_the_solver_is_not_believed(monkeypatch):
    graph, region, spec = open_question()

    def liar(program, seconds, enough):
        anything = program.upper.copy()
        assert enough(anything) is False
        return Outcome(Status.SOLUTION, anything, 1.0)

    monkeypatch.setattr(stages_module, "solver", lambda _: liar)
    answer = prove(graph, region, spec, MILP)
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.witness is None


def test_the_milp_gets_what_is_left_of_the_budget(monkeypatch):
    graph, region, spec = open_question()
    given: list[float] = []

    def late(program, seconds, enough):
        given.append(seconds)
        return Outcome(Status.TIME, None, 0.0)

    monkeypatch.setattr(stages_module, "solver", lambda _: late)
    prove(graph, region, spec, MILP, budget=Budget.seconds(50.0))
    prove(graph, region, spec, Portfolio((Screen(), Milp(most_seconds=3.0))), budget=Budget.seconds(50.0))
    assert 0 < given[0] <= 50
    assert given[1] == 3.0


# ---- what the answer says about itself


def test_the_stage_that_decides_is_named():
    graph, region, spec = open_question()
    answer = prove(graph, region, spec, MILP)
    assert (answer.verdict, answer.why, answer.calls) == (Verdict.ROBUST, Why.MILP, {"screen": 1, "milp": 1})
    assert answer.margin_bound is not None
    assert 0 <= answer.margin_bound <= answer.margin_seen
    still = prove(graph, Region.ball(region.center[0], 1e-6), spec)
    assert (still.verdict, still.why, still.calls) == (Verdict.ROBUST, Why.BOUNDS, {"screen": 1})
    assert still.margin_bound > still.slack >= 1e-6
    loose = prove(graph, region, spec, Portfolio((Screen(),)))
    assert (loose.verdict, loose.why) == (Verdict.UNKNOWN, Why.INCOMPLETE)
    assert "left open" in loose.detail
    failing = TopK(int(graph(region.center).argmin()), 1)
    clean = prove(graph, region, failing)
    assert (clean.verdict, clean.why, clean.calls) == (Verdict.VULNERABLE, Why.ATTACK, {})


def test_the_milps_witness_is_named():
    found = None
    for seed in range(100):
        graph = small(seed)
        region = Region.ball(image_of(graph, seeded(seed)), 0.3)
        answer = prove(graph, region, TopK(int(graph(region.center).argmax()), 1), MILP)
        if answer.verdict is Verdict.VULNERABLE and "milp" in answer.calls:
            found = answer
            break
    assert found is not None
    assert found.why is Why.MILP


def test_an_attack_alone_never_proves():
    graph = small()
    answer = prove(graph, Region.ball(IMAGE, 0.0), best(graph), Portfolio((Break(),)))
    assert (answer.verdict, answer.why, answer.margin_bound) == (Verdict.UNKNOWN, Why.INCOMPLETE, None)


@every_portfolio
def test_the_seed_decides_and_nothing_global(name):
    graph, region, spec = open_question()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = prove(graph, region, spec, PORTFOLIOS[name], seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = prove(graph, region, spec, PORTFOLIOS[name], seed=3)
    assert (first.verdict, first.why, first.margin_bound, first.margin_seen) == (
        again.verdict, again.why, again.margin_bound, again.margin_seen,
    )  # fmt: skip


@every_portfolio
def test_float32_graphs_and_regions_are_raised_to_float64(name):
    graph, region, spec = open_question()
    answer = prove(graph.to(torch.float32), region.to(torch.float32), spec, PORTFOLIOS[name])
    assert answer.weakest is not None
    assert answer.weakest.dtype == F64


@every_portfolio
@pytest.mark.parametrize("net", ZOO)
def test_every_kind_of_network_is_answered(name, net):
    """No brute force here: points and attacks against the answer."""
    g = seeded(71)
    graph = ZOO[net](g)
    for radius in (0.0, 0.01, 0.08):
        region = box_of(graph, g, radius)
        spec = TopK(int(graph(region.center).argsort()[0, -1]), 1)
        answer = prove(graph, region, spec, PORTFOLIOS[name], budget=Budget.seconds(5.0))
        seen = float(spec.margin(graph(points_in(region, 300, g))).min())
        if answer.verdict is Verdict.ROBUST:
            assert seen > 0
        if answer.margin_bound is not None:
            assert answer.margin_bound <= seen + 1e-9
        if radius == 0:
            assert answer.verdict is Verdict.ROBUST
        if answer.verdict is Verdict.VULNERABLE:
            assert complaint(answer, graph, region, spec, answer.margin_seen, decides=False) == ""


@pytest.mark.parametrize("factor", [1e-3, 1e3, 1e6])
@pytest.mark.parametrize("name", DECIDES)
def test_the_scale_of_the_scores_changes_no_verdict(name, factor):
    """Scores times a factor: the same question, another slack and other tolerances in the solver."""
    from brute_cases import cases

    for found in cases():
        last = found.graph.nodes[-1].op
        assert isinstance(last, Linear)
        scaled = Graph((*found.graph.nodes[:-1], type(found.graph.nodes[-1])(
            Linear(last.weight * factor, last.bias * factor), found.graph.nodes[-1].inputs, found.graph.nodes[-1].shape
        )))  # fmt: skip
        answer: Answer = prove(scaled, found.region, found.spec, PORTFOLIOS[name], budget=Budget.seconds(20.0))
        told = complaint(answer, scaled, found.region, found.spec, found.least * factor, decides=True)
        assert told == "", found.name


def test_incomplete_is_complete_without_its_searches():
    searches = Ranges | Split | Blocks | Local | Milp
    assert tuple(stage for stage in COMPLETE.stages if not isinstance(stage, searches)) == INCOMPLETE.stages
    assert isinstance(COMPLETE.stages[-1], Milp)


def test_a_dropped_softmax_leaves_comparisons_only():
    graph = replace(small(), softmax=True, notes=("a note",))
    rows, none = TopK(0, 1).rows(4), torch.zeros(3, dtype=F64)
    region = Region.ball(IMAGE, 0.0)
    prove(graph, region, Rows(rows, none, 1))
    for weights, constants in ((rows * 1.0, none + 0.5), (rows[:, [0, 0, 1, 2]] * 2, none), (rows.abs(), none)):
        with pytest.raises(InputError, match="softmax was dropped"):
            prove(graph, region, Rows(weights, constants, 1))
    broken = prove(graph, Region.ball(IMAGE, 1.0), TopK(int(graph(IMAGE[None]).argmin()), 1))
    assert broken.verdict is Verdict.VULNERABLE and broken.detail == "a note"
