"""The options that several commands share, and the checks of their numbers."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from aureole.cli.staging import probe
from aureole.core import InputError

_NET = typer.Argument(
    metavar="NET",
    help="A .safetensors, .onnx or .pt2 file; digits-none, digits-l0, digits-linf; an author's name (--data-root).",
    show_default=False,
)
NetArgument = Annotated[str, _NET]
OptionalNet = Annotated[str | None, _NET]
Arch = Annotated[str | None, typer.Option("--arch", help="x1k, x2 or x3; recognised from the weights when left out.")]
Mean = Annotated[
    str | None,
    typer.Option("--mean", help="What the network wants subtracted from pixels in [0,1]: one number or one a channel."),
]
Std = Annotated[
    str | None, typer.Option("--std", help="What it wants them divided by afterwards. Radii stay in pixel units.")
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder with MNIST and the author's networks; else the variable AUREOLE_DATA."),
]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds of wall-clock time.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Device = Annotated[str, typer.Option("--device", help="Where attacks and climbs of bounds run: cpu, cuda, cuda:1, …")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on standard output.")]


def check_timeout(seconds: float, option: str = "--timeout") -> float:
    """The time limit; InputError unless it is finite and positive."""
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"{option} is {seconds:g}; pass a finite number of seconds above 0")
    return seconds


def check_radius(radius: float, called: str = "--radius") -> float:
    """A radius in pixel units; InputError unless it is finite and not negative."""
    if not (math.isfinite(radius) and radius >= 0):
        raise InputError(f"{called} is {radius:g}; pass a finite radius >= 0 in pixel units (the range is [0,1])")
    return radius


def check_delta(delta: float) -> float:
    """The step of maximality; InputError unless it lies strictly between 0 and 1."""
    if not 0 < delta < 1:
        raise InputError(f"--delta is {delta:g}; pass a step in pixel units between 0 and 1")
    return delta


def check_seed(seed: int, called: str = "--seed") -> int:
    """A seed; InputError unless a generator takes it."""
    if not 0 <= seed < 2**32:
        raise InputError(f"{called} is {seed}; pass a whole number from 0 to 2^32 - 1")
    return seed


def check_out(folder: Path) -> Path:
    """A folder for output, told unfit before the work starts rather than after it."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise InputError(f"--out {folder} cannot be a folder: {place} is a file; choose another folder")
    probe(folder)
    return folder


def check_file(option: str, path: Path, read: Iterable[Path | None] = ()) -> Path:
    """A file to write; InputError when its folder refuses, or when the path is a folder, a device, or one of `read`.

    (Replacing a device would destroy it.)
    """
    if path.exists() and any(place is not None and place.exists() and place.samefile(path) for place in read):
        raise InputError(f"{option} {path} is read as well; choose another path")
    if path.exists() and not path.is_file():
        raise InputError(f"{option} {path} is not a plain file; choose another path")
    probe(path.parent)
    return path
