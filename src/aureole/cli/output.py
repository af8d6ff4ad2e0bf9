"""What a command prints: one JSON object, or a short text for people."""

import json
import math
from typing import Any

from rich.console import Console
from rich.text import Text


def print_json(content: dict[str, Any]) -> None:
    """One JSON object on standard output; infinite and NaN numbers become null, which JSON has no words for."""
    print(json_line(content))


def json_line(content: dict[str, Any]) -> str:
    """The same as a string without line breaks."""
    return json.dumps(_finite(content), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def print_summary(verdict: str, sentence: str, facts: list[tuple[str, str]]) -> None:
    """The verdict in plain words, then a few named facts, on standard output."""
    colour = {"ROBUST": "green", "VULNERABLE": "red"}.get(verdict, "yellow")
    width = max((len(name) for name, _ in facts), default=0)
    lines = (f"\n  {name:{width}}  {value}" for name, value in facts)
    told = Text.assemble((verdict, f"bold {colour}"), f"  {sentence}", *lines)  # no markup: names are the user's
    Console(highlight=False).print(told, soft_wrap=True)  # paths stay whole


def calls_in_words(calls: dict[str, int]) -> str:
    """Prover calls by kind on one line."""
    return ", ".join(f"{count} {kind}" for kind, count in calls.items()) or "none"
