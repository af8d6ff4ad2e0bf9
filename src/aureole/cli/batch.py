"""`aureole neighborhoods`: many scenes and networks, several at once, and which network is the more robust."""

import json as json_words
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aureole import nets
from aureole.campaign import Failed, run_all
from aureole.cli import inputs, options
from aureole.cli.batch_case import FAILED, NOT_RECOGNISED, REFUSED, Case, Prepare, identity
from aureole.cli.interrupted import Interrupted
from aureole.cli.jsonl import read_objects, writer
from aureole.cli.neighborhood import Bands, Cap, Delta, Floor, Method, Objective, Weights
from aureole.cli.output import print_json
from aureole.cli.progress import counting
from aureole.cli.question import Settings
from aureole.cli.ready import ready
from aureole.core import InputError
from aureole.core.files import read_bytes, write_bytes
from aureole.core.record import digest
from aureole.data import read_scene
from aureole.data.scene_files import SCENE_NAME
from aureole.neighborhood import DEFAULT
from aureole.report import batch as summaries

CASES_NAME = "cases.jsonl"
SETTINGS_NAME = "settings.json"
AGAIN = (REFUSED, FAILED)
"""The status of cases that may do better next time: bad input can be mended, a worker may die of something else."""

_GRACE = 120.0  # seconds beyond twice its time limit after which a worker counts as hung


def neighborhoods(
    scenes: Annotated[Path, typer.Option("--scenes", help="A folder of scenes' folders (aureole scenes make).")],
    networks: Annotated[str, typer.Option("--nets", help="Networks, separated by commas; each as NET elsewhere.")],
    out: Annotated[Path, typer.Option("--out", help=f"Folder of {CASES_NAME}: one line per finished case.")],
    workers: Annotated[int, typer.Option("--workers", help="Cases at once.")] = max(1, os.cpu_count() or 1),
    pairs: Annotated[
        str,
        typer.Option(
            "--pairs",
            help="all: each label of a scene is the target once, around each other object; first: the first label is "
            "the target, the second the object.",
        ),
    ] = "all",
    k: Annotated[int | None, typer.Option("--k", help="As for neighborhood; a scene's number of objects.")] = None,
    method: Method = DEFAULT,
    objective: Objective = "sum",
    weights: Weights = "uniform",
    bands: Bands = None,
    floor: Floor = "0",
    cap: Cap = "1",
    delta: Delta = 1e-3,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds of wall-clock time for each case.")] = 60.0,
    keep: Annotated[
        bool, typer.Option("--records", help="Keep a record per case computed, which `aureole report OUT` draws.")
    ] = False,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    mean: options.Mean = None,
    std: options.Std = None,
    data_root: options.DataRoot = None,
    json: options.Json = False,
) -> None:
    """Find neighborhoods for every scene and network, and say which network is the more robust.

    The same command again goes on where an earlier one stopped. Ctrl-C keeps the finished cases.
    """
    settings = Settings(method, objective, weights, delta, timeout, seed, bands, floor, cap, mean, std, device)
    if workers < 1:
        raise InputError(f"--workers is {workers}; pass at least 1")
    if pairs not in ("all", "first"):
        raise InputError(f"--pairs {pairs!r} is unknown; pass all or first")
    options.check_out(out)
    scales = inputs.read_scales("--mean", mean), inputs.read_scales("--std", std)
    cases = list_cases(scenes, [name for name in networks.split(",") if name], pairs, k, data_root, *scales)
    lines = read_objects(out / CASES_NAME)
    answered = [line for line in lines if _is_answer(line)]
    _same_settings(out / SETTINGS_NAME, asdict(settings), begun=bool(answered))
    known = {identity(line) for line in answered}
    left = [case for case in cases if case.identity not in known]
    prepare = Prepare(settings, data_root, out if keep else None)
    if left:
        ready()
    finished = _run(left, len(cases), prepare, workers, out / CASES_NAME)
    ends = {identity(line): line for line in [*answered, *finished]}
    mine = [ends[case.identity] for case in cases if case.identity in ends]
    summary = summaries.summarise(mine)
    sentences = summaries.sentences(mine)
    if json:
        print_json({"cases": len(mine), "networks": summary, "sentences": sentences, "out": str(out)})
    else:
        _tell(summary, sentences, out)
    if bad := [line for line in mine if line["status"] in AGAIN]:
        raise InputError(
            f"{len(bad)} of {len(mine)} cases have no answer, and the same command asks them again; {bad[0]['case']}: "
            f"{bad[0]['why']}"
        )


def list_cases(
    scenes: Path,
    names: Sequence[str],
    pairs: str,
    k: int | None,
    data_root: Path | None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> list[Case]:
    """Every case asked for, scene by scene, so that networks can be compared early; InputError where one cannot be."""
    folders = sorted(path.parent for path in scenes.glob(f"*/{SCENE_NAME}"))
    if not folders:
        raise InputError(f"{scenes} holds no scenes; pass a folder of scenes' folders (aureole scenes make writes one)")
    if not names:
        raise InputError("no network is given; pass --nets with names or files, separated by commas")
    loaded = [(name, nets.load(name, None, data_root, mean=mean, std=std)) for name in names]
    inputs.check_names([network for _, network in loaded])
    cases = []
    for folder in folders:
        scene = read_scene(folder)
        sha256 = digest({"image": scene.image})
        count = len(scene.distinct_labels) if k is None else k
        labels = scene.distinct_labels if pairs == "all" else scene.distinct_labels[:2]
        chosen = [(target, other) for target in labels for other in labels if other != target]
        for target, other in chosen if pairs == "all" else chosen[:1]:
            masks = digest({"target": scene.mask(target), "object": scene.mask(other)})
            cases += [
                Case(name, net.name, net.sha256, str(folder), folder.name, sha256, masks, target, other, count)
                for name, net in loaded
            ]
    if not cases:
        raise InputError(f"no scene in {scenes} shows two objects, a target and another; pass scenes that do")
    return cases


def _is_answer(line: Mapping[str, Any]) -> bool:
    """Whether a line of the journal tells how its case ended; else the case is asked again."""
    match line:
        case {
            "status": "done", "network": str(), "scene": str(), "target": int(), "object": int(),
            "verdict": str(), "size": int() | float(), "seconds": int() | float(),
            "maximal": bool() | None, "gap": int() | float() | None,
        }:  # fmt: skip
            return True
        case {"status": str(status), "network": str()}:
            return status == NOT_RECOGNISED
    return False


def _same_settings(path: Path, settings: dict[str, Any], begun: bool) -> None:
    """Write the settings beside the journal; InputError when that was `begun` with other ones."""
    text = json_words.dumps(settings, indent=1) + "\n"
    if not begun or not path.exists():
        write_bytes(path, text.encode())
        return
    try:
        earlier = json_words.loads(read_bytes(path, "the settings of this batch"))
        earlier = asdict(Settings()) | earlier  # what was no setting then
        changed = [f"{name} {earlier[name]!r} -> {settings[name]!r}" for name in settings
                   if earlier[name] != settings[name]]  # fmt: skip
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged; pass another --out") from error
    if changed:
        raise InputError(f"{path.parent} was begun with other settings ({', '.join(changed)}); pass another --out")


def _run(cases: Sequence[Case], total: int, prepare: Prepare, workers: int, path: Path) -> list[dict[str, Any]]:
    finished: list[dict[str, Any]] = []
    patience = 2 * prepare.settings.timeout + _GRACE
    try:
        with writer(path) as write, counting("neighborhoods", total, total - len(cases)) as tell:
            for number, result in run_all(prepare, cases, workers, patience=patience):
                case = cases[number]
                line = case.line(FAILED, result.why) if isinstance(result, Failed) else result
                write(line)
                finished.append(line)
                tell(case.key)
    except KeyboardInterrupt:
        done = total - len(cases) + len(finished)
        raise Interrupted(
            f"interrupted: {done} of {total} cases are in {path}; the same command goes on from there"
        ) from None
    return finished


def _tell(summary: list[dict[str, Any]], sentences: list[str], out: Path) -> None:
    console = Console(highlight=False)
    made = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    for i, column in enumerate(summaries.COLUMNS):
        made.add_column(column, overflow="fold", justify="right" if i else "left", no_wrap=not i)
    for row in summaries.cells(summary):
        made.add_row(*map(Text, row))
    console.print(made)
    for sentence in sentences:
        console.print(sentence, markup=False)
    console.print(f"Cases: {out / CASES_NAME}", markup=False, soft_wrap=True)
