"""Scenes of two or three different digits on a black canvas, by the Multi-MNIST recipe."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from aureole.core import InputError, Scene
from aureole.data.digit_set import CLASSES, SIDE, DigitSet


@dataclass(frozen=True)
class Recipe:
    """How digits are placed: digit i at `top` uniform in 0..tops-1, `left = slot * i + uniform in 0..jitter-1`.

    (MultiDigitMNIST.) Digit i never leaves the columns `slot*i .. slot*i + slot - 1`, its own half or third.
    """

    objects: int
    canvas: int
    slot: int
    tops: int
    jitter: int


RECIPES = {2: Recipe(2, 64, 32, 36, 4), 3: Recipe(3, 84, 28, 56, 1)}


def recipe(objects: int) -> Recipe:
    """The recipe for so many digits; InputError when there is none."""
    if objects not in RECIPES:
        raise InputError(f"scenes of {objects} digits are unknown; pass {' or '.join(map(str, RECIPES))}")
    return RECIPES[objects]


@dataclass(frozen=True, eq=False)
class Batch:
    """Scenes for training and evaluation.

    images: pixels in [0,1], float32
    labels: the digits of each scene, left to right, all different
    """

    images: Float[Tensor, "scenes 1 height width"]
    labels: Int[Tensor, "scenes objects"]

    def __len__(self) -> int:
        return len(self.labels)


def make_batch(digits: DigitSet, count: int, objects: int, generator: torch.Generator) -> Batch:
    """So many random scenes; the same generator state gives the same scenes."""
    levels, labels = _compose(digits, count, recipe(objects), generator)
    return Batch(levels[:, None].to(torch.float32) / 255, labels)


def make_scene(digits: DigitSet, objects: int, generator: torch.Generator, name: str = "scene") -> Scene:
    """One random scene: the image in float64, each mask the non-zero pixels of its digit's half or third."""
    levels, labels = _compose(digits, 1, recipe(objects), generator)
    return slot_scene(levels[0], tuple(labels[0].tolist()), name)


def make_scenes(digits: DigitSet, count: int, objects: int, seed: int, prefix: str = "scene") -> Iterator[Scene]:
    """So many scenes, scene i from its own generator: scene i does not depend on how many are made."""
    for i in range(count):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + i)
        yield make_scene(digits, objects, generator, f"{prefix}-{i:04d}")


def slot_scene(levels: UInt8[Tensor, "height width"], labels: tuple[int, ...], name: str) -> Scene:
    """The scene of an 8-bit image that shows one object per half or third, labels from left to right."""
    plan = recipe(len(labels))
    if levels.shape != (plan.canvas, plan.canvas):
        raise InputError(
            f"image {name} is {'x'.join(map(str, levels.shape))}; scenes of {plan.objects} digits are "
            f"{plan.canvas}x{plan.canvas}"
        )
    columns = torch.arange(plan.canvas) // plan.slot
    masks = tuple((levels > 0) & (columns == i) for i in range(plan.objects))
    return Scene(levels[None].to(torch.float64) / 255, labels, masks, name)


def _compose(
    digits: DigitSet, count: int, plan: Recipe, generator: torch.Generator
) -> tuple[UInt8[Tensor, "scenes height width"], Int[Tensor, "scenes objects"]]:
    shape = (count, plan.objects)
    labels = torch.rand(count, CLASSES, generator=generator, dtype=torch.float64).argsort(dim=1)[:, : plan.objects]
    source = _pick(digits, labels, torch.rand(shape, generator=generator, dtype=torch.float64))
    top = torch.randint(plan.tops, shape, generator=generator)
    left = torch.randint(plan.jitter, shape, generator=generator) + plan.slot * torch.arange(plan.objects)
    side = torch.arange(SIDE)
    rows = (top[..., None] + side)[..., :, None]
    columns = (left[..., None] + side)[..., None, :]
    scene = torch.arange(count)[:, None, None, None]
    canvas = torch.zeros(count, plan.canvas, plan.canvas, dtype=torch.uint8)
    canvas[scene, rows, columns] = digits.images[source]
    return canvas, labels


def _pick(digits: DigitSet, labels: Int[Tensor, "*shape"], uniform: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """For each label, the position of one of its images, chosen by a uniform number in [0,1)."""
    members = digits.members()
    counts = torch.tensor([len(m) for m in members])
    starts = counts.cumsum(0) - counts
    within = (uniform * counts[labels]).long()
    return torch.cat(members)[starts[labels] + within]
