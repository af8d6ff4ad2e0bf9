"""The cases of Mour's study: Double-MNIST images with the author's recorded class rankings."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from aureole.core import InputError, Scene
from aureole.core.files import read_bytes
from aureole.core.places import data_root
from aureole.data.pixels import read_image
from aureole.data.scenes import slot_scene

_FOLDER = Path("mulloc") / "samples" / "dmnist"
_RANKINGS = "author_recorded_rankings(defense:best-to-worst;several if several architectures)"

Ranking = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class AuthorCase:
    """One image of the study.

    scene:    the image with its two digits
    target:   the digit that the author attacked: it must stay among the top 2
    object:   the other digit, around which the image is perturbed
    rankings: for each defence (`noDef`, `L0Def`, `LInfDef`) the recorded class rankings, best first;
              several where the author recorded several architectures
    """

    scene: Scene
    target: int
    object: int
    rankings: Mapping[str, tuple[Ranking, ...]]


def author_cases(root: Path | None = None) -> tuple[AuthorCase, ...]:
    """The 30 Double-MNIST cases under `ROOT/mulloc/samples/dmnist`, sorted by file name.

    root: the data root; None reads the environment's AUREOLE_DATA. InputError when the files are absent or damaged.
    """
    folder = data_root(root) / _FOLDER
    halves = {row["file"]: row for row in _rows(folder / "objects.csv", ("file", "left_digit", "right_digit"))}
    cases = _rows(folder / "labels.csv", ("file", "labels", "attacked_label", _RANKINGS))
    return tuple(_case(folder, row, halves) for row in sorted(cases, key=lambda row: row["file"]))


def _case(folder: Path, row: Mapping[str, str], halves: Mapping[str, Mapping[str, str]]) -> AuthorCase:
    name = row["file"]
    try:
        left, right = int(halves[name]["left_digit"]), int(halves[name]["right_digit"])
        target = int(row["attacked_label"])
        rankings = _parse_rankings(row[_RANKINGS])
    except (KeyError, ValueError, TypeError, AttributeError) as error:  # a short row holds None
        raise InputError(
            f"{folder / 'labels.csv'} has a bad row for {name} ({error}); fetch the files again"
        ) from error
    if target not in (left, right):
        raise InputError(f"{name}: attacked label {target} is not one of its digits {left}, {right}")
    levels = (read_image(folder / name)[0] * 255).round().to(torch.uint8)
    scene = slot_scene(levels, (left, right), Path(name).stem)
    return AuthorCase(scene, target, right if target == left else left, rankings)


def _parse_rankings(text: str) -> dict[str, tuple[Ranking, ...]]:
    rankings: dict[str, tuple[Ranking, ...]] = {}
    for part in text.split(";"):
        defence, order = part.split(":")
        rankings[defence] = (*rankings.get(defence, ()), tuple(int(c) for c in order.split("-")))
    return rankings


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    text = read_bytes(path, "a data root that holds mulloc/samples/dmnist").decode(errors="replace")
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
    except csv.Error as error:
        raise InputError(f"{path} is damaged ({error}); fetch the file again") from error
    missing = [c for c in columns if not rows or rows[0].get(c) is None]
    if missing:
        raise InputError(f"{path} has no column {missing[0]}; fetch the file again")
    return rows
