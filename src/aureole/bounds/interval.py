"""Interval bounds of every node, forward through the graph."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.core import Graph, InputError, Region
from aureole.core.graph import Input, Node


@dataclass(frozen=True, eq=False)
class Interval:
    """Proved limits of a node's value over each region of a batch."""

    lower: Float[Tensor, "batch *shape"]
    upper: Float[Tensor, "batch *shape"]

    def tighten(self, other: "Interval") -> "Interval":
        """The intersection; a NaN limit of the other says nothing.

        Rounding may cross the limits of a nearly constant value: they then meet.
        """
        lower = torch.where(other.lower > self.lower, other.lower, self.lower)
        upper = torch.where(other.upper < self.upper, other.upper, self.upper)
        return Interval(lower, torch.maximum(upper, lower))

    def to(self, dtype: torch.dtype, device: torch.device | str | None = None) -> "Interval":
        """The same limits in another dtype or on another device."""
        return Interval(self.lower.to(device, dtype), self.upper.to(device, dtype))

    @property
    def unstable(self) -> Bool[Tensor, "batch *shape"]:
        """Where the sign is not known."""
        return (self.lower < 0) & (self.upper > 0)


Bounds = Mapping[int, Interval]
"""Intervals by the node's position in the graph."""

IntervalRule = Callable[[Node, list[Interval]], Interval]


def interval_step(node: Node, inputs: list[Interval], rules: Mapping[type, IntervalRule]) -> Interval:
    """One node's interval from those of its inputs. InputError naming the layer when it is not finite."""
    interval = rules[type(node.op)](node, inputs)
    if not bool((interval.lower.isfinite() & interval.upper.isfinite()).all()):
        raise InputError(f"bounds of layer {node.name or type(node.op).__name__} are not finite; the weights overflow")
    return interval


def interval_bounds(graph: Graph, region: Region, rules: Mapping[type, IntervalRule]) -> dict[int, Interval]:
    """Interval bounds of every node (exact for the first affine layer)."""
    bounds: dict[int, Interval] = {}
    for i, node in enumerate(graph.nodes):
        if isinstance(node.op, Input):
            bounds[i] = Interval(region.lower, region.upper)
        else:
            bounds[i] = interval_step(node, [bounds[j] for j in node.inputs], rules)
    return bounds
