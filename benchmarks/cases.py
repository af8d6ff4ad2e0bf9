"""The author's 90 cases: 30 images x 3 networks, target = the attacked label, object = the other digit, k = 2."""

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from aureole.core import Graph, Rings, TopK, Verdict
from aureole.data import AuthorCase, author_cases
from aureole.neighborhood import Problem, named_weights
from aureole.nets import load, trace
from aureole.verify import prepare

NETWORKS = ("model-noDef-x1k", "model-L0Def-x1k", "model-LInfDef-x1k")
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, eq=False)
class Case:
    """One image with one network."""

    network: str
    graph: Graph
    author: AuthorCase

    @property
    def spec(self) -> TopK:
        return TopK(self.author.target, 2)

    def problem(self, delta: float = 1e-3, bands: Sequence[int] | None = None) -> Problem:
        rings = Rings.around(self.author.scene.mask(self.author.object))
        rings = rings if bands is None else rings.banded(bands)
        return Problem(self.graph, self.author.scene.image, rings, self.spec, named_weights("uniform", rings), delta)


def cases(networks: Iterable[str] = NETWORKS) -> Iterator[Case]:
    """All cases, network by network, with the search compiled.

    One torch thread: the tensors are small, and a second one only spins.
    """
    torch.set_num_threads(1)
    prepare()
    for name in networks:
        network = load(name)
        graph = trace(network.module, network.input_shape)
        for author in author_cases():
            yield Case(name, graph, author)


def in_turns(rows: list[dict[str, Any]], ways: Iterable[str], seconds: float) -> dict[str, Any]:
    """What each of several ways settles, from rows with a verdict and seconds by the name of the way."""
    met = [{row[name] for name in ways} for row in rows]
    return {
        "queries": len(rows), "limit s": seconds,
        "settled": {name: sum(row[name] != Verdict.UNKNOWN for row in rows) for name in ways},
        "contradictions": sum({Verdict.ROBUST, Verdict.VULNERABLE} <= verdicts for verdicts in met),
        "seconds, all": {name: round(sum(row[f"{name} s"] for row in rows), 1) for name in ways},
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """Where and when."""
    return {"date": str(date.today()), "cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(),
            "python": platform.python_version(), "torch": torch.__version__}  # fmt: skip


def write(name: str, summary: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """One JSON file per benchmark: the machine, the summary, then a row per case; the summary on the terminal too."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine(), "summary": summary}, indent=1)[:-2]
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    (RESULTS / f"{name}.json").write_text(f'{text},\n "rows": [\n{lines}\n ]\n}}\n')
    print(name, json.dumps(summary, indent=1), file=sys.stdout, flush=True)
