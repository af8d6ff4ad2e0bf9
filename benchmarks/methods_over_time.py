"""The picture of methods over time (docs/pictures), from the results of `python -m benchmarks.neighborhoods`."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aureole.core import InputError
from aureole.report.timelines import Runs, draw_timelines
from benchmarks.cases import RESULTS

PICTURE = Path(__file__).parents[1] / "docs/pictures/methods-over-time.png"


def read(path: Path) -> tuple[list[dict[str, Any]], float]:
    """The rows of a result file and their time limit; `.jsonl` holds one row per line (`aureole neighborhoods`)."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows = [row | {"image": f"{row['scene']} {row['target']} {row['object']}"} for row in rows if "timeline" in row]
        return rows, max(row["seconds"] for row in rows)
    content = json.loads(path.read_text())
    return content["rows"], content["summary"]["limit s"]


def stored() -> list[Path]:
    """The results of `benchmarks.neighborhoods` on all cases and single rings; radii of bands add up to other sizes."""
    return sorted(
        path for path in RESULTS.glob("neighborhoods_*.json*") if not path.stem.endswith(("_bands", "_sample"))
    )


def method_of(path: Path) -> str:
    """`neighborhoods_oracle-fixed.json` -> `oracle-fixed`."""
    return path.stem.removeprefix("neighborhoods_")


def main(paths: Sequence[Path], picture: Path = PICTURE) -> None:
    tables = {method_of(path): read(path) for path in paths}
    groups: dict[str, dict[str, Runs]] = {}
    for network in dict.fromkeys(row["network"] for rows, _ in tables.values() for row in rows):
        lines = {
            method: {row["image"]: row["timeline"] for row in rows if row["network"] == network}
            for method, (rows, _) in tables.items()
        }
        shared = set.intersection(*(set(images) for images in lines.values()))  # the same cases for every method
        if shared:
            groups[network] = {
                method: Runs(tuple(images[image] for image in sorted(shared)), tables[method][1])
                for method, images in lines.items()
            }
    if not groups:
        raise InputError("the files share no case; pass results of one benchmark with several methods")
    draw_timelines(groups, picture)
    print(picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=stored())
    parser.add_argument("--out", type=Path, default=PICTURE, help="the picture (.png)")
    arguments = parser.parse_args()
    main(arguments.files, arguments.out)
