"""`aureole neighborhood`: the largest radii around an object for which a label provably survives."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from aureole.cli import inputs, options, records
from aureole.cli.interrupted import Interrupted
from aureole.cli.output import calls_in_words, print_json, print_summary
from aureole.cli.progress import progress
from aureole.cli.question import Question, Settings, check_labels, from_files, from_scene
from aureole.cli.ready import ready
from aureole.core import Budget, Graph, InputError
from aureole.neighborhood import DEFAULT, METHODS, maximize, record
from aureole.nets import Network
from aureole.report import words
from aureole.report.style import DOWN, UP, number

Method = Annotated[str, typer.Option("--method", help=f"One of {', '.join(METHODS)}.")]
Objective = Annotated[
    str,
    typer.Option(
        "--objective",
        help="What is maximised: sum (weighted sum of the radii), log (weighted geometric mean, a radius below "
        "0.000001 counting as that) or min (the largest t with each radius >= t x its weight).",
    ),
]
Weights = Annotated[
    str, typer.Option("--weights", help="uniform, object, near, far, pixels, or one number per ring (band): 1,0.5,…")
]
Delta = Annotated[float, typer.Option("--delta", help="A ring is at its limit when this much more breaks it.")]
Bands = Annotated[
    str | None,
    typer.Option("--bands", help="One radius per band of rings: 0,1,4,16 is the object, rings 1-3, 4-15, the rest."),
]
Floor = Annotated[
    str, typer.Option("--floor", help="Smallest radius of a ring in an answer: one number, or one per ring (band).")
]
Cap = Annotated[
    str, typer.Option("--cap", help="Largest radius of a ring worth having: one number, or one per ring (band).")
]


def neighborhood(
    net: options.NetArgument,
    image: Annotated[
        Path | None, typer.Argument(metavar="[IMAGE]", help="A PNG (8 bit) or .npy image; or use --scene.")
    ] = None,
    mask: Annotated[
        list[Path] | None,
        typer.Option("--mask", help="PNG or .npy, non-zero at the perturbed object; again for further objects."),
    ] = None,
    scene: Annotated[
        Path | None, typer.Option("--scene", help="A scene's folder, instead of IMAGE and --mask.")
    ] = None,
    target: Annotated[
        list[int] | None,
        typer.Option("--target", help="The label that must survive; again for further labels: then all must."),
    ] = None,
    perturbed: Annotated[
        list[int] | None,
        typer.Option("--object", help="With --scene: the label of the object to perturb around; again for further."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("--k", help="The target must stay among the k highest scores; a scene's number of objects."),
    ] = None,
    method: Method = DEFAULT,
    objective: Objective = "sum",
    weights: Weights = "uniform",
    bands: Bands = None,
    floor: Floor = "0",
    cap: Cap = "1",
    delta: Delta = 1e-3,
    timeout: options.Timeout = 60.0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the record and picture.", show_default="aureole-out/…")
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    arch: options.Arch = None,
    mean: options.Mean = None,
    std: options.Std = None,
    data_root: options.DataRoot = None,
    json: options.Json = False,
) -> None:
    """Find the largest radii, one per ring of pixels around an object, for which the target provably survives.

    Writes a record and a picture, which `aureole report` draws again. Ctrl-C ends the search with what is proved.
    """
    settings = Settings(method, objective, weights, delta, timeout, seed, bands, floor, cap, mean, std, device)
    targets, objects, masks = target or [], perturbed or [], mask or []
    check_labels(targets, objects)
    if out is not None:
        options.check_out(out)
    network, graph = inputs.read_network(net, arch, data_root, mean, std)
    if scene is not None:
        if image is not None or masks:
            raise InputError("both --scene and IMAGE or --mask given; pass the scene alone, or an image and its mask")
        question = from_scene(scene, targets, objects, k)
    else:
        question = from_files(graph, image, masks, targets, objects, k)
    graph = inputs.taking_image(graph, question.image)
    label, name = "-".join(map(str, targets)), re.sub(r"[^\w.-]+", "_", question.name)  # a scene may be called "a/b"
    folder = out or Path("aureole-out") / f"{network.name}-{name}-label{label}-{method}"
    options.check_out(folder)
    ready()
    with progress(f"growing rings in {network.name}", timeout) as on_progress:
        result, pictures = answer(network, graph, question, settings, Budget.seconds(timeout), folder, on_progress)
    if json:
        print_json(result)
    else:
        _tell(result, network.name, question, settings, pictures)
    if result["interrupted"]:
        raise Interrupted("interrupted: the best proved radii so far")


def answer(
    network: Network,
    graph: Graph,
    question: Question,
    settings: Settings,
    budget: Budget,
    folder: Path,
    on_progress: Any = None,
) -> tuple[dict[str, Any], list[Path]]:
    """Run a method on a question and write its record; returns what --json prints, and the pictures' paths."""
    result = record_answer(network, graph, question, settings, budget, folder, on_progress)
    return result, records.draw_pictures(folder)


def record_answer(
    network: Network,
    graph: Graph,
    question: Question,
    settings: Settings,
    budget: Budget,
    folder: Path | None,
    on_progress: Any = None,
) -> dict[str, Any]:
    """As `answer`, without the pictures, and without the record where no folder is given for it."""
    problem = settings.problem(graph, question)
    found = maximize(
        problem,
        settings.method,
        budget=budget,
        seed=settings.seed,
        query_seconds=settings.query_seconds,
        on_progress=on_progress,
        device=settings.device,
    )
    result = found.summary() | {"notes": list(graph.notes), "record": None if folder is None else str(folder)}
    if folder is None:
        return result
    config = question.words() | asdict(settings) | {"query_seconds": settings.query_seconds}
    made = record(
        problem, found, question.mask, question.target_mask,
        name=question.name, network=records.network_words(network), config=config, result=result,
    )  # fmt: skip
    records.save(folder, *made)
    return result


def _maximal(result: dict[str, Any], delta: float) -> str:
    if result["maximal"] is None:
        return "not looked at"
    return f"{'yes' if result['maximal'] else 'not shown'}: {words.growth(result, delta)}"


def _tell(result: dict[str, Any], network: str, question: Question, settings: Settings, pictures: list[Path]) -> None:
    config = question.words()
    around = words.the_object(config)
    if result["verdict"] == "ROBUST":
        sentence = (
            f"Proved: {words.survives(config)} of {network} for every image within the radii found around {around}."
        )
    elif result["detail"]:
        sentence = f"No radii around {around} were proved: {result['detail']}."
    else:
        advice = "before the interruption" if result["interrupted"] else "in the time given; pass a longer --timeout"
        sentence = f"Open: no radii around {around} were proved {advice}."
    radii = result["radii"]
    facts = [
        ("size", words.size(result, asdict(settings))),
        ("radii", f"{number(min(radii), 4, DOWN)} to {number(max(radii), 4, DOWN)}"),
        ("maximal", _maximal(result, settings.delta)),
        ("prover calls", calls_in_words(result["calls"])),
        ("time", f"{result['seconds']:.1f} s"),
        ("record", result["record"]),
    ]
    if result["bands"] is not None:
        each = zip(words.band_names(result["bands"]), radii, strict=True)
        facts[1] = ("radii", ", ".join(f"{name}: {number(radius, 4, DOWN)}" for name, radius in each))
    if result["upper_bound"] is not None:
        facts.insert(1, ("at most", f"{number(result['upper_bound'], 4, UP)} is possible"))
    if result["verdict"] == "ROBUST" and result["detail"]:
        facts.append(("note", result["detail"]))
    facts += [("note", note) for note in result["notes"]]
    facts += [("picture", str(path)) for path in pictures]
    print_summary(result["verdict"], sentence, facts)
