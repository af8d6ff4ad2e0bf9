"""`aureole prove`: does a label survive every image within given radii?"""

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from jaxtyping import Float
from torch import Tensor

from aureole import verify
from aureole.cli import inputs, options, records
from aureole.cli.output import calls_in_words, print_json, print_summary
from aureole.cli.progress import progress
from aureole.core import Answer, Budget, Graph, InputError, Region, Rings, TopK, Verdict, Why
from aureole.core.files import write_bytes


def prove(
    net: options.NetArgument,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A PNG (8 bit) or .npy image.")],
    target: options.Target,
    k: Annotated[int, typer.Option("--k", help="The target must stay among the k highest scores.")],
    radius: Annotated[float | None, typer.Option("--radius", help="One radius for every pixel.")] = None,
    radii: Annotated[Path | None, typer.Option("--radii", help="JSON, text or .npy: one radius per ring.")] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="PNG or .npy: the object of the rings.")] = None,
    timeout: options.Timeout = 60.0,
    seed: options.Seed = 0,
    witness: Annotated[Path | None, typer.Option("--witness", help="Write the witness here (.npy).")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write a record and a picture into this folder.")] = None,
    arch: options.Arch = None,
    mean: options.Mean = None,
    std: options.Std = None,
    data_root: options.DataRoot = None,
    json: options.Json = False,
) -> None:
    """Decide whether the target stays among the k highest scores for every image within the radii.

    ROBUST is proved, VULNERABLE comes with a witness image, UNKNOWN says why.
    """
    _check(radius, radii, mask, timeout, seed, witness, out)
    network, graph = inputs.read_network(net, arch, data_root, mean, std)
    spec = TopK(target, k)
    spec.rows(graph.classes)
    pixels, graph = inputs.read_image_for(image, graph)
    marked = None if mask is None else inputs.read_fitting_mask(mask, pixels)
    ring_radii = None
    if radii is not None and marked is not None:
        rings = Rings.around(marked)
        ring_radii = inputs.read_radii(radii, rings)
        region = Region.ringed(pixels, rings, ring_radii)
    else:
        region = Region.ball(pixels, float(radius or 0.0))

    with progress(f"proving label {target} in {network.name}", timeout):
        answer = decide(graph, pixels, region, spec, Budget.seconds(timeout), seed)

    place = witness or (out / "witness.npy" if out is not None else None)
    config: dict[str, Any] = {"target": target, "k": k, "radius": radius, "timeout": timeout, "seed": seed}
    config |= {name: value for name, value in (("mean", mean), ("std", std)) if value is not None}
    if ring_radii is not None:
        config["radii"] = ring_radii.tolist()
    result = _result(answer, place) | {"notes": list(graph.notes)}
    if out is not None:
        result["record"] = str(out)
        records.save(
            out, *records.prove_record(network, image.stem, pixels, answer, marked, ring_radii, config, result)
        )
    if answer.witness is not None and place is not None:
        write_bytes(place, _npy(answer.witness))
    pictures = records.draw_pictures(out) if out is not None else []
    if json:
        print_json(result)
        return
    _tell(answer, result, network.name, target, k, pictures)


def decide(
    graph: Graph,
    image: Float[Tensor, "channels height width"],
    region: Region,
    spec: TopK,
    budget: Budget,
    seed: int,
) -> Answer:
    """`verify.prove`, after a look at the clean image: where the spec fails there, that image is the witness."""
    seen = region.nearest(image, graph.precision)[0]  # a number that the model reads as it is
    margin = float(spec.margin(graph.replay(seen)))
    if margin > 0:
        return verify.prove(graph, region, spec, budget=budget, seed=seed)
    return Answer(
        Verdict.VULNERABLE,
        Why.ATTACK,
        margin_seen=margin,
        witness=seen,
        weakest=seen,
        seconds=budget.spent,
        detail="; ".join(["the spec fails on the clean image", *graph.notes]),
    )


def _check(
    radius: float | None,
    radii: Path | None,
    mask: Path | None,
    timeout: float,
    seed: int,
    witness: Path | None,
    out: Path | None,
) -> None:
    if (radius is None) == (radii is None):
        given = "neither" if radius is None else "both"
        raise InputError(f"{given} of --radius and --radii given; pass one of them")
    if radii is not None and mask is None:
        raise InputError("--radii needs rings; pass --mask with the object they lie around")
    if radius is not None:
        options.check_radius(radius)
        if mask is not None:
            raise InputError("--mask goes with --radii; --radius is one radius for every pixel, leave --mask away")
    options.check_timeout(timeout)
    options.check_seed(seed)
    if witness is not None:
        options.check_file("--witness", witness)
        if witness.suffix != ".npy":
            raise InputError(f"--witness {witness} must end in .npy; name the file so")
    if out is not None:
        options.check_out(out)


def _result(answer: Answer, place: Path | None) -> dict[str, Any]:
    return {
        "verdict": str(answer.verdict),
        "why": str(answer.why),
        "margin_bound": answer.margin_bound,
        "witness": str(place) if answer.witness is not None and place is not None else None,
        "seconds": answer.seconds,
        "calls": dict(answer.calls),
        "margin_seen": answer.margin_seen,
        "detail": answer.detail,
        "record": None,
    }


def _npy(image: Float[Tensor, "channels height width"]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, image.detach().cpu().to(torch.float64).numpy(), allow_pickle=False)
    return buffer.getvalue()


def _tell(answer: Answer, result: dict[str, Any], network: str, target: int, k: int, pictures: list[Path]) -> None:
    place = f"among the {k} highest scores" if k > 1 else "on the highest score"
    sentence = {
        Verdict.ROBUST: f"Proved: label {target} stays {place} of {network} for every image within the radii.",
        Verdict.VULNERABLE: f"Broken: label {target} is not {place} of {network} for an image within the radii.",
        Verdict.UNKNOWN: f"Open: {answer.detail or 'the work ended without a proof or a witness'}.",
    }[answer.verdict]
    facts = [("decided by", str(answer.why))]
    if answer.margin_bound is not None and answer.verdict is not Verdict.VULNERABLE:
        facts.append(("margin at least", f"{answer.margin_bound:.4g}"))
    if answer.margin_seen is not None:
        facts.append(("smallest margin seen", f"{answer.margin_seen:.4g}"))
    if answer.witness is not None:
        facts.append(("witness", result["witness"] or "not written; pass --witness FILE.npy to keep it"))
    facts += [("note", note) for note in result["notes"]]
    facts += [("prover calls", calls_in_words(result["calls"])), ("time", f"{answer.seconds:.1f} s")]
    facts += [("picture", str(path)) for path in pictures]
    print_summary(result["verdict"], sentence, facts)
