"""Tables: rows of plain words from stored records."""

from collections.abc import Iterable

from aureole.core.record import Record
from aureole.report.style import DOWN, number
from aureole.report.words import labels

COLUMNS = ("network", "scene", "target", "object", "size", "min", "max", "maximal", "time")


def rows(records: Iterable[Record]) -> list[tuple[str, ...]]:
    """One row per neighborhood record, its cells in the order of `COLUMNS`."""
    return [_row(record) for record in records if record.kind == "neighborhood"]


def _row(record: Record) -> tuple[str, ...]:
    config, result = record.config, record.result
    proved = result["verdict"] == "ROBUST"
    return (
        str(record.network["name"]),
        str(record.image["name"]),
        labels(config["target"]) or "–",
        labels(config.get("object")) or "–",
        number(result["size"], 3, DOWN) if proved else "not proved",
        number(min(result["radii"]), 2, DOWN),
        number(max(result["radii"]), 2, DOWN),
        {None: "–", True: "yes", False: f"{len(result['open_rings'] or [])} open"}[result["maximal"]],
        f"{result['seconds']:.1f} s",
    )
