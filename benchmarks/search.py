"""Our branch and bound against the MILP alone, after the same bounds, in turns: what bounds and ranges leave open.

Reads which ones from the results of `hard_band`; run that first.
"""

import argparse

from aureole.core import Budget, Region, Verdict
from aureole.verify import Portfolio, prove
from aureole.verify.blocks import Blocks
from aureole.verify.stages import Climb, Milp, Screen
from benchmarks.cases import in_turns, write
from benchmarks.hard_band import reaching

WAYS = {"branch and bound": Blocks(), "MILP": Milp()}


def main(seconds: float = 10.0) -> None:
    rows = []
    for case, radius in reaching("blocks"):
        row = {"network": case.network, "image": case.author.scene.name, "radius": radius}
        for name, stage in WAYS.items():
            region, budget = Region.ball(case.author.scene.image, radius), Budget.seconds(seconds)
            answer = prove(case.graph, region, case.spec, Portfolio((Screen(), Climb(), stage)), budget=budget)
            row[name], row[f"{name} s"] = answer.verdict, round(answer.stage_seconds.get(stage.name, 0.0), 3)
        rows.append(row)
        print(*row.values(), flush=True)
    both = [row for row in rows if all(row[name] != Verdict.UNKNOWN for name in WAYS)]
    spent = {name: sum(row[f"{name} s"] for row in both) for name in WAYS}
    summary = {
        **in_turns(rows, WAYS, seconds),
        "settled by both": len(both), "seconds on these": {name: round(s, 1) for name, s in spent.items()},
        "ratio": round(spent["MILP"] / max(spent["branch and bound"], 1e-9), 2),
    }  # fmt: skip
    write("search", summary, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    main(parser.parse_args().seconds)
