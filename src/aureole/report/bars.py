"""The bar chart: one radius per ring, and how far from there an image is known to fail."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from aureole.report import style
from aureole.report.panels import log_ticks, radius_colours, radius_norm
from aureole.report.words import band_names


def ring_bars(
    axes: Axes,
    radii: np.ndarray,
    limits: Mapping[int, float],
    capped: Collection[int],
    unknown: Collection[int],
    bands: Sequence[Sequence[int]] | None = None,
) -> None:
    """One bar per ring in the colours of the ring map.

    limits:  of rings with a witness, the radius at which it lies: the bracket from the ring's radius to there is drawn
    capped:  rings at the largest radius worth having
    unknown: rings that might grow to their caps, for all that is known; counted in words if they are most of the rings
    bands:   the first and the last ring of each bar, when bars stand for bands of rings
    """
    rings = np.arange(len(radii))
    floor = _scale(axes, radii, limits)
    norm, colours = radius_norm(radii), radius_colours()
    fill = [style.ZERO if norm is None or r == 0 else colours(norm(r)) for r in radii]
    stub = floor * _ZERO_STUB if floor else axes.get_ylim()[1] * _LINEAR_STUB
    heights = np.where(radii > 0, radii, stub)
    axes.bar(rings, heights, width=0.82, color=fill, edgecolor="#444444", linewidth=0.5, zorder=2)
    top = axes.get_ylim()[1]
    for ring, limit in sorted(limits.items()):
        radius = float(radii[ring])
        if radius > 0:
            _bracket(axes, ring, radius, limit)
        else:  # on a log axis it may end below the block that stands for 0
            _bracket(axes, ring, stub, max(limit, stub * 1.15))
    for ring in sorted(capped):
        axes.annotate("▲", (ring, min(heights[ring], top)), ha="center", va="bottom", fontsize=8, color=style.INK)
    for ring in () if _mostly(unknown, radii) else sorted(unknown):
        axes.annotate("?", (ring, heights[ring]), ha="center", va="bottom", fontsize=9, color=style.INK)
    axes.set_ylabel("radius: allowed change of a pixel\n(0 = none, 1 = black to white)", fontsize=9)
    ring_axis(axes, len(radii), bands)
    style.plot_frame(axes)
    _legend(axes, radii, limits, capped, unknown, "rings" if bands is None else "bands")


def ring_axis(axes: Axes, count: int, bands: Sequence[Sequence[int]] | None) -> None:
    """The horizontal axis of a chart with one bar per ring or band, named in words."""
    axes.set_xlim(-0.8, count - 0.2)
    if bands is None:
        axes.set_xlabel("ring: distance from the object in pixels (ring 0 is the object itself)", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=25, steps=[1, 2, 5, 10], integer=True))
    else:
        axes.set_xlabel("band of rings (ring d: the pixels at distance d from the object)", fontsize=9)
        axes.set_xticks(range(count), labels=band_names(bands))


_ZERO_STUB = 0.75  # of the log axis's floor: the top of the little block that stands for radius 0
_LINEAR_STUB = 0.012  # the same little block on a linear axis, as a part of its height
_ZERO_BASE = 0.55  # of the floor: where the axis begins


def _scale(axes: Axes, radii: np.ndarray, limits: Mapping[int, float]) -> float:
    """Set the vertical axis; returns the log axis's floor, 0.0 for a linear axis."""
    positive = radii[radii > 0]
    top = max(float(radii.max(initial=0.0)), *limits.values(), 1e-3)
    if positive.size == 0 or top <= style.WIDE * positive.min():
        axes.set_ylim(0, top * 1.18)
        return 0.0
    floor = float(positive.min()) / 1.2
    from_zero = [limit for ring, limit in limits.items() if radii[ring] == 0]
    if from_zero:  # room for the brackets that begin at 0, unless that would squeeze everything else
        floor = min(floor, max(min(from_zero) / 1.2, floor / 10))
    axes.set_yscale("log")
    norm = radius_norm(radii)
    assert norm is not None
    log_ticks(axes.yaxis, norm)
    if not (radii == 0).any():
        axes.set_ylim(floor, top * 1.6)
        return floor
    base, top = floor * _ZERO_BASE, top * 1.6
    axes.set_ylim(base, top)
    ticks = [t for t in axes.yaxis.get_major_locator().tick_values(floor, top) if floor <= t <= top]
    axes.yaxis.set_major_locator(FixedLocator([base, *ticks]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: "0" if value <= base * 1.001 else f"{value:.3g}")
    return floor


def _mostly(unknown: Collection[int], radii: np.ndarray) -> bool:
    return 2 * len(unknown) > len(radii)


def _bracket(axes: Axes, ring: int, low: float, high: float) -> None:
    axes.plot([ring, ring], [low, high], color=style.VERDICTS["VULNERABLE"], linewidth=1.3, zorder=3)
    axes.plot([ring - 0.3, ring + 0.3], [high, high], color=style.VERDICTS["VULNERABLE"], linewidth=1.6, zorder=3)


def _legend(
    axes: Axes,
    radii: np.ndarray,
    limits: Mapping[int, float],
    capped: Collection[int],
    unknown: Collection[int],
    what: str,
) -> None:
    handles: list[Line2D | Patch] = []
    if limits:
        colour = style.VERDICTS["VULNERABLE"]
        handles.append(
            Line2D([], [], color=colour, marker="_", markersize=9, linewidth=0, markeredgewidth=1.8,
                   label="here an image fails, the other radii as they are")
        )  # fmt: skip
    if capped:
        label = "any change is allowed" if all(radii[d] >= 1 for d in capped) else "at the largest radius asked for"
        handles.append(Line2D([], [], color=style.INK, marker="^", markersize=6, linewidth=0, label=label))
    if _mostly(unknown, radii):
        count = f"{len(unknown)} of {len(radii)}" if len(unknown) < len(radii) else f"all {len(radii)}"
        label = f"{count} {what}: no failing image known"
        handles.append(Line2D([], [], linewidth=0, label=label))
    elif unknown:
        handles.append(
            Line2D([], [], color=style.INK, marker="$?$", markersize=7, linewidth=0, label="no failing image known")
        )
    if (radii == 0).any():
        handles.append(Patch(facecolor=style.ZERO, edgecolor="#444444", label="radius 0"))
    if handles:
        axes.legend(
            handles=handles,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncol=len(handles),
            frameon=False,
            fontsize=9,
            handletextpad=0.5,
            columnspacing=1.8,
        )
