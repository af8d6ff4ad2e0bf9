"""What a picture says in words: one sentence and one line of facts, from the record alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from aureole.core.record import Record
from aureole.report.style import DOWN, UP, number


def sentence(record: Record) -> str:
    """One sentence for the top of the picture: what was asked and what came out."""
    return _prove_sentence(record) if record.kind == "prove" else _neighborhood_sentence(record)


def facts(record: Record) -> str:
    """One line of numbers under the sentence."""
    return _prove_facts(record) if record.kind == "prove" else _neighborhood_facts(record)


def survives(config: Mapping[str, Any], negated: bool = False) -> str:
    """The spec in words: the target stays among the k highest scores, or out of them, or above a threshold."""
    target, k, threshold = label_names(config["target"]), config["k"], config.get("threshold")
    top = f"the {k} highest scores"
    if threshold is not None:
        above = f"a score above {threshold:g}"
        every, kept, lost = f"keep {above}", f"keeps {above}", f"does not keep {above}"
    elif config.get("out_of_top") and k == 1:
        every, kept, lost = "stay below the highest score", "stays below the highest score", "gets the highest score"
    elif config.get("out_of_top"):
        every, kept, lost = f"stay out of {top}", f"stays out of {top}", f"comes among {top}"
    elif k == 1:
        every, kept, lost = "keep the highest score", "keeps the highest score", "loses the highest score"
    else:
        every, kept, lost = f"stay among {top}", f"stays among {top}", f"drops out of {top}"
    if isinstance(config["target"], list):
        together = "both" if len(config["target"]) == 2 else "all"
        return f"{target} {'do not ' if negated else ''}{together} {every}"
    return f"{target} {lost if negated else kept}"


def the_object(config: dict[str, Any]) -> str:
    """The perturbed object's name, or the objects' names."""
    label = config.get("object")
    if label is None:
        return "the object"
    return f"object{'s' if isinstance(label, list) else ''} {labels(label)}"


def labels(given: int | Sequence[int] | None) -> str:
    """`4`, or `4 and 7`; empty for none."""
    if given is None:
        return ""
    *first, last = [str(n) for n in ([given] if isinstance(given, int) else given)]
    return f"{', '.join(first)} and {last}" if first else last


def label_names(given: int | Sequence[int]) -> str:
    """`label 4`, or `labels 4 and 7`."""
    return f"label{'' if isinstance(given, int) else 's'} {labels(given)}"


def names(config: Mapping[str, Any]) -> tuple[str, str]:
    """The targets and the perturbed objects in the legend of a picture."""
    one = not isinstance(config["target"], list)
    target = ("target: " if one else "targets: ") + label_names(config["target"])
    label = config.get("object")
    if label is None:
        return target, "perturbed object"
    return target, f"perturbed object{'s' if isinstance(label, list) else ''}: {label_names(label)}"


def band_names(bands: Sequence[Sequence[int]]) -> list[str]:
    """What each band covers: `object`, `rings 1-3`, `ring 4`, …"""
    return [_band(int(first), int(last)) for first, last in bands]


def _band(first: int, last: int) -> str:
    if last == 0:
        return "object"
    name = f"ring {first}" if first == last else f"rings {first}-{last}"
    return f"object and {_band(1, last)}" if first == 0 else name


def size(result: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The size and what it means, for the objective that was asked for."""
    count = len(result["radii"])
    what = f"{count} radii" if count > 1 else "1 radius"
    if result.get("bands"):
        what += f", one per band ({weights(config)} weights)"
    else:
        what += f" ({weights(config)} weights)"
    meaning = {
        "sum": f"weighted sum of {what}",
        "log": f"weighted geometric mean of {what}",
        "min": f"least radius per weight of {what}",
    }[config["objective"]]
    return f"{number(result['size'], 4, DOWN)} = {meaning}"


def weights(config: Mapping[str, Any]) -> str:
    """The name of the weights, or what stands for a list of them."""
    named = isinstance(config["weights"], str) and config["weights"].isidentifier()
    return str(config["weights"]) if named else "own"


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
    if result["verdict"] == "VULNERABLE":
        where = f"within the smallest radii asked for around {the_object(config)}"
        return f"In network {network}, {survives(config, negated=True)}\nfor an image found {where}"
    if result["verdict"] != "ROBUST":
        when = "" if result.get("detail") else " in the time given"
        return f"No neighborhood of {the_object(config)} was proved for {network}{when}"
    where = f"within these radii around {the_object(config)}"
    return f"In network {network}, {survives(config)}\nfor every image that stays {where}"


def _neighborhood_facts(record: Record) -> str:
    config, result = record.config, record.result
    parts = [
        f"size {size(result, config)}",
        f"method {config['method']}, {result['seconds']:.1f} s" if "method" in config else f"{result['seconds']:.1f} s",
        _maximal(result, config["delta"]),
    ]
    if result["upper_bound"] is not None:
        parts.insert(1, f"at most {number(result['upper_bound'], 4, UP)} is possible")
    return _lines(parts)


def _lines(parts: Sequence[str]) -> str:
    """The parts on one line, or on two where they would run off the page."""
    lines = [""]
    for part in parts:
        joined = f"{lines[-1]}   ·   {part}" if lines[-1] else part
        if part and len(joined) <= _LONGEST:
            lines[-1] = joined
        elif part:
            lines.append(part)
    return "\n".join(lines)


_LONGEST = 155  # characters of a line of facts


def _maximal(result: Mapping[str, Any], delta: float) -> str:
    if result["maximal"] is None:
        return ""
    what = growth(result, delta)
    return f"maximal: {what}" if result["maximal"] else what


def growth(result: Mapping[str, Any], delta: float) -> str:
    """Which rings, or bands of rings, might still grow; `maximal` must have been looked at."""
    what = "band" if result.get("bands") else "ring"
    if result["maximal"]:
        return f"no {what} can grow by {delta:g}"
    rings, count = result["open_rings"] or [], len(result["radii"])
    short = what == "ring" and len(spans(rings)) < 25
    which = f"rings {spans(rings)}" if short else f"{len(rings)} of {count} {what}s"
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
    bound = None if result["verdict"] == "VULNERABLE" else result["margin_bound"]
    parts = [
        f"decided by {result['why']}" if result["verdict"] != "UNKNOWN" else f"ended by {result['why']}",
        f"margin at least {number(bound, rounding=DOWN)}" if bound is not None else "",
        f"smallest margin seen {number(result['margin_seen'])}" if result["margin_seen"] is not None else "",
        f"{result['seconds']:.1f} s",
    ]
    return "   ·   ".join(part for part in parts if part)
