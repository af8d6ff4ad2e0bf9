"""A record's picture: one page per run, as PNG and SVG."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import Tensor

from aureole.core.errors import InputError
from aureole.core.files import write_bytes
from aureole.core.record import ARRAYS_NAME, JSON_NAME, Array, Record, read_record
from aureole.report import panels, style, words
from aureole.report.bars import ring_bars
from aureole.report.prices import price_bars

_MARGIN = 0.5  # inches, as all lengths here
_HEADER = 1.85
_BETWEEN = 0.9  # from one chart to the next


@dataclass(frozen=True)
class _Shape:
    """Where things stand on a page: square panels of one size at `lefts`, charts of these heights below."""

    width: float
    height: float
    panel: float
    lefts: tuple[float, ...]
    charts: tuple[float, ...] = ()


_NEIGHBORHOOD = _Shape(13.2, 8.4, 2.55, (0.5, 3.35, 6.75, 9.6), charts=(2.55,))
_PRICED = replace(_NEIGHBORHOOD, height=10.7, charts=(2.55, 1.4))
_UNPROVED = replace(_NEIGHBORHOOD, height=5.0, charts=())
_PROVE = _Shape(12.6, 6.0, 3.4, (0.5, 4.3, 8.1))


def draw(folder: Path) -> list[Path]:
    """Draw the record in `folder` from what is stored there; returns the pictures' paths (PNG, then SVG).

    InputError when the folder holds no readable record, or when the pictures cannot be written.
    """
    record, arrays = read_record(folder)
    try:
        figure = compose(record, arrays)
    except (KeyError, IndexError) as error:
        raise InputError(
            f"{folder / JSON_NAME} and {ARRAYS_NAME} do not fit together (no {error}); run the command again"
        ) from error
    name = "prove" if record.kind == "prove" else "neighborhood"
    return save(figure, folder / name)


def compose(record: Record, arrays: Mapping[str, Tensor]) -> Figure:
    """The page of a record: a pure function of it."""
    plain = {name: value.to("cpu").numpy() for name, value in arrays.items()}
    return _prove_page(record, plain) if record.kind == "prove" else _neighborhood_page(record, plain)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.svg; InputError when the disk refuses."""
    paths = []
    for kind in ("png", "svg"):
        path = stem.with_name(f"{stem.name}.{kind}")
        write_bytes(path, picture_bytes(figure, kind))
        paths.append(path)
    return paths


def picture_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as `png` or `svg`, the same bytes for the same figure."""
    numbers = {text for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for text in axis.findobj(Text)}
    for text in set(figure.findobj(Text)) - numbers:  # numbers at ticks are formulas
        text.set_parse_math(False)  # a dollar in a name is one
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    buffer = BytesIO()
    # the salt names the SVG's clip paths; without one they are random and no two files are equal
    with matplotlib.rc_context({"svg.hashsalt": "aureole"}):
        figure.savefig(buffer, format=kind, dpi=110, metadata=metadata)
    return buffer.getvalue()


def _neighborhood_page(record: Record, arrays: Mapping[str, np.ndarray]) -> Figure:
    config, result = record.config, record.result
    prices, bands = result.get("prices"), result.get("bands")
    proved = result["verdict"] == "ROBUST"
    shape = _UNPROVED if not proved else _NEIGHBORHOOD if prices is None else _PRICED
    figure, row, charts = _page(record, shape)
    image, mask, radii = arrays[Array.IMAGE], arrays[Array.MASK].astype(bool), arrays[Array.RADII]
    target = arrays[Array.TARGET_MASK].astype(bool) if Array.TARGET_MASK in arrays else None

    panels.outlined(row[0], image, target, mask, words.names(config))
    style.heading(row[0], "Image", record.image["name"])
    panels.ring_map(figure, row[1], arrays[Array.RING_INDEX], radii, mask, target)
    style.heading(row[1], "Allowed change", "radius of each pixel, log scale")
    if result["verdict"] == "VULNERABLE" and Array.WEAKEST in arrays:
        _pair(figure, row[2], row[3], image, arrays[Array.WEAKEST])
        style.heading(row[2], "Witness", "within the smallest radii asked for")
    else:
        _weakest(figure, row[2], row[3], image, arrays, result["weakest_margin"])

    if not proved:
        return figure
    what = "ring" if bands is None else "band"
    limits = {ring: result["limits"][ring] for ring in result["witness_rings"]}
    ring_bars(
        charts[0],
        radii,
        limits=limits,
        capped=result["capped"],
        unknown=set(result["open_rings"] or ()) - limits.keys(),
        bands=bands,
    )
    _title(charts[0], f"Radius per {what}")
    if prices is not None:
        price_bars(charts[1], np.array(prices), bands)
        _title(
            charts[1], f"Price per {what}: why a radius is small", "a costly radius uses up margin that the others need"
        )
    return figure


def _title(chart: Axes, title: str, note: str = "") -> None:
    chart.set_title(title, loc="left", fontsize=11, fontweight="bold", color=style.INK)
    chart.set_title(note, loc="right", fontsize=9, color=style.FAINT)


def _prove_page(record: Record, arrays: Mapping[str, np.ndarray]) -> Figure:
    figure, row, _ = _page(record, _PROVE)
    image = arrays[Array.IMAGE]
    mask = arrays[Array.MASK].astype(bool) if Array.MASK in arrays else None
    panels.outlined(row[0], image, None, mask, words.names(record.config))
    style.heading(row[0], "Image", record.image["name"])
    if Array.WITNESS in arrays:
        _pair(figure, row[1], row[2], image, arrays[Array.WITNESS])
        style.heading(row[1], "Witness", f"here {words.survives(record.config, negated=True)}")
    else:
        _weakest(figure, row[1], row[2], image, arrays, record.result["margin_seen"])
    return figure


def _page(record: Record, shape: _Shape) -> tuple[Figure, list[Axes], list[Axes]]:
    """An empty page with its sentence: a row of square panels, and charts under it when the shape has some."""
    width, height = shape.width, shape.height
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)  # a canvas of its own: no global state, no display needed
    _header(figure, record, shape)
    bottom = height - _HEADER - shape.panel
    row = [
        figure.add_axes((x / width, bottom / height, shape.panel / width, shape.panel / height)) for x in shape.lefts
    ]
    left, charts, base = _MARGIN + 0.65, [], 0.6
    for tall in reversed(shape.charts):
        charts.append(figure.add_axes((left / width, base / height, (width - left - _MARGIN) / width, tall / height)))
        base += tall + _BETWEEN
    return figure, row, charts[::-1]


def _header(figure: Figure, record: Record, shape: _Shape) -> None:
    verdict = record.result["verdict"]
    top = shape.height - 0.5
    figure.text(
        (_MARGIN + 0.1) / shape.width,
        top / shape.height,
        {"ROBUST": "PROVED", "VULNERABLE": "BROKEN"}.get(verdict, "OPEN"),
        fontsize=13,
        fontweight="bold",
        color="white",
        va="center",
        bbox={"facecolor": style.VERDICTS[verdict], "edgecolor": "none", "boxstyle": "round,pad=0.45"},
    )
    left = (_MARGIN + 1.35) / shape.width
    figure.text(
        left, (top + 0.15) / shape.height, words.sentence(record), fontsize=14, va="top", fontweight="bold",
        color=style.INK, linespacing=1.25,
    )  # fmt: skip
    figure.text(left, (top - 0.5) / shape.height, words.facts(record), fontsize=10, va="top", color=style.FAINT)


def _weakest(
    figure: Figure, left: Axes, right: Axes, image: np.ndarray, arrays: Mapping[str, np.ndarray], margin: float | None
) -> None:
    if Array.WEAKEST not in arrays:
        left.remove()
        right.remove()
        return
    _pair(figure, left, right, image, arrays[Array.WEAKEST])
    note = "closest to failing" + ("" if margin is None else f": margin {style.number(margin)}")
    style.heading(left, "Weakest image inside", note)


def _pair(figure: Figure, left: Axes, right: Axes, image: np.ndarray, other: np.ndarray) -> None:
    style.show_image(left, other)
    panels.difference(figure, right, image, other)
    style.heading(right, "Its difference to the image", "pixel units; purple darker, orange lighter")
