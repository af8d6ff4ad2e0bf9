"""`aureole train`: train a network on scenes and write its weights with a record of how they came to be."""

import json
import platform
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import Tensor, nn

from aureole import nets
from aureole.cli.options import DataRoot, Json, Seed, check_file, check_seed
from aureole.core import InputError
from aureole.data import Batch, DigitSet, make_batch, named_digits
from aureole.data.scenes import recipe
from aureole.train import (
    BlackRectangle,
    Defence,
    LinfPgd,
    NoDefence,
    Progress,
    TrainingConfig,
    TrainingResult,
    fit,
    pgd,
    top_k_accuracy,
)

TEST_SEED = 20_230_501  # far from the seeds of training scenes
_CHUNK = 500  # scenes evaluated at once
_MOST = 1_000_000  # scenes of 64x64: some 16 GB


class Data(StrEnum):
    """Where the single digits come from."""

    DIGITS = "digits"
    MNIST = "mnist"


class DefenceName(StrEnum):
    """The three trainings."""

    NONE = "none"
    L0 = "l0"
    LINF = "linf"


@dataclass(frozen=True)
class Evaluation:
    """How a network is measured: on fixed held-out scenes, so that an accuracy can be read again.

    scenes:        how many
    attacked:      how many of them, from the first, are attacked as well
    radius, steps: of the attack by projected gradient descent, in pixel units
    """

    scenes: int = 2000
    attacked: int = 500
    radius: float = 0.02
    steps: int = 20


def train(
    out: Annotated[Path, typer.Option(help="Weights file to write, *.safetensors; the record goes beside it.")],
    data: Annotated[Data, typer.Option(help="Source of the single digits.")] = Data.DIGITS,
    digits: Annotated[int, typer.Option(help="Digits per scene: 2 (64x64) or 3 (84x84).")] = 2,
    defence: Annotated[DefenceName, typer.Option(help="Training: plain, black rectangles, or adversarial.")] = (
        DefenceName.NONE
    ),
    arch: Annotated[str, typer.Option(help="Architecture: x1k, x2 or x3.")] = "x1k",
    epochs: Annotated[int, typer.Option(help="Passes, each over fresh scenes.")] = 100,
    scenes: Annotated[int, typer.Option(help="Scenes per epoch.")] = 20_000,
    batch: Annotated[int, typer.Option(help="Scenes per step.")] = 64,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 0.02,
    seed: Seed = 0,
    largest: Annotated[int, typer.Option(help="l0: longest side of the rectangle, pixels.")] = 16,
    radius: Annotated[float, typer.Option(help="linf: radius of the attack, pixel units.")] = 0.05,
    attack_steps: Annotated[int, typer.Option(help="linf: gradient steps of the attack.")] = 3,
    warmup: Annotated[float, typer.Option(help="linf: share of the training in which the radius grows.")] = 0.5,
    init: Annotated[str | None, typer.Option(help="Network whose weights to start from.")] = None,
    test_scenes: Annotated[int, typer.Option(help="Held-out scenes for the accuracy.")] = Evaluation.scenes,
    data_root: DataRoot = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch.")] = False,
    as_json: Json = False,
) -> None:
    """Train a network to name the digits of a scene.

    After each epoch the state goes to OUT with the ending .checkpoint; --resume goes on from there, and the result
    is that of a training never stopped.
    """
    options: dict[str, Any] = {
        "data": data.value, "digits": digits, "defence": defence.value, "arch": arch, "epochs": epochs,
        "scenes": scenes, "batch": batch, "rate": rate, "seed": check_seed(seed),
    }  # fmt: skip
    options |= {"largest": largest} if defence is DefenceName.L0 else {}
    if defence is DefenceName.LINF:
        options |= {"radius": radius, "attack_steps": attack_steps, "warmup": warmup}
    options |= {"init": init} if init is not None else {}
    evaluation = Evaluation(scenes=test_scenes, attacked=min(test_scenes, Evaluation.attacked))
    options |= {"test_scenes": test_scenes} if evaluation != Evaluation() else {}
    if out.suffix != ".safetensors":
        raise InputError(f"--out {out} ends in {out.suffix or 'nothing'}; name it *.safetensors")
    check_file("--out", out)
    check_file("--out", out.with_suffix(".json"))
    checkpoint = check_file("--out", out.with_suffix(".checkpoint"))
    if not all(1 <= count <= _MOST for count in (scenes, batch, test_scenes)):
        raise InputError(
            f"{scenes} scenes in batches of {batch}, tested on {test_scenes}, cannot train; pass 1 to {_MOST} of each"
        )

    torch.set_num_threads(1)  # sums in the same order on every machine; networks this small gain nothing from more
    module = _start(arch, recipe(digits).canvas, seed, init, data_root)
    source, held_out = (named_digits(data.value, split, data_root) for split in ("train", "test"))
    test = make_test_scenes(held_out, digits, evaluation)

    def batches(epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        made = make_batch(source, scenes, digits, torch.Generator().manual_seed(seed * 1_000_003 + epoch + 1))
        return zip(torch.split(made.images, batch), torch.split(made.labels, batch), strict=True)

    config = TrainingConfig(
        epochs=epochs,
        steps=-(-scenes // batch),
        rate=rate,
        seed=seed,
        defence=_defence(defence, largest, radius, attack_steps, warmup),
        source=json.dumps(options),
    )
    with _bar(config) as on_progress:
        result = fit(
            module,
            batches,
            lambda m: accuracy(m, test),
            config,
            checkpoint=checkpoint,
            resume=resume,
            on_progress=on_progress,
        )
    measured = measure(module, test, evaluation)
    record = _record(options, _command(options, out, data_root), result, asdict(evaluation) | measured)
    sha256 = nets.save(out, module, record)
    checkpoint.unlink(missing_ok=True)
    if as_json:
        summary = {"weights": str(out), "record": str(out.with_suffix(".json")), "sha256": sha256, **measured}
        print(json.dumps(summary | {"epochs": epochs, "seconds": record["seconds"]}))
    else:
        print(
            f"{out}: top-{digits} accuracy {measured['accuracy']:.1%} on {len(test)} held-out scenes, "
            f"{measured['pgd_accuracy']:.1%} after an attack of radius {evaluation.radius:g}"
        )


def make_test_scenes(held_out: DigitSet, digits: int, evaluation: Evaluation) -> Batch:
    """The fixed held-out scenes on which every accuracy is measured."""
    return make_batch(held_out, evaluation.scenes, digits, torch.Generator().manual_seed(TEST_SEED))


def accuracy(module: nn.Module, scenes: Batch) -> float:
    """The share of scenes whose labels are exactly the highest scores."""
    return top_k_accuracy(module, _chunks(scenes))


def measure(module: nn.Module, scenes: Batch, evaluation: Evaluation) -> dict[str, float]:
    """Accuracy on the scenes, and on some of them after an attack (an upper bound of the share that is robust)."""
    generator = torch.Generator().manual_seed(TEST_SEED)
    images, labels = scenes.images[: evaluation.attacked], scenes.labels[: evaluation.attacked]
    moved = pgd(module, images, labels, evaluation.radius, evaluation.steps, evaluation.radius / 4, generator)
    return {"accuracy": accuracy(module, scenes), "pgd_accuracy": top_k_accuracy(module, [(moved, labels)])}


def _chunks(
    scenes: Batch,
) -> Iterable[tuple[Float[Tensor, "chunk 1 height width"], Int[Tensor, "chunk objects"]]]:
    return zip(torch.split(scenes.images, _CHUNK), torch.split(scenes.labels, _CHUNK), strict=True)


def _start(arch: str, canvas: int, seed: int, init: str | None, root: Path | None) -> nets.ConvNet:
    module = nets.build(arch, canvas, torch.Generator().manual_seed(seed))
    if init is not None:
        given = nets.load(init, arch, root)
        if not isinstance(given.module, nets.ConvNet):
            raise InputError(f"--init {init} is a model whose weights have no place here; pass .safetensors")
        if given.input_shape[1] != canvas or given.classes != module.classes:
            raise InputError(
                f"--init {init} reads {given.input_shape[1]}x{given.input_shape[1]} images and names {given.classes} "
                f"classes; pass a network for {canvas}x{canvas} images and {module.classes} classes"
            )
        module.load_state_dict(given.module.state_dict())
    return module


def _defence(name: DefenceName, largest: int, radius: float, steps: int, warmup: float) -> Defence:
    match name:
        case DefenceName.NONE:
            return NoDefence()
        case DefenceName.L0:
            return BlackRectangle(largest=largest)
        case DefenceName.LINF:
            return LinfPgd(radius=radius, steps=steps, warmup=warmup)


def _command(options: dict[str, Any], out: Path, root: Path | None) -> str:
    words = ["aureole", "train", "--out", str(out)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words + (["--data-root", str(root)] if root is not None else []))


def _record(options: dict[str, Any], command: str, result: TrainingResult, test: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": command,
        "options": options,
        "test": {"seed": TEST_SEED} | test,
        "seconds": round(sum(e.seconds for e in result.epochs), 1),
        "epochs": [{"loss": round(e.loss, 5), "accuracy": e.accuracy} for e in result.epochs],
        "versions": {"python": platform.python_version()} | {p: version(p) for p in ("aureole", "torch", "numpy")},
    }


@contextmanager
def _bar(config: TrainingConfig) -> Iterator[Any]:
    """A bar on standard error when that is a terminal; one line per epoch there in any case."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=config.epochs * config.steps)

        def on_progress(progress: Progress) -> None:
            done = (progress.epoch - 1) * config.steps + progress.step
            bar.update(task, completed=done, description=f"epoch {progress.epoch}, loss {progress.loss:.3f}")
            if len(progress.finished) == progress.epoch:
                last = progress.finished[-1]
                console.print(
                    f"epoch {progress.epoch}/{config.epochs}: loss {last.loss:.4f}, accuracy {last.accuracy:.1%}, "
                    f"{last.seconds:.1f} s",
                    highlight=False,
                )

        yield on_progress
