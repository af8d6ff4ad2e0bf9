"""The 360 queries of the hard band: 90 cases x uniform radius 0.004, 0.006, 0.008, 0.010, 10 s each.

With --networks the same images and radii on others, where these have both labels in their top 2. With --nested the
largest radius comes first, and each answer's hints are offered to the next.
"""

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product

from aureole.core import Budget, Region, Verdict
from aureole.verify import PORTFOLIOS, SOLVERS, portfolio, prove
from benchmarks.cases import NETWORKS, RESULTS, Case, cases, write

RADII = (0.004, 0.006, 0.008, 0.010)


def main(
    seconds: float = 10.0,
    method: str = "complete",
    solver: str = "highs",
    networks: Sequence[str] = NETWORKS,
    nested: bool = False,
) -> None:
    rows, stages = [], portfolio(method, solver)
    for case in cases(networks):
        top = case.graph.replay(case.author.scene.image).topk(2).indices
        if set(top.tolist()) != set(case.author.scene.labels):
            continue
        hints = None
        for radius in reversed(RADII) if nested else RADII:
            region = Region.ball(case.author.scene.image, radius)
            answer = prove(
                case.graph,
                region,
                case.spec,
                stages,
                budget=Budget.seconds(seconds),
                hints=hints,
            )
            hints = answer.hints if nested else None
            rows.append({
                "network": case.network, "image": case.author.scene.name, "radius": radius,
                "verdict": answer.verdict, "why": answer.why, "seconds": round(answer.seconds, 3),
                "bound": answer.margin_bound, "seen": answer.margin_seen,
                "stages": {stage: round(spent, 4) for stage, spent in answer.stage_seconds.items()},
            })  # fmt: skip
    settled = sum(row["verdict"] != Verdict.UNKNOWN for row in rows)
    times = [row["seconds"] for row in rows]
    by_stage: dict[str, dict[str, float]] = {}
    for row in rows:
        stage = by_stage.setdefault(f"{row['verdict']} by {row['why']}", Counter())
        stage["queries"] += 1
        stage["seconds"] = round(stage["seconds"] + row["seconds"], 2)
    summary = {
        "queries": len(rows), "settled": settled, "settled %": round(100 * settled / len(rows), 2),
        "contradictions": contradictions(rows),
        "median s": round(statistics.median(times), 3), "all s": round(sum(times), 1), "by stage": by_stage,
    }  # fmt: skip
    write(result_name(method, solver, networks) + "_nested" * nested, summary, rows)


def result_name(method: str, solver: str, networks: Sequence[str] = NETWORKS) -> str:
    """The name of a run's results."""
    words = (method, solver, *(() if networks == NETWORKS else networks))
    return "_".join(["hard_band", *(word for word in words if word not in ("complete", "highs"))])


def reaching(stage: str) -> Iterator[tuple[Case, float]]:
    """The queries that came to a stage, by the stored results: cases and radii."""
    wanted = {
        (row["network"], row["image"], row["radius"])
        for row in json.loads((RESULTS / "hard_band.json").read_text())["rows"]
        if stage in row["stages"]
    }
    for case, radius in product(cases(), RADII):
        if (case.network, case.author.scene.name, radius) in wanted:
            yield case, radius


def contradictions(rows: list[dict]) -> int:
    """ROBUST at a radius above one that is VULNERABLE: one of the two would be wrong."""
    count = 0
    for row in rows:
        if row["verdict"] == Verdict.ROBUST:
            same = [r for r in rows if (r["network"], r["image"]) == (row["network"], row["image"])]
            count += sum(r["verdict"] == Verdict.VULNERABLE and r["radius"] < row["radius"] for r in same)
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--method", choices=PORTFOLIOS, default="complete")
    parser.add_argument("--solver", choices=SOLVERS, default="highs")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--nested", action="store_true")
    arguments = parser.parse_args()
    main(arguments.seconds, arguments.method, arguments.solver, arguments.networks, arguments.nested)
