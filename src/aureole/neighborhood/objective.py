"""What "large" means: three concave objectives over the same proved radii, all in pixel units and never negative."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

LEAST = 1e-6
"""A radius below this counts as this in `log`, whose logarithm knows no 0: a millionth of the pixel range."""

Objective = Callable[[Float[Tensor, "*batch rings"], Float[Tensor, "rings"]], Float[Tensor, "*batch"]]


def weighted_sum(radii: Float[Tensor, "*batch rings"], weights: Float[Tensor, "rings"]) -> Float[Tensor, "*batch"]:
    """The proposal's size, `weights @ radii`: all the room goes to the rings that cost least per weight."""
    return radii @ weights.to(radii)


def geometric_mean(radii: Float[Tensor, "*batch rings"], weights: Float[Tensor, "rings"]) -> Float[Tensor, "*batch"]:
    """The weighted geometric mean: `exp(sum_d w_d log r_d / sum_d w_d)`.

    It is largest where the weighted sum of logarithms is (proportional fairness; Liu et al., ICML 2019), but stays in
    pixel units. A ring whose radius is below `LEAST`, 0 included, counts as `LEAST`: it costs much, yet two answers
    with zeros can still be compared.
    """
    shares = (weights / weights.sum()).to(radii)
    return (radii.clamp(min=LEAST).log() @ shares).exp()


def least_share(radii: Float[Tensor, "*batch rings"], weights: Float[Tensor, "rings"]) -> Float[Tensor, "*batch"]:
    """The largest t with `r_d >= t * w_d` for every ring; rings of weight 0 do not count.

    For weights of 1 that is the radius of the largest uniform ball.
    """
    counted = weights > 0
    shares: Tensor = radii[..., counted] / weights[counted].to(radii)
    return shares.amin(-1)


OBJECTIVES: Mapping[str, Objective] = {"sum": weighted_sum, "log": geometric_mean, "min": least_share}


def rises_with(name: str, radii: Float[Tensor, "rings"], weights: Float[Tensor, "rings"]) -> Float[Tensor, "rings"]:
    """The gradient of a named objective at some radii (a subgradient where there is none).

    Radii below `LEAST` are taken for `LEAST`, where `log` begins to rise.
    """
    point = radii.detach().clamp(min=LEAST).requires_grad_(True)
    (gradient,) = torch.autograd.grad(OBJECTIVES[name](point, weights), point)
    return gradient
