"""A scene on disk: a folder with `scene.json`, an image and one mask per object."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from aureole.core import InputError, Scene
from aureole.core.errors import first_line
from aureole.core.files import read_bytes, write_bytes
from aureole.data.pixels import read_image, read_mask, write_image, write_mask

SCENE_NAME = "scene.json"


class SceneFile(BaseModel):
    """The content of `scene.json`: file names are relative to its folder, `masks[i]` shows `labels[i]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    image: str
    labels: list[NonNegativeInt]
    masks: list[str]


def write_scene(folder: Path | str, scene: Scene) -> None:
    """Write a scene; `scene.json` comes last, so a folder that has one is complete.

    InputError when the disk refuses.
    """
    folder = Path(folder)
    try:
        (folder / SCENE_NAME).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}; choose another folder") from error
    image = write_image(folder, "image", scene.image)
    masks = [write_mask(folder, f"mask-{i}", mask) for i, mask in enumerate(scene.masks)]
    content = SceneFile(name=scene.name, image=image, labels=list(scene.labels), masks=masks)
    write_bytes(folder / SCENE_NAME, (content.model_dump_json(indent=2) + "\n").encode())


def read_scene(folder: Path | str) -> Scene:
    """A scene from its folder; InputError names the file that is at fault."""
    folder = Path(folder)
    content = _content(folder)
    image = read_image(folder / content.image)
    masks = tuple(read_mask(folder / mask) for mask in content.masks)
    try:
        return Scene(image, tuple(content.labels), masks, content.name)
    except InputError as error:
        raise InputError(f"{folder / SCENE_NAME}: {error}") from error


def scene_paths(folder: Path | str) -> tuple[Path, ...]:
    """The files of a scene: its JSON, the image and the masks; InputError as `read_scene`."""
    content = _content(Path(folder))
    return tuple(Path(folder) / name for name in (SCENE_NAME, content.image, *content.masks))


def _content(folder: Path) -> SceneFile:
    path = folder / SCENE_NAME
    text = read_bytes(path, "a folder with scene.json (aureole scenes make writes one)")
    try:
        return SceneFile.model_validate(json.loads(text.decode()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise InputError(
            f"{path} is not a scene ({where}: {first['msg']}); give name, image, labels and masks"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({first_line(error)}); write the scene again") from error
