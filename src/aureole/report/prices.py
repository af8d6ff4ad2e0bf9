"""The bar chart of prices: what a ring's radius costs, as an explanation beside the radii."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from aureole.report import style
from aureole.report.bars import ring_axis
from aureole.report.panels import log_ticks, radius_norm


def price_bars(axes: Axes, prices: np.ndarray, bands: Sequence[Sequence[int]] | None) -> None:
    """One bar per ring: by how much the proved margin falls per unit of its radius; a price of 0 has no bar but a 0."""
    positive = prices[prices > 0]
    axes.bar(
        np.arange(len(prices)), prices, width=0.82, color=style.PRICE, edgecolor="#444444", linewidth=0.5, zorder=2
    )
    low = 0.0
    if positive.size and positive.max() > style.WIDE * positive.min():
        norm = radius_norm(positive)
        assert norm is not None
        low = float(positive.min()) / 2
        axes.set_yscale("log")
        log_ticks(axes.yaxis, norm)
        axes.set_ylim(low, float(positive.max()) * 1.5)
    else:
        axes.set_ylim(0, float(prices.max(initial=0.0)) * 1.15 or 1.0)
    for ring in np.flatnonzero(prices <= 0):
        axes.annotate("0", (ring, low), (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=8)
    axes.set_ylabel("margin lost per unit\nof radius", fontsize=9)
    ring_axis(axes, len(prices), bands)
    style.plot_frame(axes)
