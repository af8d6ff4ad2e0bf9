"""The architectures of Mour's study: convolutions, at most one max-pool, one fully connected layer."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aureole.core import InputError


@dataclass(frozen=True)
class Convolution:
    """One convolution, followed by a relu."""

    channels: int
    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Architecture:
    """A family of networks: one list of convolutions per canvas (image side in pixels).

    pool: side and stride of the max-pool after the last relu; 1 for none
    """

    name: str
    convolutions: Mapping[int, tuple[Convolution, ...]]
    pool: int = 1

    def width(self, canvas: int) -> int:
        """How many numbers the fully connected layer reads."""
        side = canvas
        for c in self.convolutions[canvas]:
            side = (side + 2 * c.padding - c.kernel) // c.stride + 1
        return self.convolutions[canvas][-1].channels * (side // self.pool) ** 2

    def shapes(self, canvas: int, classes: int = 10) -> dict[str, tuple[int, ...]]:
        """The name and shape of every weight."""
        shapes: dict[str, tuple[int, ...]] = {}
        before = 1
        for i, c in enumerate(self.convolutions[canvas], start=1):
            shapes[f"conv{i}.weight"] = (c.channels, before, c.kernel, c.kernel)
            shapes[f"conv{i}.bias"] = (c.channels,)
            before = c.channels
        return shapes | {"fc1.weight": (classes, self.width(canvas)), "fc1.bias": (classes,)}


_X1K = (Convolution(8, 3, 2, 1), Convolution(16, 3, 2, 1))
_X3 = (Convolution(8, 4, 2, 1), Convolution(16, 4, 4, 1), Convolution(32, 4, 2, 1))
_X2_64 = (Convolution(16, 4, 4, 1), Convolution(32, 4, 4, 1))
_X2_84 = (Convolution(16, 4, 4, 1), Convolution(32, 3, 3, 1))

ARCHITECTURES: Mapping[str, Architecture] = {
    "x1k": Architecture("x1k", {64: _X1K, 84: _X1K}, pool=4),
    "x2": Architecture("x2", {64: _X2_64, 84: _X2_84}),
    "x3": Architecture("x3", {64: _X3, 84: _X3}),
}


class ConvNet(nn.Module):
    """A network of one `Architecture`; its weights are named conv1, conv2, …, fc1 as in the author's files.

    The weights are not set: `build` draws them, `load` reads them.
    """

    def __init__(self, architecture: Architecture, canvas: int, classes: int = 10) -> None:
        super().__init__()
        self.architecture = architecture
        self.canvas = canvas
        self.classes = classes
        before = 1
        for i, c in enumerate(architecture.convolutions[canvas], start=1):
            layer = nn.Conv2d(before, c.channels, c.kernel, c.stride, c.padding, device="meta")
            self.add_module(f"conv{i}", layer)
            before = c.channels
        if architecture.pool > 1:
            self.pool = nn.MaxPool2d(architecture.pool)
        self.fc1 = nn.Linear(architecture.width(canvas), classes, device="meta")
        self.to_empty(device="cpu")

    def forward(self, images: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch classes"]:
        """The logits of images in [0,1]."""
        x = images
        for i in range(1, len(self.architecture.convolutions[self.canvas]) + 1):
            x = torch.relu(self.get_submodule(f"conv{i}")(x))
        if self.architecture.pool > 1:
            x = self.pool(x)
        logits: Tensor = self.fc1(x.flatten(1))
        return logits


def architecture(name: str) -> Architecture:
    """The architecture of this name; InputError lists the known ones."""
    if name not in ARCHITECTURES:
        raise InputError(f"architecture {name!r} is unknown; pass one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def build(arch: str, canvas: int, generator: torch.Generator, classes: int = 10) -> ConvNet:
    """A network with fresh random weights: He-uniform, biases zero.

    canvas: image side in pixels, 64 (two digits) or 84 (three). InputError for another canvas or architecture.
    """
    family = architecture(arch)
    if canvas not in family.convolutions:
        known = " or ".join(map(str, family.convolutions))
        raise InputError(f"architecture {arch} has no form for a {canvas}x{canvas} image; pass canvas {known}")
    module = ConvNet(family, canvas, classes)
    for name, parameter in module.named_parameters():
        if name.endswith(".bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.kaiming_uniform_(parameter, nonlinearity="relu", generator=generator)
    return module
