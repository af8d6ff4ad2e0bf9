"""HiGHS against SCIP on what bounds and ranges leave of the hard band, by the MILP alone, in turns; needs `scip`.

Reads which ones from the results of `hard_band`; run that first.
"""

import argparse
from collections.abc import Sequence

from aureole.core import Budget, Region, Verdict
from aureole.verify import portfolio, prove
from benchmarks.cases import write
from benchmarks.hard_band import reaching


def main(seconds: float = 10.0, solvers: Sequence[str] = ("highs", "scip")) -> None:
    rows = []
    for case, radius in reaching("blocks"):
        region = Region.ball(case.author.scene.image, radius)
        for name in solvers:
            answer = prove(case.graph, region, case.spec, portfolio("milp", name), budget=Budget.seconds(seconds))
            rows.append({
                "network": case.network, "image": case.author.scene.name, "radius": radius, "solver": name,
                "verdict": answer.verdict, "why": answer.why, "milp s": round(answer.stage_seconds.get("milp", 0), 3),
            })  # fmt: skip
            print(*rows[-1].values(), flush=True)
    summary = {}
    for name in solvers:
        mine = [row for row in rows if row["solver"] == name]
        settled = [row for row in mine if row["verdict"] != Verdict.UNKNOWN]
        summary[name] = {
            "queries": len(mine), "settled": len(settled), "MILP s, all": round(sum(r["milp s"] for r in mine), 1),
            "limit s": seconds,
        }  # fmt: skip
    by_query: dict[tuple, list] = {}
    for row in rows:
        by_query.setdefault((row["network"], row["image"], row["radius"]), []).append(row)
    both = [q for q in by_query.values() if all(row["verdict"] != Verdict.UNKNOWN for row in q)]
    summary["settled by all"] = {
        "queries": len(both), "contradictions": sum(len({row["verdict"] for row in q}) > 1 for q in both),
        **{name: round(sum(r["milp s"] for q in both for r in q if r["solver"] == name), 1) for name in solvers},
    }  # fmt: skip
    write("solvers", summary, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    main(parser.parse_args().seconds)
