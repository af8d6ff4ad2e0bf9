"""The 49 ONNX + VNN-LIB instances of AUREOLE_DATA/vnnlib, 60 s each, against the answers that other tools agree on."""

import argparse
import csv
import statistics
import time
from collections import Counter

import torch

from aureole.cli.verify import read_property
from aureole.core import Budget
from aureole.core.places import data_root
from aureole.nets import load_onnx
from aureole.verify import Decision, decide
from benchmarks.cases import write


def main(seconds: float = 60.0) -> None:
    torch.set_num_threads(1)
    folder, rows = data_root(None) / "vnnlib", []
    for label in csv.DictReader((folder / "labels.csv").read_text().splitlines()):
        start = time.monotonic()
        budget = Budget.seconds(seconds)
        network = load_onnx(folder / label["onnx"])
        question = read_property(folder / label["vnnlib"])
        found = decide(network.graph, question, network.image, network.flat, budget=budget)
        if found.witness is not None and not question.violated(network.flat(found.witness), found.scores):
            raise AssertionError(f"the witness of {label['vnnlib']} is none")
        rows.append({
            "onnx": label["onnx"], "vnnlib": label["vnnlib"], "expected": label["expected"],
            "found": found.decision, "why": dict(found.why), "seconds": round(time.monotonic() - start, 3),
            "detail": found.detail,
        })  # fmt: skip
        print(*rows[-1].values(), flush=True)
    settled = [row for row in rows if row["found"] in (Decision.UNSAT, Decision.SAT)]
    times = [row["seconds"] for row in rows]
    summary = {
        "queries": len(rows), "settled": len(settled), "wrong": sum(r["found"] != r["expected"] for r in settled),
        "by stage": dict(sum((Counter(row["why"]) for row in settled), Counter())),
        "median s": round(statistics.median(times), 3), "longest s": max(times), "all s": round(sum(times), 1),
        "limit s": seconds,
    }  # fmt: skip
    write("vnnlib", summary, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    main(parser.parse_args().seconds)
