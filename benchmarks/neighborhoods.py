"""The methods on the author's 90 cases with a time limit each: sizes, times and time lines."""

import argparse
import statistics
from itertools import islice

from aureole.core import Budget, Verdict
from aureole.neighborhood import maximize
from benchmarks.cases import NETWORKS, cases, write

ALL = slice(None)


def main(
    methods: list[str], seconds: float, query_seconds: float, bands: tuple[int, ...] | None = None, which: slice = ALL
) -> None:
    suffix = ("" if bands is None else "_bands") + ("" if which == ALL or bands is not None else "_sample")
    for method in methods:
        rows = []
        for case in islice(cases(), which.start, which.stop, which.step):
            problem = case.problem(bands=bands)
            found = maximize(problem, method, budget=Budget.seconds(seconds), query_seconds=query_seconds)
            if found.interrupted:
                raise KeyboardInterrupt
            rows.append({
                "network": case.network, "image": case.author.scene.name, "verdict": found.verdict,
                "size": round(found.size, 5), "largest": round(float(found.radii.max()), 5),
                "smallest": round(float(found.radii.min()), 5), "proof": found.proof, "maximal": found.maximal,
                "open": None if found.open_rings is None else len(found.open_rings),
                "seconds": round(found.seconds, 2), "calls": dict(found.calls),
                "timeline": [[round(t, 2), round(s, 4)] for t, s in found.timeline],
                "radii": [round(r, 5) for r in found.radii.tolist()],
                "upper bound": found.upper_bound and round(found.upper_bound, 5),
                "gap": None if found.gap is None else round(found.gap, 4),
            })  # fmt: skip
        summary = {
            "limit s": seconds, "query limit s": query_seconds,
            "proved": sum(row["verdict"] == Verdict.ROBUST and row["largest"] > 0 for row in rows),
            "median s": statistics.median(row["seconds"] for row in rows),
        }  # fmt: skip
        for network in NETWORKS:
            sizes = [row["size"] for row in rows if row["network"] == network]
            summary[f"median size, {network}"] = round(statistics.median(sizes), 4) if sizes else None
        gaps = [row["gap"] for row in rows if row["gap"] is not None]
        if gaps:
            summary["gap median"], summary["gap within 5 %"] = statistics.median(gaps), sum(gap <= 0.05 for gap in gaps)
        if bands is not None:
            summary["bands from"] = list(bands)
        write(f"neighborhoods_{method}{suffix}", summary, rows)


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def a_slice(text: str) -> slice:
    return slice(*(int(part) if part else None for part in text.split(":")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=["uniform", "oracle"])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--query-seconds", type=float, default=3.0)
    parser.add_argument("--bands", type=numbers, help="the first ring of each band, e.g. 0,1,4,16")
    parser.add_argument("--cases", type=a_slice, default=ALL, help="which of the 90, as a slice, e.g. 0:90:17")
    arguments = parser.parse_args()
    main(arguments.methods, arguments.seconds, arguments.query_seconds, arguments.bands, arguments.cases)
