"""From the options of `aureole prove` to specs: which labels, in or out of the top k, or above a threshold."""

from collections.abc import Sequence
from dataclasses import replace

from aureole import verify
from aureole.cli import answers
from aureole.core import AboveThreshold, Answer, Budget, Graph, InputError, OutOfTopK, Region, Spec, TopK


def named_specs(
    labels: Sequence[int], k: int | None, out_of_top: bool, threshold: float | None, classes: int
) -> tuple[Spec, ...]:
    """One spec per label; InputError when the options do not go together or do not fit the network's classes."""
    if (k is None) == (threshold is None):
        given = "neither" if k is None else "both"
        raise InputError(f"{given} of --k and --threshold given; pass one of them")
    if threshold is not None and out_of_top:
        raise InputError("--out-of-top goes with --k; leave it or --threshold away")
    specs: list[Spec] = []
    for label in dict.fromkeys(labels):
        if threshold is not None:
            specs.append(AboveThreshold(label, threshold))
        elif k is not None:
            specs.append(OutOfTopK(label, k, classes) if out_of_top else TopK(label, k))
        specs[-1].rows(classes)  # tells what does not fit, before any work
    return tuple(specs)


def decide(
    graph: Graph,
    image: answers.Image,
    region: Region,
    specs: Sequence[Spec],
    budget: Budget,
    seed: int,
    method: verify.Portfolio,
    device: str = "cpu",
) -> Answer:
    """Whether all specs hold, after a look at the clean image; with several, `detail` names the one that fails."""
    if len(specs) == 1:
        return answers.decide(graph, image, region, specs[0], budget, seed, method, device)
    for spec in specs:
        if float(spec.margin(graph.replay(image))) <= 0:
            answer = answers.decide(graph, image, region, spec, budget, seed, method, device)
            return replace(answer, detail=f"{answer.detail}: {spec.claim}")
    return verify.prove_all(graph, region, specs, method, budget=budget, seed=seed, device=device)
