"""`aureole scenes`: make scenes of two or three digits, or look at one."""

from pathlib import Path
from typing import Annotated

import typer

from aureole.cli import options
from aureole.cli.output import print_json
from aureole.cli.staging import staged
from aureole.core import InputError, Scene
from aureole.data import make_scenes, named_digits, read_scene, write_scene
from aureole.data.scene_files import SCENE_NAME, scene_paths
from aureole.report.scene import draw_scene

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="Make scenes of two or three digits, or look at one."
)


@app.command()
def make(
    out: Annotated[Path, typer.Option("--out", help="Folder that gets one folder per scene.")],
    data: Annotated[str, typer.Option("--data", help="digits (ships with scikit-learn) or mnist.")] = "digits",
    digits: Annotated[int, typer.Option("--digits", help="Digits per scene: 2 (64x64) or 3 (84x84).")] = 2,
    count: Annotated[int, typer.Option("--count", help="How many scenes.")] = 10,
    split: Annotated[str, typer.Option("--split", help="train or test: from which source digits.")] = "test",
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    json: options.Json = False,
) -> None:
    """Write scenes of real handwritten digits, the same ones for the same seed: OUT/scene-0000, scene-0001, …

    A scene's folder holds image.png, one mask per object (mask-0.png, mask-1.png, … in the order of the labels) and
    scene.json; what was there under the same names is replaced.
    """
    if count < 1:
        raise InputError(f"--count is {count}; pass at least 1")
    options.check_seed(seed)
    options.check_out(out)
    source = named_digits(data, split, data_root)
    folders = []
    for i, scene in enumerate(make_scenes(source, count, digits, seed, prefix=f"{data}-{split}-{digits}-{seed}")):
        folder = out / f"scene-{i:04d}"
        save_scene(folder, scene)
        folders.append(str(folder))
    if json:
        print_json({"scenes": folders})
    else:
        print(f"{len(folders)} scenes in {out}, the first in {folders[0]}")


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A scene's folder.")],
    out: Annotated[Path | None, typer.Option("--out", help="The picture (.png); scene.png in the folder.")] = None,
    json: options.Json = False,
) -> None:
    """Draw a scene with every object outlined, and print its labels."""
    if out is not None and out.suffix != ".png":
        raise InputError(f"--out {out} must end in .png; name the picture so")
    scene = read_scene(folder)
    picture = options.check_file("--out", out or folder / "scene.png")
    if any(path.resolve() == picture.resolve() for path in scene_paths(folder)):
        raise InputError(f"{picture} is part of the scene; pass --out with another place for the picture")
    draw_scene(scene, picture)
    if json:
        shape = list(scene.image.shape)
        print_json({"name": scene.name, "labels": list(scene.labels), "shape": shape, "picture": str(picture)})
    else:
        print(f"{scene.name}: labels {', '.join(map(str, scene.labels))}; picture {picture}")


def save_scene(folder: Path, scene: Scene) -> None:
    """Write a scene's folder whole; InputError when the disk refuses."""
    with staged(folder, SCENE_NAME) as staging:
        write_scene(staging, scene)
