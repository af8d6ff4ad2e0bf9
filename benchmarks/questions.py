"""The proposal's open questions (docs/questions.md): `python -m benchmarks.questions NAME`.

cutting: what the oracle does with each kind of cutting weights: steps asked, failed, shrunk and proved
calls:   calls to the prover and sizes of three methods, from the stored `neighborhoods_*.json`
pairs:   one question about the top 2 against one per pair of rivals, on a sample of the hard band
single:  single-label networks (MaRVeL's, k = 1): certificate beside uniform
"""

import argparse
import itertools
import json
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aureole.core import Answer, Budget, Graph, Region, Rings, Rows, TopK, Verdict
from aureole.core.graph import taking
from aureole.core.places import data_root
from aureole.neighborhood import OBJECTIVES, Problem, maximize, named_weights
from aureole.neighborhood.oracle import Cutting, Oracle
from aureole.neighborhood.prover import Prover
from aureole.nets import load_onnx
from aureole.verify import prove
from benchmarks.cases import NETWORKS, RESULTS, Case, cases, write
from benchmarks.hard_band import RADII
from benchmarks.marvel import NETWORKS as SINGLE_LABEL
from benchmarks.marvel import SHAPE
from benchmarks.neighborhoods import a_slice, numbers

METHODS = ("uniform", "oracle", "certificate")
SECONDS, QUERY_SECONDS = 20.0, 3.0


def chosen(which: slice) -> Iterator[Case]:
    """Some of the 90 cases."""
    return islice(cases(), which.start, which.stop, which.step)


def median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 4) if values else None


@dataclass(frozen=True, eq=False)
class Asked:
    """One call to the prover."""

    radii: Tensor
    answer: Answer
    seconds: float

    @property
    def outcome(self) -> str:
        if self.answer.verdict is Verdict.VULNERABLE:
            return "old witness" if self.answer.margin_seen is None else "witness"
        return "proved" if self.answer.verdict is Verdict.ROBUST else "open"


class Traced(Prover):
    """A prover that remembers what it was asked."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked: list[Asked] = []
        self.begun: list[int] = []  # before which calls a step began

    def check(self, radii: Tensor, *args: Any, **kwargs: Any) -> Answer:
        began = self.budget.spent
        answer = super().check(radii, *args, **kwargs)
        self.asked.append(Asked(radii.clone(), answer, self.budget.spent - began))
        return answer

    def told_apart(self) -> Iterator[tuple[str, Asked, float]]:
        """Each call after the first (the floors): `step` or `shrunk` step, and the part of the growth that is kept."""
        robust, last = self.asked[0].radii, self.asked[0]
        for n, call in enumerate(self.asked[1:], 1):
            shrunk = n not in self.begun
            kept = float((call.radii - robust).sum() / (last.radii - robust).sum()) if shrunk else 1.0
            yield ("shrunk" if shrunk else "step"), call, kept
            robust, last = (call.radii if call.outcome == "proved" else robust), call


@dataclass(frozen=True)
class Watched(Oracle):
    """An oracle that tells a `Traced` prover when a step begins."""

    def _shrink_until_robust(self, prover: Prover, robust: Tensor, target: Tensor, keep: Tensor) -> Tensor:
        assert isinstance(prover, Traced)
        prover.begun.append(len(prover.asked))
        return super()._shrink_until_robust(prover, robust, target, keep)


CUTTINGS: Mapping[str, tuple[Cutting, bool]] = {
    "sensitivity": ("sensitivity", False),
    "fixed": ("fixed", False),
    "flipped": ("flipped", False),
    "sensitivity, moving": ("sensitivity", True),
    "flipped, moving": ("flipped", True),
}
"""Kinds of cutting weights, and whether they move."""


def proved_first(asked: Iterable[Asked]) -> int:
    """How many steps are proved before the first that is not."""
    return sum(1 for _ in itertools.takewhile(lambda call: call.outcome == "proved", asked))


def cutting(which: slice, seconds: float, query_seconds: float, bands: tuple[int, ...] | None) -> None:
    rows = []
    for case in chosen(which):
        problem = case.problem(bands=bands)
        for kind, (weights, moving) in CUTTINGS.items():
            prover = Traced(problem, Budget.seconds(seconds), 0, None, query_seconds)
            found = Watched(weights, moving).run(prover)
            calls = list(prover.told_apart())
            counts = Counter(f"{what} {call.outcome}" for what, call, _ in calls)
            spent: dict[str, float] = Counter()
            for what, call, _ in calls:
                spent[f"{what} {call.outcome}"] += call.seconds
            rows.append({
                "network": case.network, "image": case.author.scene.name, "cutting": kind, "rings": len(problem.rings),
                "size": round(found.size, 5), "seconds": round(found.seconds, 2), "in time": found.seconds < seconds,
                "steps before the first failure": proved_first(call for _, call, _ in calls),
                "calls": dict(counts), "call seconds": {name: round(s, 2) for name, s in spent.items()},
                "trace": " ".join(f"{what}:{call.outcome}:{call.seconds:.2f}" for what, call, _ in calls[:40]),
                "kept": [round(kept, 3) for what, _, kept in calls if what == "shrunk"],
                "radii": [round(r, 6) for r in found.radii.tolist()],
            })  # fmt: skip
            print(rows[-1]["network"], rows[-1]["image"], kind, rows[-1]["size"], dict(counts), flush=True)
    name = "questions_cutting" + ("" if bands is None else "_bands")
    limits = {"limit s": seconds, "query limit s": query_seconds, "bands": bands}
    if (seconds, query_seconds) != (SECONDS, QUERY_SECONDS):
        name += f"_{seconds:g}s_{query_seconds:g}s"
    write(name, limits | about_cutting(rows), rows)


def about_cutting(rows: list[dict[str, Any]]) -> dict[str, Any]:
    places = {(row["network"], row["image"]) for row in rows}
    before = [
        {row["steps before the first failure"] for row in rows if (row["network"], row["image"]) == place}
        for place in places
    ]
    summary: dict[str, Any] = {
        "cases": len(places), "as many steps before the first failure": sum(len(counts) == 1 for counts in before),
        "same radii": same_radii(rows),
    }  # fmt: skip
    sizes = {(row["network"], row["image"], row["cutting"]): row["size"] for row in rows}
    for kind in CUTTINGS:
        mine = [row for row in rows if row["cutting"] == kind]
        ratios = sorted(round(sizes[*place, kind] / sizes[*place, "sensitivity"], 3) for place in places)
        calls: Counter[str] = sum((Counter(row["calls"]) for row in mine), Counter())
        spent: Counter[str] = sum((Counter(row["call seconds"]) for row in mine), Counter())
        summary[kind] = {
            "median size": median([row["size"] for row in mine]), "ended by itself": sum(r["in time"] for r in mine),
            "size to sensitivity's": {"least": ratios[0], "median": median(ratios), "most": ratios[-1]},
            "calls": dict(sorted(calls.items())), "median calls": median([sum(r["calls"].values()) for r in mine]),
            "call seconds": {name: round(s, 1) for name, s in sorted(spent.items())},
            "all s": round(sum(row["seconds"] for row in mine), 1),
            "s outside of calls (weakest points)": round(sum(r["seconds"] for r in mine) - sum(spent.values()), 1),
            "part of the growth kept, median": median([kept for row in mine for kept in row.get("kept", ())]),
        }  # fmt: skip
    return summary


def same_radii(rows: list[dict[str, Any]]) -> dict[str, int]:
    """On how many cases two kinds of weights end with the same radii."""
    radii = {(row["network"], row["image"], row["cutting"]): row["radii"] for row in rows}
    places = {key[:2] for key in radii}
    return {
        f"{a} = {b}": sum(radii[*place, a] == radii[*place, b] for place in places)
        for a, b in itertools.combinations(CUTTINGS, 2)
    }


def calls() -> None:
    rows = []
    stored = {method: json.loads((RESULTS / f"neighborhoods_{method}.json").read_text()) for method in METHODS}
    sizes = {m: {(row["network"], row["image"]): row["size"] for row in stored[m]["rows"]} for m in METHODS}
    for method in METHODS:
        mine = stored[method]["rows"]
        total: Counter[str] = sum((Counter(row["calls"]) for row in mine), Counter())
        verdicts: Counter[str] = Counter()
        for name, count in total.items():
            verdicts[name.split(" by ")[0]] += count
        ratios = [sizes[method][key] / size for key, size in sizes["uniform"].items() if size and key in sizes[method]]
        row = {
            "method": method, "cases": len(mine), "date": stored[method]["machine"]["date"],
            "limit s": stored[method]["summary"]["limit s"],
            "median calls": median([sum(row["calls"].values()) for row in mine]),
            "most calls": max(sum(row["calls"].values()) for row in mine),
            "calls per case": {name: round(n / len(mine), 2) for name, n in sorted(verdicts.items())},
            "of these recalled": round(
                sum(n for name, n in total.items() if name.endswith("an earlier witness")) / len(mine), 2
            ),
            "median s": median([row["seconds"] for row in mine]),
            "median size": {n: median([row["size"] for row in mine if row["network"] == n]) for n in NETWORKS},
            "median ratio to uniform": median(ratios),
        }  # fmt: skip
        rows.append(row)
    beaten = [sizes["certificate"][key] / size for key, size in sizes["oracle"].items() if size]
    summary = {
        "certificate to oracle, median": median(beaten), "least": round(min(beaten), 3),
        "certificate larger": f"{sum(ratio > 1 for ratio in beaten)} of {len(beaten)}",
        "oracle at 0": sum(size == 0 for size in sizes["oracle"].values()),
    }  # fmt: skip
    for row in rows:
        print(json.dumps(row))
    write("questions_calls", summary, rows)


def pairs(which: slice, radii: Sequence[float], query_seconds: float) -> None:
    rows = []
    for case in chosen(which):
        for radius in radii:
            region = Region.ball(case.author.scene.image, radius)
            budget = Budget.seconds(query_seconds)
            answer = prove(case.graph, region, case.spec, budget=budget)
            row = {"network": case.network, "image": case.author.scene.name, "radius": radius,
                   "together": {"verdict": answer.verdict, "why": answer.why, "seconds": round(budget.spent, 3)},
                   "pairs": by_pairs(case.graph, region, case.spec, query_seconds)}  # fmt: skip
            rows.append(row)
            print(json.dumps(row), flush=True)
    write("questions_pairs", {"query limit s": query_seconds} | about_pairs(rows), rows)


def about_pairs(rows: list[dict[str, Any]]) -> dict[str, Any]:
    verdicts = [(row["together"]["verdict"], row["pairs"]["verdict"]) for row in rows]
    groups: dict[str, list[dict[str, Any]]] = {"all": rows}
    for row in rows:
        groups.setdefault(f"{row['together']['verdict']} by {row['together']['why']}", []).append(row)
    summary: dict[str, Any] = {
        "queries": len(rows), "settled together": sum(a != Verdict.UNKNOWN for a, _ in verdicts),
        "settled by pairs": sum(b != Verdict.UNKNOWN for _, b in verdicts),
        "contradictions": sum({a, b} == {Verdict.ROBUST, Verdict.VULNERABLE} for a, b in verdicts),
        "pairs faster": sum(row["pairs"]["seconds"] < row["together"]["seconds"] for row in rows),
    }  # fmt: skip
    for name, some in groups.items():
        summary[name] = {
            "queries": len(some), "asked by pairs": sum(row["pairs"]["queries"] for row in some),
            "asked by pairs, median": median([row["pairs"]["queries"] for row in some]),
            "s together, by pairs": [round(sum(r[way]["seconds"] for r in some), 1) for way in ("together", "pairs")],
            "median s": [median([row[way]["seconds"] for row in some]) for way in ("together", "pairs")],
        }  # fmt: skip
    return summary


def by_pairs(graph: Graph, region: Region, spec: TopK, query_seconds: float) -> dict[str, Any]:
    """One question per set of k rivals: can all of them reach the target? The first witness ends it."""
    every = spec.rows(graph.classes)
    whole, answers = Budget.seconds(), []
    for rivals in itertools.combinations(range(len(every)), spec.k):
        question = Rows(every[list(rivals)], torch.zeros(spec.k, dtype=torch.float64), spec.k)
        answer = prove(graph, region, question, budget=Budget.seconds(query_seconds))
        answers.append(answer.verdict)
        if answer.verdict is Verdict.VULNERABLE:
            assert answer.witness is not None
            if float(spec.margin(graph.replay(answer.witness))) > 0:
                raise AssertionError("a pair's witness does not break the whole spec")
            break
    worst = next((v for v in (Verdict.VULNERABLE, Verdict.UNKNOWN) if v in answers), Verdict.ROBUST)
    return {"verdict": worst, "queries": len(answers), "open": answers.count(Verdict.UNKNOWN),
            "seconds": round(whole.spent, 3)}  # fmt: skip


def single(images: int, seconds: float, query_seconds: float, objective: str) -> None:
    torch.set_num_threads(1)
    folder, rows = data_root(None) / "marvel", []
    with np.load(folder / "data" / "mnist_test.npz") as stored:
        pixels = torch.from_numpy(stored["images"] / 255).reshape(-1, *SHAPE)
        labels = stored["labels"].tolist()
    for name in SINGLE_LABEL:
        graph = taking(load_onnx(folder / "models" / f"{name}.onnx").graph, SHAPE)
        right = (i for i in range(len(pixels)) if int(graph.replay(pixels[i]).argmax()) == labels[i])
        for i in islice(right, images):
            rings = Rings.around(pixels[i, 0] > 0.5)
            spec, weights = TopK(labels[i], 1), named_weights("uniform", rings)
            problem = Problem(graph, pixels[i], rings, spec, weights, objective=objective)
            row: dict[str, Any] = {"network": name, "image": i, "label": labels[i], "rings": len(rings)}
            for method in ("uniform", "certificate"):
                found = maximize(problem, method, budget=Budget.seconds(seconds), query_seconds=query_seconds)
                row[method] = {
                    "size": round(found.size, 5), "seconds": round(found.seconds, 2), "proof": found.proof,
                    "calls": dict(found.calls), "maximal": found.maximal,
                    "radii": [round(r, 5) for r in found.radii.tolist()],
                }  # fmt: skip
            size = row["uniform"]["size"]
            row["ratio"] = round(row["certificate"]["size"] / size, 3) if size else None
            rows.append(row)
            print(json.dumps(row), flush=True)
    name = "questions_single" + ("" if objective == "sum" else f"_{objective}")
    limits = {"limit s": seconds, "query limit s": query_seconds, "objective": objective}
    write(name, limits | about_single(rows), rows)


def about_single(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {"cases": len(rows)}
    for name in SINGLE_LABEL:
        mine = [row for row in rows if row["network"] == name]
        ratios = [row["ratio"] for row in mine if row["ratio"] is not None]
        capped = [sum(radius >= 1 for radius in row["certificate"]["radii"]) for row in mine]
        summary[name] = {
            "median size, uniform": median([row["uniform"]["size"] for row in mine]),
            "median size, certificate": median([row["certificate"]["size"] for row in mine]),
            "ratio": [min(ratios), median(ratios), max(ratios)],
            "rings": median([row["rings"] for row in mine]), "rings at radius 1": median(capped),
            "sum of the radii below 1": median(
                [sum(radius for radius in row["certificate"]["radii"] if radius < 1) for row in mine]
            ),
            "object's radius": {m: median([row[m]["radii"][0] for row in mine]) for m in ("uniform", "certificate")},
        }  # fmt: skip
    return summary


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("cutting", "calls", "pairs", "single"))
    parser.add_argument("--seconds", type=float, help="for each neighborhood: 20 (cutting), 10 (single)")
    parser.add_argument("--query-seconds", type=float, help="for each question to the prover: 3, or 5 (pairs)")
    parser.add_argument("--bands", type=numbers, help="cutting: the first ring of each band, e.g. 0,1,4,16")
    parser.add_argument("--cases", type=a_slice, help="which of the 90: 0:90:15 (cutting), 0:90:6 (pairs)")
    parser.add_argument("--images", type=int, default=5, help="single: of each network")
    parser.add_argument("--objective", choices=OBJECTIVES, default="sum", help="single: what is largest")
    arguments = parser.parse_args()
    match arguments.name:
        case "cutting":
            which = arguments.cases or slice(0, 90, 15)
            cutting(which, arguments.seconds or SECONDS, arguments.query_seconds or QUERY_SECONDS, arguments.bands)
        case "calls":
            calls()
        case "pairs":
            pairs(arguments.cases or slice(0, 90, 6), RADII, arguments.query_seconds or 5.0)
        case "single":
            seconds, query_seconds = arguments.seconds or 10.0, arguments.query_seconds or QUERY_SECONDS
            single(arguments.images, seconds, query_seconds, arguments.objective)
