"""MuLLoC's task: where every label stands, on the author's 30 images x 2 networks x k = 2, 3 x five radii.

One line per classification of all ten labels of one image, network, k and radius; the limit is for that line, all
labels together. The lines are written as they come to results/labels.jsonl, and a run goes on after the last one.
"""

import argparse
import json
import statistics
from collections import Counter
from itertools import product

from aureole.core import Budget, Region
from aureole.verify import Standing, classify_labels
from benchmarks.cases import RESULTS, cases, write

NETWORKS = ("dmnist-noDef-x2", "dmnist-noDef-x3")
RADII = (1e-4, 1e-3, 1e-2, 0.05, 0.2)
KEYS = ("network", "image", "k", "radius")


def main(seconds: float = 60.0, every: int = 1, radii: tuple[float, ...] = RADII) -> None:
    """every: take each so many-th image only, for a look; its lines go to another file."""
    name = "labels" if every == 1 and radii == RADII else "labels_sample"
    place = RESULTS / f"{name}.jsonl"
    place.parent.mkdir(exist_ok=True)
    rows = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
    done = {tuple(row[key] for key in KEYS) for row in rows}
    for number, case in enumerate(cases(NETWORKS)):
        if number % every:
            continue
        for k, radius in product((2, 3), radii):
            if (case.network, case.author.scene.name, k, radius) in done:
                continue
            region = Region.ball(case.author.scene.image, radius)
            found = classify_labels(case.graph, region, k, budget=Budget.seconds(seconds))
            rows.append({
                "network": case.network, "image": case.author.scene.name, "k": k, "radius": radius,
                "settled": found.settled, "seconds": round(found.seconds, 3),
                "standing": [str(answer.standing) for answer in found.answers],
                "why": [str(answer.deciding.why) for answer in found.answers],
                "bound": [_rounded(answer.deciding.margin_bound) for answer in found.answers],
                "seen": [_rounded(answer.deciding.margin_seen) for answer in found.answers],
            })  # fmt: skip
            with place.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(*list(rows[-1].values())[:6], flush=True)
    write(name, summary(rows, seconds), rows)
    place.unlink()


def summary(rows: list[dict], seconds: float) -> dict:
    """Shares of labels settled, in all and per network and radius, and times per classification."""
    labels = Counter(standing for row in rows for standing in row["standing"])
    times = sorted(row["seconds"] for row in rows)
    by_part = {}
    for network, radius in sorted({(row["network"], row["radius"]) for row in rows}):
        part = [row for row in rows if (row["network"], row["radius"]) == (network, radius)]
        total = sum(len(row["standing"]) for row in part)
        by_part[f"{network}, {radius:g}"] = {
            "settled %": round(100 * sum(row["settled"] for row in part) / total, 2),
            "median s": round(statistics.median(row["seconds"] for row in part), 3),
        }
    return {
        "limit s, all labels of an image": seconds, "classifications": len(rows), "labels": labels.total(),
        "settled %": round(100 * (1 - labels[Standing.UNKNOWN] / labels.total()), 2), "standing": dict(labels),
        "contradictions": contradictions(rows), "median s": round(statistics.median(times), 3),
        "90th percentile s": times[int(0.9 * (len(times) - 1))], "longest s": times[-1],
        "all s": round(sum(times), 1), "by network and radius": by_part,
    }  # fmt: skip


def contradictions(rows: list[dict]) -> int:
    """Labels proved in or out at a radius above one where they were found to be both, or proved the other."""
    found = 0
    for small, large in product(rows, rows):
        if all(small[key] == large[key] for key in KEYS[:3]) and small["radius"] < large["radius"]:
            for before, after in zip(small["standing"], large["standing"], strict=True):
                proved = after in (Standing.IN, Standing.OUT)
                found += proved and before not in (after, Standing.UNKNOWN)
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=int, default=1, help="take each so many-th image only")
    parser.add_argument("--radii", type=float, nargs="*", default=RADII)
    arguments = parser.parse_args()
    main(arguments.seconds, arguments.every, tuple(arguments.radii))
