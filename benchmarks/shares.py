"""What each stage of the prover settles on the hard band and what it costs, as a table in PERFORMANCE.md.

Reads the results of `hard_band`; run that first.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from aureole.core import Verdict, Why
from aureole.verify import COMPLETE
from benchmarks.cases import RESULTS
from benchmarks.hard_band import result_name

PAGE = Path(__file__).parents[1] / "PERFORMANCE.md"
BEGIN, END = "<!-- benchmarks.shares writes from here -->", "<!-- to here -->"
ORDER = ["center of the box", *dict.fromkeys(stage.name for stage in COMPLETE.stages)]


def main(method: str = "complete", solver: str = "highs") -> None:
    content = json.loads((RESULTS / f"{result_name(method, solver)}.json").read_text())
    rows = content["rows"]
    if any("stages" not in row for row in rows):
        raise SystemExit("the results hold no seconds by stage; run benchmarks.hard_band again")
    text = f"{content['machine']['date']}, `hard_band` ({len(rows)} queries):\n\n{table(rows)}"
    before, _, rest = PAGE.read_text().partition(BEGIN)
    if not rest:
        raise SystemExit(f"{PAGE} has no line {BEGIN}")
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    print(text)


def table(rows: list[dict[str, Any]]) -> str:
    """One line per stage, in the order in which they are asked; a stage that ran twice on a query counts once."""
    lines = [
        "| stage | asked | proved | broken | s per query, median | longest | s in all |",
        "|---|---|---|---|---|---|---|",
    ]
    known = {stage for row in rows for stage in (settled_by(row), *row["stages"])} - {""}
    for stage in sorted(known, key=lambda stage: ORDER.index(stage) if stage in ORDER else len(ORDER)):
        spent = [row["stages"][stage] for row in rows if stage in row["stages"]]
        mine = [row["verdict"] for row in rows if settled_by(row) == stage]
        counts = f"{mine.count(Verdict.ROBUST)} | {mine.count(Verdict.VULNERABLE)}"
        cost = f"{statistics.median(spent):.3f} | {max(spent):.2f} | {sum(spent):.1f}" if spent else "- | - | -"
        lines.append(f"| {stage} | {len(spent) or len(rows)} | {counts} | {cost} |")
    left = [row["seconds"] for row in rows if not settled_by(row)]
    lines.append(
        f"| open at the end | {len(left)} | - | - | - | {max(left, default=0.0):.2f} | ({sum(left):.1f} of these) |"
    )
    return "\n".join(lines)


def settled_by(row: dict[str, Any]) -> str:
    """The stage that decided a query; empty when none did."""
    if row["verdict"] == Verdict.UNKNOWN:
        return ""
    if not row["stages"]:
        return "center of the box"
    return "screen" if row["why"] == Why.BOUNDS and "bounds" not in row["stages"] else row["why"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="complete")
    parser.add_argument("--solver", default="highs")
    main(**vars(parser.parse_args()))
