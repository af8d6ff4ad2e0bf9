"""The pictures inside a page: outlined image, ring map, and one image's difference to another."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from aureole.report import style

_SPREAD = 1.25  # widens the colour scale when all radii are equal


def radius_norm(radii: np.ndarray) -> LogNorm | None:
    """The colour scale of the positive radii; None when there is none."""
    positive = radii[radii > 0]
    if positive.size == 0:
        return None
    low, high = float(positive.min()), float(positive.max())
    if high < low * _SPREAD:
        low, high = low / _SPREAD, high * _SPREAD
    return LogNorm(low, high)


def radius_colours() -> Colormap:
    """The colour map of the radii; radius 0 (masked) has a colour outside it."""
    from matplotlib import colormaps

    return colormaps[style.RADII].with_extremes(bad=style.ZERO)


def outlined(
    axes: Axes, image: np.ndarray, target: np.ndarray | None, perturbed: np.ndarray | None, names: tuple[str, str]
) -> None:
    """The image with the target and the perturbed object outlined, and a legend under it with their names."""
    style.show_image(axes, image)
    handles = []
    for mask, colour, name in ((target, style.TARGET, names[0]), (perturbed, style.OBJECT, names[1])):
        if mask is not None:
            style.outline(axes, mask, colour)
            handles.append(Line2D([], [], color=colour, linewidth=2.5, label=name))
    if handles:
        below(axes, handles)


def ring_map(
    figure: Figure,
    axes: Axes,
    ring_index: np.ndarray,
    radii: np.ndarray,
    mask: np.ndarray,
    target: np.ndarray | None = None,
) -> None:
    """Each pixel coloured by the radius of its ring on a log scale, radius 0 in its own colour."""
    values = np.ma.masked_equal(radii[ring_index], 0.0)
    norm = radius_norm(radii)
    picture = axes.imshow(values, cmap=radius_colours(), norm=norm, interpolation="none")
    style.frame(axes)
    if target is not None:
        style.outline(axes, target, style.TARGET, width=1.2, halo="black")
    style.outline(axes, mask, style.OBJECT, halo="black")
    handles: list[Artist] = [Line2D([], [], color=style.OBJECT, linewidth=2.5, label="the object (ring 0)")]
    if (radii == 0).any():
        handles.append(Patch(facecolor=style.ZERO, edgecolor="#888888", label="radius 0"))
    below(axes, handles)
    if norm is not None:
        bar = figure.colorbar(picture, cax=axes.inset_axes((1.03, 0.0, 0.045, 1.0)))
        log_ticks(bar.ax.yaxis, norm)


def log_ticks(axis, norm: LogNorm) -> None:  # type: ignore[no-untyped-def]  # matplotlib's Axis or colour bar axis
    """Plain decimal labels, dense enough that a short scale has at least two."""
    assert norm.vmin is not None and norm.vmax is not None
    decades = np.log10(norm.vmax / norm.vmin)
    steps = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.2 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(labelsize=8, length=2)


def log_axis_with_zero(axes: Axes, norm: LogNorm) -> float:
    """A logarithmic vertical axis with a line for 0 below everything; returns the height that stands for 0."""
    assert norm.vmin is not None and norm.vmax is not None
    foot = norm.vmin / 2
    axes.set_yscale("log")
    log_ticks(axes.yaxis, norm)
    axes.set_ylim(foot / 1.3, norm.vmax * 1.3)
    ticks = axes.yaxis.get_major_locator().tick_values(norm.vmin, norm.vmax)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if norm.vmin * 0.999 <= tick <= norm.vmax * 1.3]))
    axes.axhline(foot, color=style.ZERO, linewidth=0.8, zorder=1)
    axes.annotate("0", (0, foot), (-4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
                  va="center", fontsize=8)  # fmt: skip
    return foot


def difference(figure: Figure, axes: Axes, image: np.ndarray, other: np.ndarray) -> None:
    """The change from `image` to `other` in colours symmetrical around no change."""
    change = style.largest_channel(other - image)
    norm = style.signed_norm(change)
    picture = axes.imshow(change, cmap=style.SIGNED, norm=norm, interpolation="none")
    style.frame(axes)
    bar = figure.colorbar(picture, cax=axes.inset_axes((1.03, 0.0, 0.045, 1.0)))
    ticks = signed_ticks(norm)
    bar.set_ticks(ticks, labels=[f"{tick:+.2g}" if tick else "0" for tick in ticks])
    if isinstance(norm, SymLogNorm):
        near = f"±{norm.linthresh:.2g}"
        axes.annotate(
            f"colours: even steps up to {near},\nbeyond it each step multiplies (log scale)",
            (0, 0), (0, -4), xycoords="axes fraction", textcoords="offset points", va="top", fontsize=8.5,
            color=style.FAINT,
        )  # fmt: skip
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=8, length=2)


APART = 0.045
"""Share of a scale's height: labels of ticks that are closer would touch."""


def signed_ticks(norm: Normalize) -> list[float]:
    """Ticks of a scale from `style.signed_norm`: where it is logarithmic, its powers of ten show that it is."""
    top = float(norm.vmax or 1.0)
    if not isinstance(norm, SymLogNorm):
        return [-top, -top / 2, 0.0, top / 2, top]
    near = float(norm.linthresh)
    powers = [10.0**p for p in range(-12, 2)]
    between = [
        p for p in powers if near < p < top and min(abs(float(norm(p) - norm(end))) for end in (near, top)) > APART
    ]  # fmt: skip
    upper = [near, *between, top]
    return [*(-t for t in reversed(upper)), 0.0, *upper]


def below(axes: Axes, handles: list) -> None:
    """A legend under a panel, so that it hides no pixel."""
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.01),
        frameon=False,
        fontsize=9,
        handlelength=1.4,
        borderaxespad=0.2,
        labelspacing=0.3,
    )
