"""Colours and small drawing helpers shared by every picture.

The named colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which people with the common
colour-vision deficiencies can tell apart.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, SymLogNorm

TARGET = "#E69F00"
OBJECT = "#56B4E9"
ZERO = "#C9C9C9"
INK = "#222222"
FAINT = "#6B6B6B"
PRICE = "#A88FB5"


@dataclass(frozen=True)
class Look:
    """How a method is called in pictures, and its colour."""

    label: str
    colour: str


METHODS: Mapping[str, Look] = {
    "certificate": Look("Certificate", "#009E73"),
    "maximal": Look("Maximal", "#56B4E9"),
    "optimum": Look("Optimum", "#222222"),
    "oracle": Look("Oracle, sensitivity weights", "#0072B2"),
    "oracle-fixed": Look("Oracle, fixed weights", "#E69F00"),
    "oracle-flipped": Look("Oracle, flipped weights", "#CC79A7"),
    "uniform": Look("One radius", "#6B6B6B"),
    "bisection": Look("Ring by ring", "#D55E00"),
}


def look(method: str) -> Look:
    """Of a method; one that is not known here goes by its own name."""
    return METHODS.get(method, Look(method, "#A0522D"))


VERDICTS = {"ROBUST": "#009E73", "VULNERABLE": "#D55E00", "UNKNOWN": "#6B6B6B"}
RADII = "viridis"
SIGNED = "PuOr_r"
WIDE = 10.0
"""From this ratio of the largest to the smallest positive number on, an axis is logarithmic."""


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Draw a (C,H,W) image in [0,1]: grey for one channel, colour for three, the mean of any other number."""
    if image.shape[0] == 3:
        axes.imshow(image.transpose(1, 2, 0), interpolation="none")
    else:
        axes.imshow(image.mean(0), cmap="gray", vmin=0, vmax=1, interpolation="none")
    frame(axes)


def frame(axes: Axes) -> None:
    """No ticks, a thin border: the panel is a picture, not a plot."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="#999999", linewidth=0.6)


def plot_frame(axes: Axes) -> None:
    """Faint horizontal lines behind the bars or curves, and no box around them."""
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)


def heading(axes: Axes, title: str, note: str = "") -> None:
    """A panel's title in bold with one lighter line under it."""
    axes.annotate(
        title,
        (0, 1),
        (0, 18),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=11,
        fontweight="bold",
        color=INK,
    )
    axes.annotate(note, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=9, color=FAINT)


def edges(mask: np.ndarray) -> np.ndarray:
    """The pixel edges between marked and unmarked pixels of an (H,W) mask, as (edges, 2, 2) segments of x and y."""
    padded = np.pad(mask.astype(bool), 1)
    rows, columns = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    flat = np.stack([np.stack([columns - 0.5, rows - 0.5], 1), np.stack([columns + 0.5, rows - 0.5], 1)], 1)
    rows, columns = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    upright = np.stack([np.stack([columns - 0.5, rows - 0.5], 1), np.stack([columns - 0.5, rows + 0.5], 1)], 1)
    return np.concatenate([flat, upright])


def outline(axes: Axes, mask: np.ndarray, colour: str, width: float = 1.8, halo: str | None = None) -> None:
    """Draw the border of an (H,W) mask along its pixel edges; a halo keeps it readable on any background."""
    segments = list(edges(mask))
    if halo is not None:
        axes.add_collection(LineCollection(segments, colors=halo, linewidths=width + 1.6, capstyle="round"))
    axes.add_collection(LineCollection(segments, colors=colour, linewidths=width, capstyle="round"))


def signed_norm(values: np.ndarray) -> Normalize:
    """A colour scale symmetrical around 0; logarithmic away from 0 when a linear one would hide most changes."""
    size = np.abs(values)
    top = float(size.max()) or 1.0
    changed = size[size > top * 1e-6]
    typical = float(np.median(changed)) if changed.size else top
    if top > 20 * typical:
        return SymLogNorm(linthresh=typical, vmin=-top, vmax=top)
    return Normalize(-top, top)


def largest_channel(difference: np.ndarray) -> np.ndarray:
    """At each pixel of a (C,H,W) difference, the signed change of the channel that changed most."""
    channel = np.abs(difference).argmax(0)
    picked: np.ndarray = np.take_along_axis(difference, channel[None], 0)[0]
    return picked


UP, DOWN, NEAREST = "ROUND_CEILING", "ROUND_FLOOR", "ROUND_HALF_EVEN"


def proved(value: Any) -> str:
    """A proved size or radius as a short number, rounded down."""
    return number(value, rounding=DOWN)


def number(value: Any, digits: int = 3, rounding: str = NEAREST) -> str:
    """A short number; a dash for nothing.

    rounding: UP or DOWN where a bound must stay one when it is written down
    """
    if value is None:
        return "–"
    exact = float(value)
    if math.isfinite(exact):
        exact = float(Context(prec=digits, rounding=rounding).create_decimal_from_float(exact))
    return f"{exact:.{digits}g}"
