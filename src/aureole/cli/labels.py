"""`aureole labels`: which labels stay among the k highest, which never get there, which do both?"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from aureole import verify
from aureole.cli import inputs, options
from aureole.cli.interrupted import Interrupted
from aureole.cli.output import print_json
from aureole.cli.progress import progress
from aureole.cli.ready import ready
from aureole.core import Answer, Budget, InputError, Region, Verdict
from aureole.core.device import usable
from aureole.report.style import DOWN, number

_COLOURS = {verify.Standing.IN: "green", verify.Standing.OUT: "blue", verify.Standing.BOTH: "red"}


def labels(
    net: options.NetArgument,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A PNG (8 bit) or .npy image.")],
    k: Annotated[int, typer.Option("--k", help="How many of the highest scores count as in.")],
    radius: Annotated[float, typer.Option("--radius", help="One radius for every pixel.")],
    seconds: Annotated[float, typer.Option("--timeout", help="Seconds for all labels together.")] = 60.0,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    arch: options.Arch = None,
    mean: options.Mean = None,
    std: options.Std = None,
    data_root: options.DataRoot = None,
    json: options.Json = False,
) -> None:
    """Say of every label whether it is among the k highest scores on all images within the radius, on none, on some.

    in and out are proved; both comes with an image of either kind, replayed through the network; unknown says what is
    open. A tie for the last place counts as both.
    """
    options.check_radius(radius)
    options.check_timeout(seconds)
    options.check_seed(seed)
    usable(device)
    network, graph = inputs.read_network(net, arch, data_root, mean, std)
    if not 1 <= k < graph.classes:
        raise InputError(f"--k {k} does not fit {graph.classes} classes; pass 1..{graph.classes - 1}")
    pixels, graph = inputs.read_image_for(image, graph)
    region = Region.ball(pixels, radius)
    ready()
    with progress(f"classifying {graph.classes} labels of {network.name}", seconds):
        found = verify.classify_labels(graph, region, k, budget=Budget.seconds(seconds), seed=seed, device=device)
    if json:
        print_json(_result(found, network.name, radius) | {"notes": list(graph.notes)})
    else:
        _tell(found, network.name, radius)
        print("".join(f"{note}\n" for note in graph.notes), end="")
    if found.interrupted:
        raise Interrupted("interrupted: what was known by then")


def _result(found: verify.Labels, network: str, radius: float) -> dict[str, Any]:
    rows = [
        {
            "label": answer.label,
            "standing": str(answer.standing),
            "stays_in": _side(answer.stays_in),
            "stays_out": _side(answer.stays_out),
            "detail": answer.detail,
        }
        for answer in found.answers
    ]
    return {
        "network": network,
        "k": found.k,
        "radius": radius,
        "settled": found.settled,
        "seconds": found.seconds,
        "labels": rows,
    }


def _side(answer: Answer) -> dict[str, Any]:
    return {
        "verdict": str(answer.verdict),
        "why": str(answer.why),
        "margin_bound": answer.margin_bound,
        "margin_seen": answer.margin_seen,
        "slack": answer.slack,
    }


def _tell(found: verify.Labels, network: str, radius: float) -> None:
    console = Console(highlight=False)
    console.print(
        f"Among the {found.k} highest scores of {network}, for every image within radius {radius:g}:", soft_wrap=True
    )
    table = Table(box=None, pad_edge=False, padding=(0, 1), show_edge=False)
    for heading in ("label", "", "decided by", "margin at least", "seen", ""):
        table.add_column(heading)
    for answer in found.answers:
        side, standing = answer.deciding, answer.standing
        proof = side.verdict is not Verdict.VULNERABLE
        table.add_row(
            str(answer.label),
            f"[{_COLOURS.get(standing, 'yellow')}]{standing}[/]",
            str(side.why),
            number(side.margin_bound, 4, DOWN) if proof and side.margin_bound is not None else "",
            f"{side.margin_seen:.4g}" if proof and side.margin_seen is not None else "",
            answer.question,
        )
    console.print(table, soft_wrap=True)
    total = len(found.answers)
    console.print(f"{found.settled} of {total} settled in {found.seconds:.1f} s. Proved: in, out. Two images: both.")
