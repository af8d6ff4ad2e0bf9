"""One suite for every solver; those whose package is not installed are skipped."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from tiny import case

from aureole.core import InputError, Region, Rows, TopK, Verdict, Why
from aureole.core.graph import Conv, Graph, Input, Linear, MaxPool, Node
from aureole.verify import MILP, SOLVERS, Portfolio, portfolio, prove
from aureole.verify import stages as stages_module
from aureole.verify.solver import Outcome, Program, Solver, Status, solver
from aureole.verify.stages import Milp, Screen
from nets_zoo import Sketch, rescaled, seeded
from programs import knapsack, program
from provers import complaint

PACKAGES = {"highs": "highspy", "scip": "pyscipopt", "gurobi": "gurobipy"}


@pytest.fixture(params=SOLVERS)
def name(request: pytest.FixtureRequest) -> str:
    if find_spec(PACKAGES[request.param]) is None:
        pytest.skip(f"{PACKAGES[request.param]} is not installed")
    return request.param


@pytest.fixture
def solve(name: str) -> Solver:
    return solver(name)


def never(solution: np.ndarray) -> bool:
    return False


@pytest.mark.parametrize("seed", range(80))
def test_the_scale_of_neurons_changes_no_verdict(name, seed):
    """HiGHS called 7 of these programs infeasible that are not, and gave up on 11 more."""

    def net() -> Graph:
        return Sketch((1, 1, 4), seeded(seed)).flat().linear(5).relu().linear(4).relu().linear(3).graph()

    generator, graph = seeded(seed), net()
    region = Region.ball(torch.rand(1, 1, 4, generator=generator, dtype=torch.float64), 0.4)
    spec = TopK(int(graph(region.center).argmax()), 1)
    answer = prove(rescaled(net(), generator), region, spec, portfolio("milp", name))
    assert answer.verdict is prove(graph, region, spec).verdict


@pytest.mark.parametrize("seed", range(12))
def test_optima_and_infeasibility_agree_with_scipy(solve, seed):
    rng = np.random.default_rng(seed)
    p = program(
        rng.normal(size=8), rng.normal(size=(5, 8)), rng.uniform(-0.5, 2, 5), [-1] * 8, [1] * 8, rng.random(8) < 0.5
    )
    if seed % 3 == 0:  # rows with two sides
        p = Program(p.objective, p.matrix, p.row_upper - 0.3, p.row_upper, p.lower, p.upper, p.integer)
    rows = LinearConstraint(p.matrix.toarray(), p.row_lower, p.row_upper)
    kinds = p.integer.astype(int)
    reference = milp(-p.objective, integrality=kinds, bounds=Bounds(p.lower, p.upper), constraints=rows)
    found = solve(p, 10.0, never)
    if reference.status == 2:
        assert found.status is Status.INFEASIBLE
        assert found.solution is None
    else:
        assert found.status is Status.SOLUTION
        assert found.solution is not None
        assert float(p.objective @ found.solution) == pytest.approx(-reference.fun, abs=1e-6)
        assert (p.matrix @ found.solution <= p.row_upper + 1e-6).all()
        assert (p.matrix @ found.solution >= p.row_lower - 1e-6).all()
        assert found.bound == pytest.approx(-reference.fun, abs=1e-5)


def test_without_integers_it_is_an_lp(solve):
    found = solve(program([1, 1], [[1, 2]], [1], [0, 0], [1, 1], [False, False]), 10.0, never)
    assert found.status is Status.SOLUTION
    np.testing.assert_allclose(found.solution, [1, 0], atol=1e-7)


def test_an_infeasible_lp_and_milp(solve):
    for flags in ([False, False], [True, True]):
        found = solve(program([1, 0], [[1, 1]], [-1], [0, 0], [1, 1], flags), 10.0, never)
        assert found.status is Status.INFEASIBLE
        assert found.solution is None


def test_no_time_is_no_claim(solve):
    assert solve(knapsack(), 0.0, never).status is Status.TIME


def test_time_runs_out_with_a_solution_at_hand(solve):
    found = solve(knapsack(), 0.2, never)
    assert found.status in (Status.TIME, Status.SOLUTION)
    if found.solution is not None:
        assert float(knapsack().objective @ found.solution) <= found.bound + 1e-6


def test_nothing_is_printed(solve, capfd):
    """Standard output belongs to the answer."""
    solve(knapsack(), 0.5, never)
    solve(knapsack(12), 5.0, never)
    assert capfd.readouterr() == ("", "")


def test_enough_stops_the_search(solve):
    seen: list[np.ndarray] = []

    def enough(solution: np.ndarray) -> bool:
        seen.append(solution)
        return True

    found = solve(knapsack(), 20.0, enough)
    assert found.status is Status.SOLUTION
    assert np.array_equal(found.solution, seen[0])
    assert (knapsack().matrix @ found.solution <= knapsack().row_upper + 1e-6).all()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, InputError])
def test_what_the_listener_raises(solve, kind):
    def enough(solution: np.ndarray) -> bool:
        raise kind("from here")

    if kind is KeyboardInterrupt:
        assert solve(knapsack(), 20.0, enough).status is Status.INTERRUPTED
    else:
        with pytest.raises(InputError, match="from here"):
            solve(knapsack(), 20.0, enough)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_no_claim(solve, value):
    p = knapsack(4)
    p.matrix.data[3] = value
    assert solve(p, 5.0, never).status is Status.FAILED


def test_small_violations_are_not_infeasible(solve):
    """x + b / 2 >= 1.5 + gap with x, b <= 1: infeasible by gap, told well above the tolerances."""
    for gap, wanted in ((-1e-6, Status.SOLUTION), (0.0, Status.SOLUTION), (1e-5, Status.INFEASIBLE)):
        found = solve(program([1, 0], [[-1, -0.5]], [-1.5 - gap], [0, 0], [1, 1], [False, True]), 5.0, never)
        assert found.status is wanted


def test_tiny_coefficients_are_not_lost(solve):
    """sum of 1500 x 8e-10 x_i <= -1e-6 holds near x = -1: a solver that drops small numbers finds it infeasible."""
    count = 1500
    p = program([1] * count, [[8e-10] * count], [-1e-6], [-1] * count, [1] * count, [False] * count)
    assert solve(p, 5.0, never).status is Status.SOLUTION


@pytest.mark.parametrize("first", range(0, 120, 30))
def test_verdicts_on_tiny_networks_agree_with_brute_force(name, first):
    wrong = []
    for found in map(case, range(first, first + 30)):
        answer = prove(found.graph, found.region, found.spec, portfolio("milp", name))
        told = complaint(answer, found.graph, found.region, found.spec, found.least, decides=True)
        wrong += [f"{found.name}: {told}"] if told else []
    assert wrong == []


def linear(weight: torch.Tensor, bias: torch.Tensor) -> Graph:
    inputs = weight.shape[1]
    return Graph((Node(Input(), (), (inputs,)), Node(Linear(weight, bias), (0,), (weight.shape[0],), "fc")))


def test_many_tiny_coefficients_add_up_in_a_proof(name):
    pixels, weight, radius = 2500, 9e-7, 1e-3
    graph = linear(
        torch.stack([torch.full((pixels,), weight), torch.zeros(pixels)]).double(),
        torch.tensor([1e-6, 0.0]).double() - torch.tensor([0.5 * weight * pixels, 0]).double(),
    )
    image = torch.full((pixels,), 0.5, dtype=torch.float64)
    answer = prove(graph, Region.ball(image, radius), TopK(0, 1), Portfolio((Screen(), Milp(solver=name))))
    assert answer.verdict is not Verdict.ROBUST  # the lower corner loses 2.25e-6 of a margin of 1e-6


def test_the_free_licence_of_gurobi_is_told():
    pytest.importorskip("gurobipy")
    p = program([1] * 2500, [[1] * 2500], [1], [0] * 2500, [1] * 2500, [True] * 2500)
    found = solver("gurobi")(p, 5.0, never)
    if found.status is Status.FAILED:  # a full licence decides it
        assert found.trouble.startswith("Gurobi's free licence stops at 2000 variables and 2000 rows, this program has")


def test_what_a_solver_says_of_its_failure_is_told(monkeypatch):
    hard = next(c for c in map(case, range(60)) if prove(c.graph, c.region, c.spec, MILP).why is Why.MILP)
    failed = Outcome(Status.FAILED, None, np.inf, "no licence for this")
    monkeypatch.setattr(stages_module, "solver", lambda _: lambda *_: failed)
    answer = prove(hard.graph, hard.region, hard.spec, MILP)
    assert (answer.verdict, answer.why, answer.detail) == (Verdict.UNKNOWN, Why.SOLVER, "no licence for this")


@pytest.mark.parametrize(("name", "package"), [("scip", "pyscipopt"), ("gurobi", "gurobipy")])
def test_a_missing_package_is_named(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, SOLVERS[name], raising=False)
    for ask in (lambda: solver(name), lambda: Milp(solver=name), lambda: portfolio("complete", name)):
        with pytest.raises(InputError, match=rf"needs the {package} package; pip install 'aureole\[{name}\]'"):
            ask()


def test_names_that_are_unknown_are_told():
    for ask in (lambda: solver("cplex"), lambda: Milp(solver="cplex"), lambda: portfolio("milp", "cplex")):
        with pytest.raises(InputError, match=r"'cplex' is unknown; pass one of highs, scip, gurobi"):
            ask()
    with pytest.raises(InputError, match=r"'fast' is unknown; pass one of complete, incomplete, milp"):
        portfolio("fast")
    with pytest.raises(InputError, match="asks no solver"):
        portfolio("incomplete", "scip")


def test_an_outcome_of_an_own_solver_needs_no_package():
    def mine(p: Program, seconds: float, enough) -> Outcome:
        return Outcome(Status.TIME, None, np.inf)

    assert isinstance(mine, Solver)


def corner(graph: Graph, low: torch.Tensor, high: torch.Tensor) -> tuple[Region, Rows]:
    """A box, and a spec that fails at its upper corner alone, by 2e-5."""
    region = Region(low[None], high[None])
    weights = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    margin = float(Rows(weights, torch.zeros(1, dtype=torch.float64), 1).margin(graph(high[None])))
    return region, Rows(weights, torch.tensor([-margin - 2e-5], dtype=torch.float64), 1)


@pytest.mark.parametrize("width", [1e-9, 1e-11, 1e-13])
@pytest.mark.parametrize("seed", range(4))
def test_a_neuron_as_narrow_as_rounding_cuts_nothing_off(name, seed, width):
    """It is the difference of two nearly equal ones: its limits are off by much of its width."""
    g = seeded(seed)
    w, k, c = (0.5 + torch.rand(3, generator=g, dtype=torch.float64)).tolist()
    s = Sketch((1, 1, 2), g).flat().linear(3).relu().linear(2).relu().linear(2)
    first, second, last = (node.op for node in s.nodes if isinstance(node.op, Linear))
    first.weight.copy_(torch.tensor([[w, 0], [w * (1 - width), 0], [100, 0]]))
    first.bias.copy_(torch.tensor([1 + c, 1 + c + width * 0.1 * w, 0], dtype=torch.float64))
    second.weight.copy_(torch.tensor([[k, -k, 0], [0, 0, 1]]))
    last.weight.copy_(torch.tensor([[1e-3, 0], [0, 1]]))
    for op in (second, last):
        op.bias.zero_()
    low = 0.05 * torch.rand(1, 1, 2, generator=g, dtype=torch.float64)
    graph = s.graph()
    region, spec = corner(graph, low, 0.7 + 0.3 * torch.rand(1, 1, 2, generator=g, dtype=torch.float64))
    assert prove(graph, region, spec, portfolio("milp", name)).verdict is not Verdict.ROBUST


@pytest.mark.parametrize("weight", [1e-10, 1e-12, 1e-14])
@pytest.mark.parametrize("seed", range(4))
def test_a_pool_of_nearly_constant_inputs_cuts_nothing_off(name, seed, weight):
    g = seeded(seed)
    s = Sketch((1, 1, 2), g).conv(2, 1).put(MaxPool((1, 2), (1, 2))).flat().linear(2)
    conv, last = (node.op for node in s.nodes if isinstance(node.op, Conv | Linear))
    conv.weight.copy_(torch.tensor([weight, 100.0])[:, None, None, None])
    conv.bias.copy_(torch.tensor([0.3 + 0.6 * float(torch.rand(1, generator=g)), 0.0]))
    last.weight.copy_(torch.tensor([[1e-3, 0], [0, 1]]))
    last.bias.zero_()
    low = 0.2 * torch.rand(1, 1, 2, generator=g, dtype=torch.float64)
    graph = s.graph()
    region, spec = corner(graph, low, 0.7 + 0.3 * torch.rand(1, 1, 2, generator=g, dtype=torch.float64))
    assert prove(graph, region, spec, portfolio("milp", name)).verdict is not Verdict.ROBUST
