"""How the methods' sizes grow over time: median and quartiles over many cases, from stored timelines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from aureole.core.errors import InputError
from aureole.core.files import write_bytes
from aureole.report import panels, style
from aureole.report.page import picture_bytes

Timeline = Sequence[Sequence[float]]
"""(seconds, best size proved by then) of every improvement, as in a neighborhood's result."""

_FIRST = 0.1  # seconds: where the axis begins


@dataclass(frozen=True)
class Runs:
    """One method on the cases of one network.

    timelines: one per case
    limit:     the seconds that each case could take: nothing is known beyond
    """

    timelines: tuple[Timeline, ...]
    limit: float


def size_at(timeline: Timeline, times: np.ndarray) -> np.ndarray:
    """The best size proved by each time; 0 before the first proof."""
    if not len(timeline):
        return np.zeros(len(times))
    seconds, sizes = np.array(timeline, dtype=float).T
    best = np.concatenate([[0.0], np.maximum.accumulate(sizes)])
    return np.asarray(best[np.searchsorted(seconds, times, side="right")])


def quartiles(timelines: Sequence[Timeline], times: np.ndarray) -> np.ndarray:
    """The lower quartile, the median and the upper quartile of the sizes at each time, shape (3, times)."""
    sizes = np.stack([size_at(timeline, times) for timeline in timelines])
    return np.asarray(np.quantile(sizes, [0.25, 0.5, 0.75], axis=0))


def draw_timelines(groups: Mapping[str, Mapping[str, Runs]], path: Path) -> None:
    """Draw one panel per network with one curve per method; all panels have the same axes.

    groups: network -> method -> its runs, every method of a network on the same cases
    path:   of the PNG
    InputError when there is nothing to draw, or when the disk refuses.
    """
    sizes = [size for runs in groups.values() for run in runs.values() for line in run.timelines for _, size in line]
    norm = panels.radius_norm(np.array(sizes))
    if norm is None:
        raise InputError("no timeline shows a proved size; pass results of neighborhood benchmarks")
    longest = max(run.limit for runs in groups.values() for run in runs.values())
    width, height, side = 0.95 + 4.1 * len(groups) + 0.25, 5.6, 3.75
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(
        0.3 / width, 1 - 0.35 / height, "Size proved so far, by method", fontsize=14, fontweight="bold", va="top",
        color=style.INK,
    )  # fmt: skip
    figure.text(
        0.3 / width, 1 - 0.7 / height, "Lines: the median over the cases; bands: the middle half of them. Higher and "
        "further left is better.", fontsize=10, va="top", color=style.FAINT,
    )  # fmt: skip
    for i, (network, runs) in enumerate(groups.items()):
        axes = figure.add_axes(((0.95 + 4.1 * i) / width, 0.95 / height, side / width, 3.25 / height))
        _panel(axes, runs, norm, longest, label=i == 0)
        counts = {len(run.timelines) for run in runs.values()}
        style.heading(axes, network, f"{max(counts)} cases")
    _legend(figure, [method for runs in groups.values() for method in runs])
    write_bytes(path, picture_bytes(figure, "png"))


def _panel(axes: Axes, runs: Mapping[str, Runs], norm: LogNorm, longest: float, *, label: bool) -> None:
    style.plot_frame(axes)
    foot = panels.log_axis_with_zero(axes, norm)
    for method, run in runs.items():
        times = np.geomspace(_FIRST, max(run.limit, 2 * _FIRST), 400)
        low, middle, high = np.maximum(quartiles(run.timelines, times), foot)
        colour = style.look(method).colour
        axes.fill_between(times, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(times, middle, color=colour, linewidth=2)
        axes.plot(times[-1], middle[-1], color=colour, marker="o", markersize=4)
    axes.set_xscale("log")
    ticks = [t for t in (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000) if _FIRST <= t <= longest]
    axes.set_xticks(ticks, labels=[f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_xlim(_FIRST, longest * 1.1)
    axes.set_xlabel("seconds (log scale); a dot ends the time given", fontsize=9)
    if label:
        axes.set_ylabel("size: weighted sum of the proved radii\n(log scale; 0: nothing proved yet)", fontsize=9)


def _legend(figure: Figure, methods: Sequence[str]) -> None:
    shown = dict.fromkeys(methods)
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=style.look(method).colour, linewidth=2, label=style.look(method).label) for method in shown
    ]
    figure.legend(handles=handles, loc="lower left", ncol=len(handles), frameon=False, fontsize=9.5)
