from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aureole import nets
from aureole.cli.main import run
from aureole.data import load_source_digits, make_scene, write_scene


@dataclass(frozen=True)
class Files:
    """A small network, a scene and the same as plain files; `target` is the network's first label on the image."""

    folder: Path
    net: str
    scene: str
    image: str
    mask: str
    target: str
    other: str  # the label with the lowest score

    def neighborhood(self, out: Path, *more: str) -> list[str]:
        """A good `neighborhood` command line."""
        return ["neighborhood", self.net, self.image, "--mask", self.mask, "--target", self.target, "--k", "2",
                "--out", str(out), *more]  # fmt: skip

    def prove(self, *more: str) -> list[str]:
        """A `prove` command line without its radii."""
        return ["prove", self.net, self.image, "--target", self.target, "--k", "2", *more]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on standard error after bad input."""
        assert self.status == 2
        assert self.out == ""
        assert self.err.startswith("aureole: ")
        assert self.err.endswith("\n") and self.err.count("\n") == 1
        return self.err.removeprefix("aureole: ").rstrip()


Command = Callable[..., Done]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    scene = make_scene(load_source_digits("test"), 2, torch.Generator().manual_seed(3), "two")
    write_scene(folder / "scene", scene)
    levels = (scene.image[0] * 255).round().to(torch.uint8).numpy()
    Image.fromarray(levels).save(folder / "image.png")
    Image.fromarray(scene.masks[1].numpy().astype(np.uint8) * 255).save(folder / "mask.png")
    module = nets.build("x1k", 64, torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = module(scene.image[None].to(torch.float32))[0]
    nets.save(folder / "net.safetensors", module, {})
    return Files(
        folder,
        str(folder / "net.safetensors"),
        str(folder / "scene"),
        str(folder / "image.png"),
        str(folder / "mask.png"),
        str(int(scores.argmax())),
        str(int(scores.argmin())),
    )


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command line in this process, in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def run_it(*arguments: str) -> Done:
        capsys.readouterr()
        status = run([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return Done(status, out, err)

    return run_it
