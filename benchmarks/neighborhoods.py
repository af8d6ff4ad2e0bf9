"""The methods on the author's 90 cases with a time limit each: sizes, times and time lines."""

import argparse
import statistics

from aureole.core import Budget, Verdict
from aureole.neighborhood import maximize
from benchmarks.cases import NETWORKS, cases, write


def main(methods: list[str], seconds: float, query_seconds: float) -> None:
    for method in methods:
        rows = []
        for case in cases():
            found = maximize(case.problem(), method, budget=Budget.seconds(seconds), query_seconds=query_seconds)
            if found.interrupted:
                raise KeyboardInterrupt
            rows.append({
                "network": case.network, "image": case.author.scene.name, "verdict": found.verdict,
                "size": round(found.size, 5), "largest": round(float(found.radii.max()), 5),
                "smallest": round(float(found.radii.min()), 5), "proof": found.proof, "maximal": found.maximal,
                "seconds": round(found.seconds, 2), "calls": dict(found.calls),
                "timeline": [[round(t, 2), round(s, 4)] for t, s in found.timeline],
            })  # fmt: skip
        summary = {
            "limit s": seconds, "query limit s": query_seconds,
            "proved": sum(row["verdict"] == Verdict.ROBUST and row["largest"] > 0 for row in rows),
            "median s": statistics.median(row["seconds"] for row in rows),
        }  # fmt: skip
        for network in NETWORKS:
            sizes = [row["size"] for row in rows if row["network"] == network]
            summary[f"median size, {network}"] = round(statistics.median(sizes), 4) if sizes else None
        write(f"neighborhoods_{method}", summary, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=["uniform", "oracle"])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--query-seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    main(arguments.methods, arguments.seconds, arguments.query_seconds)
