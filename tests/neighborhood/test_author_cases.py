"""Neighborhoods of the author's networks, checked by other means than those that found them."""

from pathlib import Path

import pytest
import torch

from aureole.core import Budget, Rings, TopK, Verdict
from aureole.data import author_cases
from aureole.neighborhood import Problem, maximize, named_weights
from aureole.nets import load
from aureole.verify import MILP, prove
from nets_zoo import points_in, seeded

pytestmark = pytest.mark.slow

CASES = (
    ("model-noDef-x1k", 0),
    ("model-noDef-x1k", 6),
    ("model-L0Def-x1k", 3),
    ("model-L0Def-x1k", 6),
    ("model-LInfDef-x1k", 6),
)
"""Network and number of the image; with bands their margins leave room for a MILP."""


@pytest.mark.parametrize(("name", "n"), CASES)
def test_a_milp_and_the_module_agree(data_root: Path, name: str, n: int) -> None:
    network, author = load(name, root=data_root), list(author_cases(data_root))[n]
    rings = Rings.around(author.scene.mask(author.object)).banded((0, 1, 4, 16))
    spec = TopK(author.target, 2)
    problem = Problem(network.graph, author.scene.image, rings, spec, named_weights("uniform", rings))
    found = maximize(problem, budget=Budget.seconds(6.0), query_seconds=2.0)
    assert found.verdict is Verdict.ROBUST and found.size > 0

    region = problem.region(found.radii)
    assert prove(network.graph, region, spec, MILP, budget=Budget.seconds(120.0)).verdict is Verdict.ROBUST
    model = network.module.double()
    with torch.no_grad():
        assert float(spec.margin(model(points_in(region, 2000, seeded(n)))).min()) > 0
        for ring, witness in found.witnesses.items():
            grown = found.radii.clone()
            grown[ring] = found.limits[ring]
            assert problem.region(grown).contains(witness) and not region.contains(witness)
            assert float(spec.margin(model(witness[None]))) <= 0
