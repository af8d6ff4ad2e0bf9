"""`aureole reproduce`: figures of the literature, redone from a scene."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from aureole import nets
from aureole.cli import inputs, options
from aureole.cli.demo import recognised_scenes
from aureole.cli.interrupted import Interrupted
from aureole.cli.neighborhood import Objective, Weights, record_answer
from aureole.cli.output import print_json
from aureole.cli.progress import progress
from aureole.cli.question import Question, Settings, check_labels
from aureole.cli.ready import ready
from aureole.core import Budget, InputError
from aureole.core.record import JSON_NAME, Array, digest, read_record
from aureole.data import read_scene
from aureole.report.grid import draw_grid

app = typer.Typer(add_completion=False, rich_markup_mode=None, help="Figures of the literature, redone.")

METHODS = ("oracle-fixed", "oracle", "certificate")


@app.callback()
def root() -> None:
    """Figures of the literature, redone."""


@app.command("layer-neighborhoods")
def layer_neighborhoods(
    scene: Annotated[
        Path | None, typer.Option("--scene", help="A scene's folder; else a scene that all three networks recognise.")
    ] = None,
    networks: Annotated[str, typer.Option("--nets", help="Networks, separated by commas.")] = ",".join(nets.SHIPPED),
    target: Annotated[int | None, typer.Option("--target", help="The label that must survive; else the first.")] = None,
    perturbed: Annotated[int | None, typer.Option("--object", help="The object to perturb around.")] = None,
    seconds: Annotated[float, typer.Option("--timeout", help="Seconds for each of the searches.")] = 30.0,
    objective: Objective = "sum",
    weights: Weights = "uniform",
    out: Annotated[Path, typer.Option("--out", help="Folder of the page and the records.")] = Path("reproduced"),
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    json: options.Json = False,
) -> None:
    """Mour's heat maps (2023, figures 2 and 3): one image, three networks, three methods, one page.

    Records that are there already for the same question and settings are drawn again, not computed again.
    """
    options.check_timeout(seconds)
    settings = {method: Settings(method, objective, weights, timeout=seconds, seed=seed) for method in METHODS}
    names = [name for name in networks.split(",") if name]
    if not names:
        raise InputError("no network is given; pass --nets with names or files, separated by commas")
    options.check_out(out)
    loaded = [inputs.read_network(name, None, data_root) for name in names]
    inputs.check_names([network for network, _ in loaded])
    shown = recognised_scenes(loaded, 1)[0] if scene is None else read_scene(scene)
    if target is None and not shown.labels:
        raise InputError(f"{scene} shows no object; pass a scene of two objects at least")
    targets, objects = ([shown.labels[0]] if target is None else [target]), ([] if perturbed is None else [perturbed])
    check_labels(targets, objects)
    question = Question.about(shown, targets, objects)
    for _, graph in loaded:
        settings[METHODS[0]].problem(graph, question)  # what does not fit is told before the work starts
    folders = []
    for network, graph in loaded:
        folders.append([out / f"{network.name}-{method}" for method in METHODS])
        for method, folder in zip(METHODS, folders[-1], strict=True):
            if _is_there(folder, network, question, settings[method]):
                continue
            ready()
            with progress(f"{network.name}, {method}", seconds) as on_progress:
                budget = Budget.seconds(seconds)
                result = record_answer(network, graph, question, settings[method], budget, folder, on_progress)
            if result["interrupted"]:
                (folder / JSON_NAME).unlink()  # cut short: to be computed again
                raise Interrupted(f"interrupted in {folder}; the records before it are kept")
    pictures = draw_grid(folders, out / "layer-neighborhoods")
    if json:
        print_json({"pictures": [str(path) for path in pictures], "records": [str(f) for row in folders for f in row]})
        return
    for path in pictures:
        print(path)


def _is_there(folder: Path, network: nets.Network, question: Question, settings: Settings) -> bool:
    if not (folder / JSON_NAME).exists():
        return False
    try:
        record, arrays = read_record(folder)
    except InputError:  # damaged: to be computed again
        return False
    asked: dict[str, Any] = question.words() | asdict(settings)
    return (
        record.network.get("sha256") == network.sha256
        and record.image.get("sha256") == digest({"image": question.image})
        and Array.MASK in arrays
        and torch.equal(arrays[Array.MASK].bool(), question.mask)
        and all(record.config.get(word) == value for word, value in asked.items())
    )
