"""The words of the page of `grid`: what it shows, in sentences and a table."""

from collections.abc import Sequence
from html import escape

import numpy as np

from aureole.report import style, words
from aureole.report.grid_runs import Run


def sentences(rows: Sequence[Sequence[Run]]) -> list[str]:
    """What the page shows: which method found more on each network, and which network allows more."""
    said = []
    for row in rows:
        first, *others = sorted(row, key=lambda run: -float(run.record.result["size"]))
        best = float(first.record.result["size"])
        if best <= 0:
            said.append(f"{first.network}: nothing was proved in the time given.")
            continue
        ratios = [_ratio(best, run) for run in others]
        compared = f": {' and '.join(ratios)}" if ratios else ""
        said += _twins(row)
        said.append(f"{first.network}: {first.in_prose} proves the largest size, {style.proved(best)}{compared}.")
    largest = {row[0].network: max(float(run.record.result["size"]) for run in row) for row in rows}
    if len(largest) > 1 and max(largest.values()) > 0:
        order = sorted(largest, key=lambda name: -largest[name])
        listed = ", then ".join(f"{name} ({style.proved(largest[name])})" for name in order)
        said.append(f"On this image the networks rank, by the largest size proved: {listed}.")
    return said


def _ratio(best: float, run: Run) -> str:
    size = float(run.record.result["size"])
    if size == best:
        return f"as large as that of {run.in_prose}"
    return f"{best / size:.2g} times that of {run.in_prose}" if size > 0 else f"above 0, unlike that of {run.in_prose}"


def _twins(row: Sequence[Run]) -> list[str]:
    """Why two methods of a row show the same picture."""
    return [
        f"{run.network}: {earlier.in_prose} and {run.in_prose} found the same radii: they differ only in how they "
        "shrink after a failed step, and no shrunk step was proved in the time given."
        for i, run in enumerate(row)
        for earlier in row[:i]
        if np.array_equal(earlier.radii, run.radii) and run.radii.any() and run.is_oracle and earlier.is_oracle
    ]


def html_page(rows: Sequence[Sequence[Run]], picture: str) -> str:
    """The page: what it shows in words, the picture, and a table."""
    head = ("network", "method", "verdict", "size", "largest radius", "object's own radius", "prover calls", "seconds")
    cells = [
        (
            run.network,
            run.method,
            run.record.result["verdict"],
            style.proved(run.record.result["size"]),
            style.proved(run.radii.max()),
            style.proved(run.radii[0]),
            str(sum(run.record.result["calls"].values())),
            f"{run.record.result['seconds']:.1f}",
        )
        for row in rows
        for run in row
    ]
    table = "\n".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in cells)
    title = f"Layer neighborhoods: {words.survives(rows[0][0].record.config)}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<style>body {{ font-family: sans-serif; max-width: 80em; margin: 2em auto; color: {style.INK} }}
img {{ max-width: 100% }}
td, th {{ padding: 0.2em 0.9em; text-align: left }} tr:nth-child(even) {{ background: #f3f3f3 }}
</style></head><body>
<h1>{escape(title)}</h1>
{"".join(f"<p>{escape(sentence)}</p>" for sentence in sentences(rows))}
<img src="{escape(picture)}" alt="Heat maps of the radius of every pixel, per network and method">
<table><tr>{"".join(f"<th>{escape(word)}</th>" for word in head)}</tr>
{table}
</table></body></html>
"""
