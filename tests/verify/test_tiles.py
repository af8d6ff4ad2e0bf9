import numpy as np
import pytest
import torch
from brute_force import least_margin
from tile_nets import NETS, asked, question

from aureole.bounds.linear import UNIT_PARAMETERS, Parameters, backward, concretize
from aureole.core import Graph, Region, TopK
from aureole.core.graph import Add, Linear, Node, Reshape
from aureole.verify.encoding import Minimum
from aureole.verify.highs import solve
from aureole.verify.query import Known, Query
from aureole.verify.solver import Outcome, Status
from aureole.verify.tiles import MOST, Head, Part, head, parts
from nets_zoo import F64, ZOO, Sketch, draw, points_in, seeded

every_net = pytest.mark.parametrize("name", NETS)
SEEDS = range(3)


def cut(name: str, seed: int, radius: float = 0.15) -> tuple[Query, Known, Head]:
    query, known = asked(*question(name, seed, 2, 0.1, radius))
    found = head(query.graph)
    assert found is not None
    return query, known, found


def drawn(known: Known, g: torch.Generator) -> Parameters:
    """Any slopes, levels and weights: all of them are valid."""
    return {
        i: {
            n: torch.rand(v.shape, generator=g, dtype=F64) if n in UNIT_PARAMETERS else draw(g, *v.shape)
            for n, v in relaxation.parameters(1).items()
        }
        for i, relaxation in known.relaxations.items()
    }


def priced(part: Part, query: Query, images: torch.Tensor) -> torch.Tensor:
    """What the prices come to at images."""
    return (images - query.region.center).flatten(1) @ torch.from_numpy(part.prices)


@every_net
def test_the_head_is_the_networks_end(name):
    query, _, found = cut(name, 0)
    images = points_in(query.region, 50, seeded(1))
    hidden = found.hidden(images)
    torch.testing.assert_close(hidden @ found.weight.T + found.bias, query.graph(images), rtol=0, atol=1e-10)
    row = draw(seeded(2), hidden.shape[1])
    torch.testing.assert_close(found.graph(row)(images)[:, 0], hidden @ row, rtol=0, atol=1e-10)
    assert 1 < len(found.tiles) <= MOST**2
    assert torch.cat(found.tiles).sort().values.tolist() == list(range(hidden.shape[1]))
    rows = found.split(row)
    torch.testing.assert_close(rows.sum(0), row, rtol=0, atol=0)
    for units, own in zip(found.tiles, rows, strict=True):
        assert torch.equal(own[units], row[units])
        assert int((own != 0).sum()) <= len(units)


def test_networks_that_have_no_tiles():
    assert head(ZOO["dense"](seeded(0))) is None
    assert head(Sketch((1, 3, 3), seeded(0)).flat().linear(3).graph()) is None  # the image itself
    assert head(Sketch((1, 3, 3), seeded(0)).conv(2, 3).relu().flat().linear(3).graph()) is None  # one place
    assert head(Sketch((1, 4, 4), seeded(0)).conv(2, 2).relu().flat().linear(3).relu().linear(2).graph()) is None


@every_net
@pytest.mark.parametrize("seed", SEEDS)
def test_prices_add_up_to_zero_and_floors_are_lower_bounds(name, seed):
    query, known, found = cut(name, seed, radius=(0.02, 0.15, 0.6)[seed])
    g = seeded(10 + seed)
    images = points_in(query.region, 1000, g)
    hidden = found.hidden(images)
    for parameters in ({}, drawn(known, g)):
        row = draw(g, hidden.shape[1])
        split = parts(query, known, found, row, parameters, exact=5)
        np.testing.assert_allclose(sum(part.prices for part in split), 0, atol=1e-12)
        for part in split:  # tiles need not agree on an image, so each lies below on its own
            own = hidden[:, part.units] @ row[part.units] + priced(part, query, images)
            assert part.floor <= float(own.min()) + 1e-9
        total = sum(part.floor for part in split)
        assert total <= float((hidden @ row).min()) + 1e-9
        # to the tiles' linear planes, the prices lose nothing
        body, rows = Graph(found.body), found.split(row)[:, None]
        planes, constants = backward(body, len(found.body) - 1, rows, known.relaxations, parameters or None)
        together = concretize(planes.sum(0, keepdim=True), query.region) + constants.sum()
        assert total == pytest.approx(float(together), abs=1e-9)


@every_net
def test_a_tiles_program_has_a_point_for_every_image(name):
    """No image lies below the program's answer, with prices, facets and few or all choices, and none is far above."""
    query, known, found = cut(name, 1)
    g = seeded(20)
    row = draw(g, found.weight.shape[1])
    images = points_in(query.region, 3000, g)
    hidden = found.hidden(images)
    for exact in (0, 3, 10_000):
        for part in parts(query, known, found, row, drawn(known, seeded(21)), exact):
            own = hidden[:, part.units] @ row[part.units] + priced(part, query, images)
            program, before = part.program, -np.inf
            for _ in range(3):
                outcome = optimum(program, part.prices)
                answer = program.constant - outcome.bound
                assert before - 1e-6 <= answer <= float(own.min()) + 1e-6
                program, before = program.tightened(outcome.solution), answer


@pytest.mark.parametrize("seed", range(6))
def test_with_all_choices_a_tile_is_solved_exactly(seed):
    """The priced program against brute force over the activation patterns of the tile and its prices."""
    g = seeded(30 + seed)
    s = Sketch((1, 2, 4), g).conv(1, 2).relu().conv(1, (1, 2), padding=(0, seed % 2))
    s = s.relu() if seed % 3 else s.pool(1 + seed % 2, 1, seed % 2)
    graph = s.flat().linear(3).graph()
    image = torch.rand(graph.input_shape, generator=g, dtype=F64)
    radius = torch.rand(graph.input_shape, generator=g, dtype=F64).mul(0.7) * (torch.arange(4) != seed % 4)
    region = Region((image - radius).clamp(0, 1)[None], (image + radius).clamp(0, 1)[None])
    query, known = asked(graph, region, TopK(0, 1))
    found = head(query.graph)
    assert found is not None
    row = draw(g, found.weight.shape[1])
    for part in parts(query, known, found, row, {}, exact=10_000):
        whole = with_prices(found.graph(torch.zeros_like(row).index_copy(0, part.units, row[part.units])), part.prices)
        shift = float(torch.from_numpy(part.prices) @ region.center.flatten())
        least = least_margin(whole, region, torch.ones(1, 1, dtype=F64), torch.zeros(1, dtype=F64), 1) - shift
        outcome = optimum(part.program, part.prices)
        assert part.program.constant - outcome.bound == pytest.approx(least, abs=2e-6)
        at_solution = float(whole(region.clip(part.program.encoding.image(outcome.solution)))[0, 0]) - shift
        assert at_solution == pytest.approx(least, abs=1e-5)


def optimum(program: Minimum, prices: np.ndarray) -> Outcome:
    asked = program.priced(prices)
    if asked.matrix.shape[0] == 0:  # linear in the pixels
        best = np.where(asked.objective > 0, asked.upper, asked.lower)
        return Outcome(Status.SOLUTION, best, float(asked.objective @ best))
    outcome = solve(asked, 20.0, lambda _: False)
    assert outcome.status is Status.SOLUTION
    return outcome


def with_prices(graph: Graph, prices: np.ndarray) -> Graph:
    """The only score plus `prices @ image`."""
    last = len(graph.nodes) - 1
    linear = Linear(torch.from_numpy(prices)[None], torch.zeros(1, dtype=F64))
    nodes = (
        Node(Reshape(), (0,), (len(prices),)),
        Node(linear, (last + 1,), (1,)),
        Node(Add(), (last, last + 2), (1,)),
    )
    return Graph((*graph.nodes, *nodes))
