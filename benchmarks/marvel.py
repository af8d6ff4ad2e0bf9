"""MaRVeL's MNIST networks through ONNX, k = 1: the images of AUREOLE_DATA/marvel that each gets right x uniform radii.

Results are written one by one to `results/marvel.jsonl`; a second run goes on where the first was stopped.
`--seconds` other than before starts anew, and so does a run after one that asked everything.
"""

import argparse
import json
import statistics
import time
from collections import Counter
from typing import Any

import numpy as np
import torch

from aureole.core import Budget, Graph, Region, TopK, Verdict
from aureole.core.graph import taking
from aureole.core.places import data_root
from aureole.nets import load_onnx
from aureole.verify import prove
from benchmarks.cases import RESULTS, write
from benchmarks.hard_band import contradictions

NETWORKS = ("MNIST1", "MNIST2", "MNIST3")
RADII = (0.005, 0.01, 0.02, 0.03, 0.05)
SHAPE = (1, 28, 28)
KEY = ("network", "image", "radius", "limit s")


def main(seconds: float = 10.0, images: int = 100, minutes: float = float("inf")) -> None:
    torch.set_num_threads(1)
    path = RESULTS / "marvel.jsonl"
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {tuple(row[k] for k in KEY) for row in rows}
    folder = data_root(None) / "marvel"
    with np.load(folder / "data" / "mnist_test.npz") as stored:
        pixels = torch.from_numpy(stored["images"] / 255).reshape(-1, *SHAPE)[:images]
        labels = stored["labels"].tolist()
    graphs = {name: taking(load_onnx(folder / "models" / f"{name}.onnx").graph, SHAPE) for name in NETWORKS}
    ends = time.monotonic() + 60 * minutes
    with path.open("a") as file:
        for i, image in enumerate(pixels):  # image by image, so that a run cut short has seen every network
            for name, graph in graphs.items():
                for radius in RADII:
                    if (name, i, radius, seconds) in done or time.monotonic() > ends:
                        continue
                    row = ask(graph, image, labels[i], radius, seconds)
                    if row is not None:
                        rows.append({"network": name, "image": i, "radius": radius, "limit s": seconds, **row})
                        file.write(json.dumps(rows[-1]) + "\n")
                        file.flush()
    summarise([row for row in rows if row["limit s"] == seconds], seconds)
    if time.monotonic() <= ends:
        path.unlink()  # all was asked: another run asks anew


def ask(graph: Graph, image: torch.Tensor, label: int, radius: float, seconds: float) -> dict[str, Any] | None:
    """One answer, its witness checked; None where the network is wrong about the clean image."""
    spec, region = TopK(label, 1), Region.ball(image, radius)
    if float(spec.margin(graph.replay(image))) <= 0:
        return None
    answer = prove(graph, region, spec, budget=Budget.seconds(seconds))
    if answer.witness is not None:
        inside = bool(((answer.witness - image).abs() <= radius).all() and region.contains(answer.witness))
        if not inside or float(spec.margin(graph.replay(answer.witness))) > 0:
            raise AssertionError("the witness is none")
    return {
        "verdict": answer.verdict, "why": answer.why, "seconds": round(answer.seconds, 3),
        "bound": answer.margin_bound, "seen": answer.margin_seen,
    }  # fmt: skip


def summarise(rows: list[dict[str, Any]], seconds: float) -> None:
    times = [row["seconds"] for row in rows]
    settled = [row for row in rows if row["verdict"] != Verdict.UNKNOWN]
    table = {
        f"{name} {radius}": Counter(
            str(row["verdict"]) for row in rows if (row["network"], row["radius"]) == (name, radius)
        )
        for name in NETWORKS
        for radius in RADII
    }
    summary = {
        "queries": len(rows), "images": len({row["image"] for row in rows}), "settled": len(settled),
        "settled %": round(100 * len(settled) / len(rows), 2), "contradictions": contradictions(rows),
        "by stage": Counter(f"{row['verdict']} by {row['why']}" for row in rows),
        "by network": {
            name: f"{sum(r['network'] == name for r in settled)} of {sum(r['network'] == name for r in rows)}"
            for name in NETWORKS
        },
        "by radius": table, "median s": round(statistics.median(times), 3), "all s": round(sum(times), 1),
        "limit s": seconds,
    }  # fmt: skip
    write("marvel", summary, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each query")
    parser.add_argument("--images", type=int, default=100, help="how many of the images")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop asking after so long; resume later")
    arguments = parser.parse_args()
    main(arguments.seconds, arguments.images, arguments.minutes)
