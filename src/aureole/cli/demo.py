"""`aureole demo`: three scenes and three networks, from handwriting to picture."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from aureole import nets
from aureole.cli import inputs, options
from aureole.cli.interrupted import Interrupted
from aureole.cli.neighborhood import answer
from aureole.cli.output import print_json
from aureole.cli.progress import progress
from aureole.cli.question import Question, Settings
from aureole.cli.ready import ready
from aureole.cli.scenes import save_scene
from aureole.core import Budget, Graph, InputError, Scene, times
from aureole.core.record import read_record
from aureole.data import load_source_digits, make_scenes
from aureole.data.digit_set import CLASSES
from aureole.data.scenes import RECIPES
from aureole.neighborhood import DEFAULT
from aureole.report.tables import COLUMNS, rows

_SCENES = 3
_SEARCHED = 1000  # scenes looked at before giving up
_SEED = 0
_OBJECTS = 2

Pair = tuple[nets.Network, Graph]


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the records and pictures.")] = Path("demo-out"),
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds for all nine searches together.")] = 80.0,
    json: options.Json = False,
) -> None:
    """Prove a neighborhood for three scenes on each of the three shipped networks, with a picture of each."""
    options.check_timeout(timeout)
    options.check_out(out)
    networks = [inputs.read_network(name, None, None) for name in nets.SHIPPED]
    scenes = recognised_scenes(networks)
    for scene in scenes:
        save_scene(out / "scenes" / scene.name, scene)
    ready()
    budget = Budget.seconds(timeout)
    results = run_all(networks, scenes, budget, out)
    if json:
        print_json({"runs": results, "out": str(out), "seconds": budget.spent})
        return
    _tell(results, out, budget.spent)


def recognised_scenes(networks: Sequence[Pair], count: int | None = None) -> list[Scene]:
    """The first held-out scenes whose two digits are the two highest scores of every network.

    InputError for a network of images of another shape or of fewer classes.
    """
    made = (1, RECIPES[_OBJECTS].canvas, RECIPES[_OBJECTS].canvas)
    for network, graph in networks:
        if graph.input_shape != made:
            taken, given = map(times, (graph.input_shape, made))
            raise InputError(f"{network.name} takes {taken} images and the scenes made here are {given}; pass --scene")
        if graph.classes < CLASSES:
            raise InputError(f"{network.name} has {graph.classes} classes, not one per digit; pass --scene")
    wanted = _SCENES if count is None else count
    candidates = make_scenes(load_source_digits("test"), _SEARCHED, _OBJECTS, _SEED, prefix="demo")
    found = list(islice((s for s in candidates if all(_recognises(graph, s) for _, graph in networks)), wanted))
    if len(found) < wanted:
        raise InputError(f"only {len(found)} of {_SEARCHED} scenes are recognised by all networks; reinstall aureole")
    return found


def run_all(networks: Sequence[Pair], scenes: Sequence[Scene], budget: Budget, out: Path) -> list[dict[str, Any]]:
    """One search per scene and network, the time left shared evenly; returns what --json prints of each."""
    runs = [(scene, network, graph) for scene in scenes for network, graph in networks]
    results = []
    for i, (scene, network, graph) in enumerate(runs):
        share = max(0.1, budget.remaining / (len(runs) - i))
        question = Question.about(scene, scene.labels[:1])
        with progress(f"{i + 1} of {len(runs)}: {network.name}, {scene.name}", share) as on_progress:
            result, _ = answer(
                network,
                graph,
                question,
                Settings(DEFAULT, timeout=share, seed=_SEED),
                Budget.seconds(share),
                out / f"{scene.name}-{network.name}",
                on_progress,
            )
        results.append(result)
        if result["interrupted"]:
            raise Interrupted(f"interrupted in search {i + 1} of {len(runs)}; the records so far are in {out}")
    return results


def _recognises(graph: Graph, scene: Scene) -> bool:
    scores = graph.replay(scene.image)
    return set(scores.topk(len(scene.labels)).indices.tolist()) == set(scene.labels)


def _tell(results: Sequence[dict[str, Any]], out: Path, seconds: float) -> None:
    console = Console(highlight=False)
    proved = sum(result["verdict"] == "ROBUST" for result in results)
    console.print(f"{proved} of {len(results)} neighborhoods proved in {seconds:.0f} s")
    console.print(table(rows(read_record(Path(result["record"]))[0] for result in results)))
    console.print(
        "Target: the label that must stay among the 2 highest scores. Object: the digit around which pixels may "
        "change, ring by ring. Size: the sum of the radii (pixel range 0 to 1); min, max: the smallest and the "
        "largest of them. Maximal: yes when no ring can grow. Open: rings that may still be able to grow; the search "
        "ended before it could tell."
    )
    console.print(f"Pictures: {out}/*/neighborhood.png (and .svg)", markup=False, soft_wrap=True)


def table(cells: Iterable[Sequence[str]]) -> Table:
    """The rows under `COLUMNS`, narrow: all nine columns fit 80 characters, and where they do not, nothing is cut."""
    made = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
    for column in COLUMNS:
        made.add_column(column, overflow="fold", justify="left" if column in ("network", "scene") else "right")
    for row in cells:
        made.add_row(*row)
    return made
