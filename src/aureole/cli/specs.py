"""From options, or a line of cases, to specs: which labels stay where; what goes together, too."""

from collections.abc import Sequence

from aureole import verify
from aureole.cli.answers import Image
from aureole.core import AboveThreshold, Answer, Budget, Graph, InputError, OutOfTopK, Region, Spec, TopK, Verdict, Why
from aureole.core.graph import check_comparable


def named_specs(
    labels: Sequence[int], k: int | None, out_of_top: bool, threshold: float | None, classes: int
) -> tuple[Spec, ...]:
    """One spec per label; InputError when the options do not go together or do not fit the network's classes."""
    if (k is None) == (threshold is None):
        given = "neither" if k is None else "both"
        raise InputError(f"{given} of k and threshold given; pass one of them")
    if threshold is not None and out_of_top:
        raise InputError("to stay out of the top goes with k, not with a threshold; leave one of them away")
    specs: list[Spec] = []
    for label in dict.fromkeys(labels):
        if threshold is not None:
            specs.append(AboveThreshold(label, threshold))
        elif k is not None:
            specs.append(OutOfTopK(label, k, classes) if out_of_top else TopK(label, k))
        specs[-1].rows(classes)  # tells what does not fit, before any work
    return tuple(specs)


def check_where(radius: float | None, radii: object | None, mask: object | None) -> None:
    """InputError unless one radius is given, or radii with the mask that they lie around."""
    if (radius is None) == (radii is None):
        raise InputError(f"{'neither' if radius is None else 'both'} of radius and radii given; pass one of them")
    if radii is not None and mask is None:
        raise InputError("radii need rings; pass mask with the object they lie around")
    if radius is not None and mask is not None:
        raise InputError("mask goes with radii; radius is one radius for every pixel, leave mask away")


def decide(
    graph: Graph,
    image: Image,
    region: Region,
    specs: Sequence[Spec],
    budget: Budget,
    seed: int,
    method: verify.Portfolio,
    device: str = "cpu",
) -> Answer:
    """Whether all specs hold, after a look at the clean image: where one fails there, that image is the witness."""
    for spec in specs:
        check_comparable(graph, spec)
    seen = region.nearest(image, graph.precision)[0]  # a number that the model reads as it is
    scores = graph.replay(seen)
    for spec in specs:
        margin = float(spec.margin(scores))
        if margin <= 0:
            which = "the spec" if len(specs) == 1 else f"the spec that {spec.claim}"
            return Answer(
                Verdict.VULNERABLE,
                Why.ATTACK,
                margin_seen=margin,
                witness=seen,
                weakest=seen,
                seconds=budget.spent,
                detail="; ".join([f"{which} fails on the clean image", *graph.notes]),
            )
    if len(specs) == 1:
        return verify.prove(graph, region, specs[0], method, budget=budget, seed=seed, device=device)
    return verify.prove_all(graph, region, specs, method, budget=budget, seed=seed, device=device)
