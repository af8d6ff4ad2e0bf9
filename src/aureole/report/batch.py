"""What the finished cases of a batch say: a row per network, and in plain words which network is the more robust."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from aureole.report.style import number
from aureole.report.words import labels

Line = Mapping[str, Any]
"""A finished case as `aureole neighborhoods` writes it."""

COLUMNS = ("network", "cases", "proved", "median size", "median s", "maximal", "median gap", "not done")


def summarise(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """One row per network, in the order of their first lines.

    cases:         how many were answered; proved: those with radii (the others count as size 0 in the median)
    share_maximal: how many of those proved by a method that looks are shown to be maximal
    median_gap:    of 1 - size / upper bound, where there is a bound
    not_done:      cases that were not answered, by reason
    """
    return [_row(name, [line for line in lines if line["network"] == name]) for name in _names(lines)]


def _row(name: str, lines: Sequence[Line]) -> dict[str, Any]:
    done = [line for line in lines if line["status"] == "done"]
    proved = [line for line in done if line["verdict"] == "ROBUST"]
    looked = [line for line in proved if line["maximal"] is not None]
    gaps = [line["gap"] for line in done if line["gap"] is not None]
    return {
        "network": name,
        "cases": len(done),
        "proved": len(proved),
        "median_size": median(line["size"] for line in done) if done else None,
        "median_seconds": median(line["seconds"] for line in done) if done else None,
        "share_maximal": sum(line["maximal"] for line in looked) / len(looked) if looked else None,
        "median_gap": median(gaps) if gaps else None,
        "not_done": dict(Counter(line["status"] for line in lines if line["status"] != "done")),
    }


def cells(summary: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The rows in words, under `COLUMNS`."""
    return [
        (
            row["network"],
            str(row["cases"]),
            str(row["proved"]),
            number(row["median_size"]),
            number(row["median_seconds"]),
            _percent(row["share_maximal"]),
            _percent(row["median_gap"]),
            str(sum(row["not_done"].values())),
        )
        for row in summary
    ]


def sentences(lines: Sequence[Line]) -> list[str]:
    """Which network is the more robust, and around which objects; only cases that all of them answered are compared."""
    names = _names(lines)
    shared = _shared(lines, names)
    said = []
    if len(names) > 1:
        said.append(_comparison(names, shared) if shared else _NOTHING_SHARED)
    around = _around(names, shared)
    return [*said, *([around] if around else []), *_not_done(lines)]


_WHY = {
    "not recognised": "the network does not rank the target high enough on the scene itself",
    "refused": "bad input, see the lines",
    "failed": "the work broke off twice or raised an error, see the lines",
}


def _not_done(lines: Sequence[Line]) -> list[str]:
    """Why some cases were not answered."""
    counts = Counter(line["status"] for line in lines)
    return [f"{counts[status]} {status}: {why}." for status, why in _WHY.items() if counts[status]]


_NOTHING_SHARED = "No case was answered for every network, so the networks are not compared."

Sizes = list[tuple[int, dict[str, float]]]
"""For each case that every network answered: the perturbed object, and the size by network."""


def _shared(lines: Sequence[Line], names: Sequence[str]) -> Sizes:
    found: dict[tuple[Any, ...], dict[str, float]] = {}
    for line in lines:
        if line["status"] == "done":
            key = (line["object"], line["target"], line["scene"], line["image_sha256"], line["k"])
            found.setdefault(key, {})[line["network"]] = line["size"]
    return [(key[0], sizes) for key, sizes in found.items() if len(sizes) == len(names)]


def _comparison(names: Sequence[str], shared: Sizes) -> str:
    sizes = {name: median(case[name] for _, case in shared) for name in names}
    first, *others = sorted(names, key=lambda name: -sizes[name])
    wins = sum(all(case[first] > case[name] for name in others) for _, case in shared)
    if all(sizes[name] == sizes[first] for name in others):
        return f"No network is the more robust: their median sizes are equal on {_cases(len(shared))}."
    degree = "more" if len(names) == 2 else "most"
    ratios = " and ".join(f"{_times(sizes[first], sizes[name])} {name}'s" for name in others)
    return (
        f"{first} is the {degree} robust: on the {_cases(len(shared))} that every network answered, its median size "
        f"{number(sizes[first])} is {ratios}; its neighborhood is the largest in {wins} of {len(shared)}."
    )


def _around(names: Sequence[str], shared: Sizes) -> str:
    """Around which objects most may change, and around which the network that is best there is another one."""
    objects = sorted({label for label, _ in shared})
    if len(objects) < 2:
        return ""
    by_network = {
        label: {name: median(case[name] for o, case in shared if o == label) for name in names} for label in objects
    }
    overall = {label: median(s for o, case in shared if o == label for s in case.values()) for label in objects}
    widest, narrowest = max(objects, key=lambda o: overall[o]), min(objects, key=lambda o: overall[o])
    count = Counter(label for label, _ in shared)
    said = (
        f"Most may change around object {widest} (median size {number(overall[widest])}, {_cases(count[widest])}), "
        f"least around object {narrowest} ({number(overall[narrowest])}, {_cases(count[narrowest])})."
    )
    if len(names) == 1:
        return said
    best = {label: max(names, key=lambda name: by_network[label][name]) for label in objects}
    where = [f"{name} around {labels([o for o in objects if best[o] == name])}" for name in names
             if name in best.values()]  # fmt: skip
    if len(where) == 1:
        return f"{said} {best[objects[0]]} allows the most around every object."
    return f"{said} Which network allows the most depends on the object: {'; '.join(where)}."


def _names(lines: Iterable[Line]) -> list[str]:
    return list(dict.fromkeys(line["network"] for line in lines))


def _cases(count: int) -> str:
    return f"{count} cases" if count != 1 else "1 case"


def _times(size: float, other: float) -> str:
    return f"{size / other:.2g} times" if other > 0 else "above 0, unlike"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"
