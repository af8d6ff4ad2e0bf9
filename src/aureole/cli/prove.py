"""`aureole prove`: does a label survive every image within given radii?"""

from pathlib import Path
from typing import Annotated, Any

import typer
from jaxtyping import Bool, Float
from torch import Tensor

from aureole import verify
from aureole.cli import answers, inputs, options, records, specs
from aureole.cli.cases import Settings, answer_all
from aureole.cli.interrupted import Interrupted
from aureole.cli.output import calls_in_words, print_json, print_summary
from aureole.cli.progress import progress
from aureole.cli.ready import ready
from aureole.core import Answer, Budget, InputError, Region, Rings, Verdict, Why
from aureole.core.device import usable
from aureole.report.style import DOWN, number


def prove(
    net: options.OptionalNet = None,
    image: Annotated[
        Path | None, typer.Argument(metavar="IMAGE", help="A PNG (8 bit) or .npy image.", show_default=False)
    ] = None,
    target: Annotated[
        list[int] | None, typer.Option("--target", help="The label that must survive; several: all must.")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", help="The target must stay among the k highest scores.")] = None,
    out_of_top: Annotated[
        bool, typer.Option("--out-of-top", help="The target must stay out of the k highest instead.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Instead of --k: the target's score must stay above this.")
    ] = None,
    radius: Annotated[float | None, typer.Option("--radius", help="One radius for every pixel.")] = None,
    radii: Annotated[Path | None, typer.Option("--radii", help="JSON, text or .npy: one radius per ring.")] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="PNG or .npy: the object of the rings.")] = None,
    cases: Annotated[
        Path | None,
        typer.Option("--cases", help="Many questions, one JSON object per line, instead of NET, IMAGE and radii."),
    ] = None,
    timeout: options.Timeout = 60.0,
    method: Annotated[str, typer.Option("--method", help=f"One of {', '.join(verify.PORTFOLIOS)}.")] = "complete",
    solver: Annotated[str, typer.Option("--solver", help=f"The MILP's: {', '.join(verify.SOLVERS)}.")] = "highs",
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    witness: Annotated[
        Path | None, typer.Option("--witness", help="Write the witness here (.npy); without one, the file goes.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write a record and a picture into this folder; with --cases, the file of answers."),
    ] = None,
    arch: options.Arch = None,
    mean: options.Mean = None,
    std: options.Std = None,
    data_root: options.DataRoot = None,
    json: options.Json = False,
) -> None:
    """Decide whether the target stays among (or out of) the k highest scores for every image within the radii.

    ROBUST is proved, VULNERABLE comes with a witness image, UNKNOWN says why. Ctrl-C ends the work with what is known
    (status 130). --cases gives one JSON line per question, in order; with --out a later run goes on where it stopped.
    """
    options.check_timeout(timeout)
    options.check_seed(seed)
    usable(device)
    portfolio = verify.portfolio(method, solver)
    if cases is not None:
        given = (
            net, image, target or None, k, out_of_top or None, threshold, radius, radii, mask, witness, arch, mean, std,
        )  # fmt: skip
        if json:
            raise InputError("--cases writes one JSON object per line by itself; leave --json away")
        _check_cases(given, out)
        answer_all(cases, out, Settings(timeout, seed, method, solver, data_root, device))
        return
    if net is None or image is None or not target or (k is None and threshold is None):
        raise InputError("NET, IMAGE, --target and --k are needed; pass them, or --cases with a file of questions")
    _check(net, image, radius, radii, mask, witness, out)
    network, graph = inputs.read_network(net, arch, data_root, mean, std)
    asked = specs.named_specs(target, k, out_of_top, threshold, graph.classes)
    pixels, graph = inputs.read_image_for(image, graph)
    marked, ring_radii, region = _region(pixels, radius, radii, mask)

    ready()
    with progress(f"proving label {', '.join(map(str, target))} in {network.name}", timeout):
        answer = specs.decide(graph, pixels, region, asked, Budget.seconds(timeout), seed, portfolio, device)

    place = witness or (out / "witness.npy" if out is not None else None)
    config: dict[str, Any] = {
        "target": target[0] if len(target) == 1 else target, "k": k, "radius": radius, "timeout": timeout, "seed": seed,
        "method": method, "solver": solver, "device": device,
    }  # fmt: skip
    more = {
        "mean": mean, "std": std, "out_of_top": out_of_top or None, "threshold": threshold,
        "radii": None if ring_radii is None else ring_radii.tolist(),
    }  # fmt: skip
    config |= {name: value for name, value in more.items() if value is not None}
    result = answers.result(answer, place) | {"record": None, "notes": list(graph.notes)}
    if out is not None:
        result["record"] = str(out)
        records.save(
            out, *records.prove_record(network, image.stem, pixels, answer, marked, ring_radii, config, result)
        )
    answers.keep_witness(answer, place)
    pictures = records.draw_pictures(out) if out is not None else []
    if json:
        print_json(result)
    else:
        _tell(answer, result, network.name, "; ".join(spec.claim for spec in asked), pictures)
    if answer.why is Why.INTERRUPTED:
        raise Interrupted("interrupted: what was known by then")


def _region(
    pixels: answers.Image, radius: float | None, radii: Path | None, mask: Path | None
) -> tuple[Bool[Tensor, "height width"] | None, Float[Tensor, "rings"] | None, Region]:
    """The mask and one radius per ring, where these were given, and the region that is asked about."""
    marked = None if mask is None else inputs.read_fitting_mask(mask, pixels)
    if radii is None or marked is None:
        return marked, None, Region.ball(pixels, float(radius or 0.0))
    rings = Rings.around(marked)
    ring_radii = inputs.read_radii(radii, rings)
    return marked, ring_radii, Region.ringed(pixels, rings, ring_radii)


def _check_cases(given: tuple[object, ...], out: Path | None) -> None:
    if any(value is not None for value in given):
        raise InputError(
            "--cases goes with --timeout, --method, --solver, --seed, --device, --data-root and --out alone; "
            "the rest stands in its lines"
        )
    if out is not None:
        options.check_file("--out", out)


def _check(
    net: str,
    image: Path,
    radius: float | None,
    radii: Path | None,
    mask: Path | None,
    witness: Path | None,
    out: Path | None,
) -> None:
    specs.check_where(radius, radii, mask)
    if radius is not None:
        options.check_radius(radius)
    if witness is not None:
        options.check_file("--witness", witness, (Path(net), image, radii, mask))
        if witness.suffix != ".npy":
            raise InputError(f"--witness {witness} must end in .npy; name the file so")
    if out is not None:
        options.check_out(out)


def _tell(answer: Answer, result: dict[str, Any], network: str, claim: str, pictures: list[Path]) -> None:
    sentence = {
        Verdict.ROBUST: f"Proved: {claim} ({network}, every image within the radii).",
        Verdict.VULNERABLE: f"Broken: not for every image within the radii of {network}: {answer.detail or claim}.",
        Verdict.UNKNOWN: f"Open: {answer.detail or 'the work ended without a proof or a witness'}.",
    }[answer.verdict]
    facts = [("decided by", str(answer.why))]
    if answer.margin_bound is not None and answer.verdict is not Verdict.VULNERABLE:
        facts.append(("margin at least", number(answer.margin_bound, 4, DOWN)))
    if answer.margin_seen is not None:
        facts.append(("smallest margin seen", f"{answer.margin_seen:.4g}"))
    if answer.witness is not None:
        facts.append(("witness", result["witness"] or "not written; pass --witness FILE.npy to keep it"))
    facts += [("note", note) for note in result["notes"]]
    facts += [("prover calls", calls_in_words(result["calls"])), ("time", f"{answer.seconds:.1f} s")]
    facts += [("picture", str(path)) for path in pictures]
    print_summary(result["verdict"], sentence, facts)
