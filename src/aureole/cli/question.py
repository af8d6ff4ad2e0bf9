"""What `neighborhood` and its relatives are asked: an image, perturbed objects, labels that must stay."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.cli import inputs, options
from aureole.core import Graph, InputError, Rings, Scene, TopK
from aureole.core.device import usable
from aureole.data import read_scene
from aureole.neighborhood import DEFAULT, METHODS, OBJECTIVES, Problem


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked, whatever the network.

    mask:        the pixels of all perturbed objects together; rings lie around their union, so that a pixel's ring is
                 its smaller distance
    target_mask: the targets' pixels, known for scenes only
    targets:     the labels that must all stay
    objects:     the perturbed objects' labels; empty when they are not known
    """

    image: Float[Tensor, "channels height width"]
    mask: Bool[Tensor, "height width"]
    target_mask: Bool[Tensor, "height width"] | None
    targets: tuple[int, ...]
    objects: tuple[int, ...]
    k: int
    name: str

    @classmethod
    def about(
        cls, scene: Scene, targets: Sequence[int], objects: Sequence[int] = (), k: int | None = None
    ) -> "Question":
        """The question about a scene.

        objects: when none is named and only one object is no target, that one is perturbed
        k:       None for the number of different labels
        """
        others = [label for label in scene.distinct_labels if label not in targets]
        if not objects and len(others) == 1:
            objects = others
        if not objects:
            left = ", ".join(map(str, others)) or "there is none"
            raise InputError(f"no object is given; pass --object with a label of the scene that is no target ({left})")
        seen = [scene.mask(target) for target in targets if target in scene.labels]
        return cls(
            image=scene.image,
            mask=union([scene.mask(label) for label in objects]),
            target_mask=union(seen) if seen else None,
            targets=tuple(targets),
            objects=tuple(objects),
            k=len(scene.distinct_labels) if k is None else k,
            name=scene.name,
        )

    def words(self) -> dict[str, Any]:
        """The labels for a record: one number, or a list of several, or None."""
        return {"target": _short(self.targets), "k": self.k, "object": _short(self.objects)}


@dataclass(frozen=True)
class Settings:
    """How it is answered; every field as on the command line."""

    method: str = DEFAULT
    objective: str = "sum"
    weights: str = "uniform"
    delta: float = 1e-3
    timeout: float = 60.0
    seed: int = 0
    bands: str | None = None
    floor: str = "0"
    cap: str = "1"
    mean: str | None = None
    std: str | None = None
    device: str = "cpu"

    @property
    def query_seconds(self) -> float:
        """The longest that one question to the prover may take: a single hard one must not eat all the time."""
        return min(10.0, self.timeout / 4)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"method {self.method!r} is unknown; pass one of {', '.join(METHODS)}")
        if self.objective not in OBJECTIVES:
            raise InputError(f"objective {self.objective!r} is unknown; pass one of {', '.join(OBJECTIVES)}")
        options.check_timeout(self.timeout)
        options.check_delta(self.delta)
        options.check_seed(self.seed)
        usable(self.device)
        if self.bands is not None:
            inputs.read_edges(self.bands)

    def problem(self, graph: Graph, question: Question) -> Problem:
        """The question about a network, ready for `maximize`; InputError when something does not fit."""
        first, *more = (TopK(target, question.k) for target in question.targets)
        for spec in (first, *more):
            spec.rows(graph.classes)
        rings = Rings.around(question.mask)
        if self.bands is not None:
            rings = rings.banded(inputs.read_edges(self.bands))
        return Problem(
            graph,
            question.image,
            rings,
            first,
            inputs.read_weights(self.weights, rings),
            self.delta,
            cap=inputs.read_limits("--cap", self.cap),
            floor=inputs.read_limits("--floor", self.floor),
            objective=self.objective,
            also=tuple(more),
        )


def check_labels(targets: Sequence[int], objects: Sequence[int]) -> None:
    """InputError unless there is a target, none is named twice, and no object is a target."""
    if not targets:
        raise InputError("no target is given; pass --target with the label that must survive")
    for option, labels in (("--target", targets), ("--object", objects)):
        if len(set(labels)) < len(labels):
            raise InputError(f"{option} names a label twice: {', '.join(map(str, labels))}; name each once")
    both = sorted(set(targets) & set(objects))
    if both:
        raise InputError(f"--object and --target are both {both[0]}; the object must be another label than the target")


def from_scene(folder: Path, targets: Sequence[int], objects: Sequence[int], k: int | None) -> Question:
    """The question about a scene on disk."""
    return Question.about(read_scene(folder), targets, objects, k)


def from_files(
    graph: Graph,
    image: Path | None,
    masks: Sequence[Path],
    targets: Sequence[int],
    objects: Sequence[int],
    k: int | None,
) -> Question:
    """The question about an image and the masks of the perturbed objects."""
    if image is None:
        raise InputError("no image is given; pass IMAGE and --mask, or --scene")
    if not masks:
        raise InputError("no mask is given; pass --mask with the perturbed object's pixels, or --scene")
    pixels, _ = inputs.read_image_for(image, graph)
    if k is None:
        raise InputError("no k is given; pass --k: the target must stay among the k highest scores")
    marked = union([inputs.read_fitting_mask(mask, pixels) for mask in masks])
    return Question(pixels, marked, None, tuple(targets), tuple(objects), k, image.stem)


def union(masks: Sequence[Bool[Tensor, "height width"]]) -> Bool[Tensor, "height width"]:
    """The pixels that are in any of the masks."""
    return reduce(torch.logical_or, masks)


def _short(labels: tuple[int, ...]) -> int | list[int] | None:
    return (list(labels) if len(labels) > 1 else labels[0]) if labels else None
