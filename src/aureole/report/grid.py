"""The proposal's figures side by side: one image, a row per network, a column per method, one colour scale for all."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from aureole.core.files import write_bytes
from aureole.core.record import Array
from aureole.report import panels, style, words
from aureole.report.grid_page import html_page
from aureole.report.grid_runs import Run, check_same_question, read_run
from aureole.report.page import save

_COLOURS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7")
_MARKS = ("o", "s", "^", "D")
_SIDE, _GAP, _ROW, _LEFT, _HEAD = 2.35, 0.3, 3.15, 0.95, 3.25  # inches


def draw_grid(folders: Sequence[Sequence[Path]], stem: Path) -> list[Path]:
    """Draw the records in `folders`, one row per network and one column per method; writes PNG, SVG and HTML.

    InputError when a folder holds no neighborhood record, or when the records are not about one and the same question.
    """
    rows = [[read_run(folder) for folder in row] for row in folders]
    check_same_question([run.record for row in rows for run in row])
    pictures = save(_compose(rows), stem)
    page = stem.with_suffix(".html")
    write_bytes(page, html_page(rows, pictures[0].name).encode())
    return [*pictures, page]


def _compose(rows: Sequence[Sequence[Run]]) -> Figure:
    columns, first = len(rows[0]), rows[0][0]
    chart = 1.35 * _SIDE
    width = _LEFT + columns * (_SIDE + _GAP) + 1.25 + chart + 0.35
    height = _HEAD + len(rows) * _ROW + 0.15
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)

    def place(left: float, top: float, wide: float, tall: float) -> Axes:
        return figure.add_axes((left / width, (height - top - tall) / height, wide / width, tall / height))

    config = first.record.config
    mask = first.arrays[Array.MASK].astype(bool)
    target = first.arrays[Array.TARGET_MASK].astype(bool) if Array.TARGET_MASK in first.arrays else None
    image = place(_LEFT, 0.45, 1.75, 1.75)
    panels.outlined(image, first.arrays[Array.IMAGE], target, mask, words.names(config))
    text = (_LEFT + 2.1) / width
    figure.text(
        text, 1 - 0.5 / height, f"How far may pixels around {words.the_object(config)} change\n"
        f"so that {words.survives(config)}?", fontsize=15, fontweight="bold", va="top", color=style.INK,
    )  # fmt: skip
    figure.text(text, 1 - 1.2 / height, _reading(first), fontsize=10, va="top", color=style.FAINT, linespacing=1.5)

    norm = panels.radius_norm(np.concatenate([run.radii for row in rows for run in row]))
    for i, row in enumerate(rows):
        top = _HEAD + i * _ROW
        figure.text(
            0.45 / width, 1 - (top + _SIDE / 2) / height, row[0].network, rotation=90, fontsize=12,
            fontweight="bold", ha="center", va="center", color=style.INK,
        )  # fmt: skip
        for j, run in enumerate(row):
            axes = place(_LEFT + j * (_SIDE + _GAP), top, _SIDE, _SIDE)
            twin = next((earlier for earlier in row[:j] if np.array_equal(earlier.radii, run.radii)), None)
            _heat_map(figure, axes, run, norm, bar=j == columns - 1, twin=twin)
        curves = place(_LEFT + columns * (_SIDE + _GAP) + 1.15, top, chart, _SIDE)
        _curves(curves, row, norm, last=i == len(rows) - 1)
        style.heading(curves, "Radius per ring", "log scale; 0 at the bottom" if norm is not None else "")
    return figure


def _reading(run: Run) -> str:
    config = run.record.config
    what = {"sum": "the weighted sum of its radii", "log": "their weighted geometric mean",
            "min": "the least radius per weight"}[config["objective"]]  # fmt: skip
    return (
        "Every coloured square is a proof: all its pixels may change at once, each by up to its colour's radius\n"
        "(1 = black to white), and the label still survives. Grey pixels may not change at all in that proof.\n"
        "Brighter is more robust; the colours mean the same in all squares. "
        f"Size: {what} ({words.weights(config)} weights).\n"
        f"Oracle: the expanding search of Mour's proposal (2023), with its two ways to shrink a neighborhood that\n"
        f"failed; certificate: this package's own method. About {config['timeout']:g} s each."
    )


def _heat_map(figure: Figure, axes: Axes, run: Run, norm: LogNorm | None, *, bar: bool, twin: Run | None) -> None:
    """One run's square; `twin` is an earlier run of the row that found the same radii."""
    result, values = run.record.result, run.radii[run.arrays[Array.RING_INDEX]]
    picture = axes.imshow(
        np.ma.masked_equal(values, 0.0), cmap=panels.radius_colours(), norm=norm, interpolation="none"
    )
    style.frame(axes)
    style.outline(axes, run.arrays[Array.MASK].astype(bool), style.OBJECT, width=1.0, halo="black")
    if Array.TARGET_MASK in run.arrays:
        style.outline(axes, run.arrays[Array.TARGET_MASK].astype(bool), style.TARGET, width=1.0, halo="black")
    proved = result["verdict"] == "ROBUST"
    note = f"size {style.proved(result['size'])}, {result['seconds']:.1f} s" if proved else "nothing proved in time"
    style.heading(axes, run.method, note if twin is None or not proved else f"{note}; the same radii")
    if bar and norm is not None:
        colours = figure.colorbar(picture, cax=axes.inset_axes((1.04, 0.0, 0.05, 1.0)))
        panels.log_ticks(colours.ax.yaxis, norm)
        panels.below(axes, [Patch(facecolor=style.ZERO, edgecolor="#888888", label="radius 0")])


def _curves(axes: Axes, row: Sequence[Run], norm: LogNorm | None, *, last: bool) -> None:
    """Each method's radii over the rings; a radius of 0 is drawn at the axis's foot."""
    style.plot_frame(axes)
    if norm is None:
        axes.set_yticks([])
        return
    foot = panels.log_axis_with_zero(axes, norm)
    for i, run in enumerate(row):
        heights = np.where(run.radii > 0, run.radii, foot)
        colour, mark = _COLOURS[i % len(_COLOURS)], _MARKS[i % len(_MARKS)]
        wide = 1.1 + 1.6 * (len(row) - 1 - i)  # so that equal curves are seen below each other
        axes.plot(heights, color=colour, marker=mark, markersize=wide + 1.8, linewidth=wide, label=run.method)
    if last:
        axes.set_xlabel("ring: distance from the object", fontsize=9)
        axes.legend(loc="lower right", fontsize=7.5, framealpha=0.85, handlelength=1.6, borderpad=0.3)
