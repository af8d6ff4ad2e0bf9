"""What a network wants done to an image in [0,1] before it looks at it: (x - mean) / std, per channel."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from aureole.core.errors import InputError

Scales = float | Sequence[float] | np.ndarray | Tensor
"""One number or one per channel."""


def checked(
    mean: Scales | None, std: Scales | None, channels: Sequence[int]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Both, 0 and 1 where one is left out; InputError unless they are finite, std above 0, one or one per channel.

    channels: the numbers of channels that fit besides 1 (an image may come channels first or last)
    """
    pair = _numbers("mean", mean, 0.0), _numbers("std", std, 1.0)
    for name, values, least in (("mean", pair[0], -math.inf), ("std", pair[1], 0.0)):
        for value in values:
            if not (math.isfinite(value) and value > least):
                raise InputError(f"{name} holds {value:g}; pass finite numbers{' above 0' if least == 0 else ''}")
        if len(values) != 1 and len(values) not in channels:
            wanted = " or ".join(dict.fromkeys(str(n) for n in (1, *channels)))
            raise InputError(f"{name} has {len(values)} numbers; pass {wanted}: one for all or one per channel")
    return pair


def _numbers(name: str, given: Scales | None, usual: float) -> tuple[float, ...]:
    try:
        found = torch.as_tensor(usual if given is None else given, dtype=torch.float64).flatten().tolist()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} {str(given)[:40]!r} is no list of numbers; pass one or one per channel") from error
    return tuple(found)


class Normalised(nn.Module):
    """A module behind (x - mean) / std; images of the given shape, channels first."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, mean: Scales | None, std: Scales | None, shape: Sequence[int]) -> None:
        super().__init__()
        self.module = module
        channels = shape[0] if len(shape) == 3 else 1
        for name, values in zip(("mean", "std"), checked(mean, std, [channels]), strict=True):
            axes = (-1, *[1] * (len(shape) - 1))
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64).reshape(axes))

    def forward(self, images: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch classes"]:
        """The module's scores of images in [0,1]."""
        scores: Tensor = self.module((images - self.mean) / self.std)
        return scores
