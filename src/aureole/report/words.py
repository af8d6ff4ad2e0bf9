"""What a picture says in words: one sentence and one line of facts, from the record alone."""

from collections.abc import Sequence
from typing import Any

from aureole.core.record import Record
from aureole.report.style import number


def sentence(record: Record) -> str:
    """One sentence for the top of the picture: what was asked and what came out."""
    return _prove_sentence(record) if record.kind == "prove" else _neighborhood_sentence(record)


def facts(record: Record) -> str:
    """One line of numbers under the sentence."""
    return _prove_facts(record) if record.kind == "prove" else _neighborhood_facts(record)


def survives(config: dict[str, Any], negated: bool = False) -> str:
    """The spec in words: the target stays among (or drops out of) the k highest scores."""
    target, k = config["target"], config["k"]
    if k == 1:
        return f"label {target} {'loses' if negated else 'keeps'} the highest score"
    return f"label {target} {'drops out of' if negated else 'stays among'} the {k} highest scores"


def the_object(config: dict[str, Any]) -> str:
    """The perturbed object's name."""
    label = config.get("object")
    return "the object" if label is None else f"object {label}"


def spans(rings: Sequence[int]) -> str:
    """Ring numbers in short form: `0, 3-7, 12`."""
    parts: list[list[int]] = []
    for ring in sorted(rings):
        if parts and ring == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], ring]
        else:
            parts.append([ring])
    return ", ".join("-".join(str(n) for n in part) for part in parts)


def _neighborhood_sentence(record: Record) -> str:
    config, result = record.config, record.result
    network = record.network["name"]
    if result["verdict"] != "ROBUST":
        return f"No neighborhood of {the_object(config)} was proved for {network} in the time given"
    where = f"within these radii around {the_object(config)}"
    return f"In network {network}, {survives(config)}\nfor every image that stays {where}"


def _neighborhood_facts(record: Record) -> str:
    config, result = record.config, record.result
    radii = result["radii"]
    parts = [
        f"size {number(result['size'])} = weighted sum of {len(radii)} radii ({config['weights']} weights)",
        f"method {config['method']}",
        _maximal(result, config["delta"]),
        f"{result['seconds']:.1f} s",
    ]
    if result["upper_bound"] is not None:
        parts.insert(1, f"at most {number(result['upper_bound'])} is possible")
    return "   ·   ".join(part for part in parts if part)


def _maximal(result: dict[str, Any], delta: float) -> str:
    if result["maximal"] is None:
        return ""
    if result["maximal"]:
        return f"maximal: no ring can grow by {delta:g}"
    rings = result["open_rings"] or []
    which = f"rings {spans(rings)}" if len(spans(rings)) < 25 else f"{len(rings)} of {len(result['radii'])} rings"
    return f"{which} might still grow by {delta:g}"


def _prove_sentence(record: Record) -> str:
    config, network = record.config, record.network["name"]
    where = f"radius {config['radius']:g}" if config.get("radius") is not None else "the given radii"
    match record.result["verdict"]:
        case "ROBUST":
            return f"In network {network}, {survives(config)}\nfor every image within {where}"
        case "VULNERABLE":
            return f"In network {network}, {survives(config, negated=True)}\nfor an image found within {where}"
    return f"Open: whether {survives(config)} of {network}\nfor every image within {where}"


def _prove_facts(record: Record) -> str:
    result = record.result
    bound = result["margin_bound"]
    parts = [
        f"decided by {result['why']}" if result["verdict"] != "UNKNOWN" else f"ended by {result['why']}",
        f"margin at least {number(bound)}" if bound is not None and result["verdict"] != "VULNERABLE" else "",
        f"smallest margin seen {number(result['margin_seen'])}" if result["margin_seen"] is not None else "",
        f"{result['seconds']:.1f} s",
    ]
    return "   ·   ".join(part for part in parts if part)
