"""`aureole neighborhood`: the largest radii around an object for which a label provably survives."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.cli import inputs, options, records
from aureole.cli.interrupted import Interrupted
from aureole.cli.output import calls_in_words, print_json, print_summary
from aureole.cli.progress import progress
from aureole.core import Budget, Graph, InputError, Rings, TopK
from aureole.data import read_scene
from aureole.neighborhood import METHODS, Problem, maximize
from aureole.nets import Network

OBJECTIVES = ("sum",)
BEST = next(name for name in ("certificate", "oracle", *METHODS) if name in METHODS)


@dataclass(frozen=True, eq=False)
class Question:
    """What the command line asks about: an image, the object that is perturbed around, and the label that must stay.

    mask:        the perturbed object; target_mask: the target's pixels, known for scenes only
    object:      the perturbed object's label, known for scenes only
    """

    image: Float[Tensor, "channels height width"]
    mask: Bool[Tensor, "height width"]
    target_mask: Bool[Tensor, "height width"] | None
    target: int
    object: int | None
    k: int
    name: str


@dataclass(frozen=True)
class Settings:
    """How it is answered; every field as on the command line."""

    method: str = BEST
    objective: str = "sum"
    weights: str = "uniform"
    delta: float = 1e-3
    timeout: float = 60.0
    seed: int = 0
    mean: str | None = None
    std: str | None = None

    @property
    def query_seconds(self) -> float:
        """The longest that one question to the prover may take: a single hard one must not eat all the time."""
        return min(10.0, self.timeout / 6)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"method {self.method!r} is unknown; pass one of {', '.join(METHODS)}")
        if self.objective not in OBJECTIVES:
            raise InputError(f"objective {self.objective!r} is unknown; this version has {', '.join(OBJECTIVES)}")
        options.check_timeout(self.timeout)
        options.check_delta(self.delta)
        options.check_seed(self.seed)


def neighborhood(
    net: options.NetArgument,
    image: Annotated[
        Path | None, typer.Argument(metavar="[IMAGE]", help="A PNG (8 bit) or .npy image; or use --scene.")
    ] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="PNG or .npy, non-zero at the perturbed object.")] = None,
    scene: Annotated[
        Path | None, typer.Option("--scene", help="A scene's folder, instead of IMAGE and --mask.")
    ] = None,
    target: Annotated[int | None, typer.Option("--target", help="The label that must survive.")] = None,
    perturbed: Annotated[
        int | None, typer.Option("--object", help="With --scene: the label of the object to perturb around.")
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("--k", help="The target must stay among the k highest scores; a scene's number of objects."),
    ] = None,
    method: Annotated[str, typer.Option("--method", help=f"One of {', '.join(METHODS)}.")] = BEST,
    objective: Annotated[str, typer.Option("--objective", help="sum: the weighted sum of the radii.")] = "sum",
    weights: Annotated[
        str, typer.Option("--weights", help="uniform, object, near, far, pixels, or one number per ring: 1,0.5,…")
    ] = "uniform",
    delta: Annotated[
        float, typer.Option("--delta", help="A ring is at its limit when this much more breaks it.")
    ] = 1e-3,
    timeout: options.Timeout = 60.0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the record and picture.", show_default="aureole-out/…")
    ] = None,
    seed: options.Seed = 0,
    arch: options.Arch = None,
    mean: options.Mean = None,
    std: options.Std = None,
    data_root: options.DataRoot = None,
    json: options.Json = False,
) -> None:
    """Find the largest radii, one per ring of pixels around an object, for which the target provably survives.

    Writes a record and a picture, which `aureole report` draws again. Ctrl-C ends the search with what is proved.
    """
    settings = Settings(method, objective, weights, delta, timeout, seed, mean, std)
    if target is None:
        raise InputError("no target is given; pass --target with the label that must survive")
    if perturbed == target:
        raise InputError(f"--object and --target are both {target}; the object must be another label than the target")
    if out is not None:
        options.check_out(out)
    network, graph = inputs.read_network(net, arch, data_root, mean, std)
    if scene is not None:
        if image is not None or mask is not None:
            raise InputError("both --scene and IMAGE or --mask given; pass the scene alone, or an image and its mask")
        question = from_scene(scene, target, perturbed, k)
    else:
        question = _from_files(graph, image, mask, target, perturbed, k)
    graph = inputs.taking_image(graph, question.image)
    folder = out or Path("aureole-out") / f"{network.name}-{question.name}-label{target}-{method}"
    options.check_out(folder)
    with progress(f"growing rings in {network.name}", timeout) as on_progress:
        result, pictures = answer(network, graph, question, settings, Budget.seconds(timeout), folder, on_progress)
    if json:
        print_json(result)
    else:
        _tell(result, network.name, question, pictures)
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
    spec = TopK(question.target, question.k)
    spec.rows(graph.classes)
    rings = Rings.around(question.mask)
    weights = inputs.read_weights(settings.weights, rings)
    problem = Problem(graph, question.image, rings, spec, weights, settings.delta)
    found = maximize(
        problem,
        settings.method,
        budget=budget,
        seed=settings.seed,
        query_seconds=settings.query_seconds,
        on_progress=on_progress,
    )
    config = {"target": question.target, "k": question.k, "object": question.object} | asdict(settings)
    config["query_seconds"] = settings.query_seconds
    records.save(
        folder,
        *records.neighborhood_record(
            network, question.name, problem, found, question.mask, question.target_mask, config
        ),
    )
    return found.summary() | {"record": str(folder), "notes": list(graph.notes)}, records.draw_pictures(folder)


def from_scene(folder: Path, target: int, perturbed: int | None, k: int | None) -> Question:
    """The question about a scene on disk; with two objects, the one that is not the target is perturbed."""
    scene = read_scene(folder)
    others = [label for label in scene.labels if label != target]
    if perturbed is None and len(others) == 1:
        perturbed = others[0]
    if perturbed is None:
        raise InputError(f"no object is given; pass --object with one of the scene's labels {list(scene.labels)}")
    target_mask = scene.mask(target) if target in scene.labels else None
    count = len(scene.labels) if k is None else k
    return Question(scene.image, scene.mask(perturbed), target_mask, target, perturbed, count, scene.name)


def _from_files(
    graph: Graph, image: Path | None, mask: Path | None, target: int, perturbed: int | None, k: int | None
) -> Question:
    if image is None:
        raise InputError("no image is given; pass IMAGE and --mask, or --scene")
    if mask is None:
        raise InputError("no mask is given; pass --mask with the perturbed object's pixels, or --scene")
    pixels, _ = inputs.read_image_for(image, graph)
    if k is None:
        raise InputError("no k is given; pass --k: the target must stay among the k highest scores")
    return Question(pixels, inputs.read_fitting_mask(mask, pixels), None, target, perturbed, k, image.stem)


def _tell(result: dict[str, Any], network: str, question: Question, pictures: list[Path]) -> None:
    place = f"among the {question.k} highest scores" if question.k > 1 else "on the highest score"
    around = "the object" if question.object is None else f"object {question.object}"
    if result["verdict"] == "ROBUST":
        sentence = (
            f"Proved: label {question.target} stays {place} of {network} for every image within the radii "
            f"found around {around}."
        )
    else:
        advice = "before the interruption" if result["interrupted"] else "in the time given; pass a longer --timeout"
        sentence = f"Open: no radii around {around} were proved {advice}."
    radii = result["radii"]
    maximal = {None: "not looked at", True: "yes: no ring can grow", False: "not shown"}[result["maximal"]]
    if result["open_rings"]:
        maximal += f"; {len(result['open_rings'])} of {len(radii)} rings might still grow"
    facts = [
        ("size", f"{result['size']:.4g} (weighted sum of {len(radii)} radii)"),
        ("radii", f"{min(radii):.4g} to {max(radii):.4g}"),
        ("maximal", maximal),
        ("prover calls", calls_in_words(result["calls"])),
        ("time", f"{result['seconds']:.1f} s"),
        ("record", result["record"]),
    ]
    facts += [("note", note) for note in result["notes"]]
    facts += [("picture", str(path)) for path in pictures]
    print_summary(result["verdict"], sentence, facts)
