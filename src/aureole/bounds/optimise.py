"""Linear bounds with free slopes, pool weights and levels, improved by gradient (Xu et al. 2020; our pool levels)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole.bounds.linear import UNIT_PARAMETERS, Parameters, Relaxations, lower_bounds, project
from aureole.core import Graph, Region

MIX = "mix"
"""The name of the logits of rows that are themselves mixed from several; see `optimise`."""


@dataclass(frozen=True)
class Ascent:
    """How long and how fast to climb: Adam steps and learning rates (slopes, logits), the latter decaying to `end`."""

    steps: int = 60
    slope_rate: float = 0.15
    logit_rate: float = 0.4
    end: float = 0.1


@dataclass(frozen=True, eq=False)
class Optimised:
    """The best lower bound of each row that was met, and the parameters (and mixing weights) that gave it."""

    values: Float[Tensor, "batch rows"]
    parameters: Parameters
    weights: Float[Tensor, "batch rows parts"] | None


def optimise(
    graph: Graph,
    region: Region,
    rows: Float[Tensor, "batch rows classes"] | Float[Tensor, "batch rows parts classes"],
    relaxations: Relaxations,
    ascent: Ascent = Ascent(),
    *,
    start: Parameters | None = None,
    stop: Callable[[Float[Tensor, "batch rows"]], bool] = lambda best: False,
) -> Optimised:
    """Climb the lower bounds of rows over the scores.

    With a fourth axis, each row is a set of parts and what is bounded is their best mix: a lower bound of the largest
    part, since max_i m_i >= sum_i w_i m_i for weights w on the simplex. `stop(best)` ends the climb early.
    Values are those of the graph's own dtype: evaluate again in float64 before a verdict rests on them.
    """
    count = rows.shape[1]
    free = (
        {i: {n: v.clone() for n, v in p.items()} for i, p in start.items()} if start else _initial(relaxations, count)
    )
    logits = rows.new_zeros(rows.shape[:3]) if rows.ndim == 4 else None
    slopes = [p[name] for p in free.values() for name in UNIT_PARAMETERS if name in p]
    weights = [p["mu"] for p in free.values() if "mu" in p] + ([logits] if logits is not None else [])
    for tensor in slopes + weights:
        tensor.requires_grad_(True)
    groups = [
        {"params": group, "lr": rate}
        for group, rate in ((slopes, ascent.slope_rate), (weights, ascent.logit_rate))
        if group
    ]
    if not groups:  # nothing to choose: the network is linear on the region
        values = lower_bounds(graph, region, rows, relaxations)
        return Optimised(values, {}, None)
    adam = torch.optim.Adam(groups, betas=(0.7, 0.95), foreach=True)
    best = rows.new_full(rows.shape[:2], -torch.inf)
    kept: dict[str, Tensor] = {}
    for step in range(ascent.steps + 1):
        mixed = rows if logits is None else (logits.softmax(-1).unsqueeze(-1) * rows).sum(2)
        values = lower_bounds(graph, region, mixed, relaxations, free)
        with torch.no_grad():
            better = values > best
            best = torch.maximum(best, values)
            named = _flat(free) | ({MIX: logits} if logits is not None else {})
            kept = {n: _where(better, v, kept[n]) if kept else v.clone() for n, v in named.items()}
        if step == ascent.steps or stop(best):
            break
        adam.zero_grad(set_to_none=True)
        (-values.sum()).backward()
        decay = ascent.end ** (step / ascent.steps)
        for group, rate in zip(adam.param_groups, (g["lr"] for g in groups), strict=True):
            group["lr"] = rate * decay
        adam.step()
        with torch.no_grad():
            project(free)
    mix = kept.pop(MIX).softmax(-1).detach() if logits is not None else None
    return Optimised(best, _nested(kept), mix)


def _initial(relaxations: Relaxations, rows: int) -> dict[int, dict[str, Tensor]]:
    return {i: relaxation.parameters(rows) for i, relaxation in relaxations.items()}


def _flat(parameters: Parameters) -> dict[str, Tensor]:
    return {f"{i}.{name}": value for i, named in parameters.items() for name, value in named.items()}


def _nested(flat: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    nested: dict[int, dict[str, Tensor]] = {}
    for key, value in flat.items():
        i, name = key.split(".")
        nested.setdefault(int(i), {})[name] = value.detach()
    return nested


def _where(better: Bool[Tensor, "batch rows"], new: Tensor, old: Tensor) -> Tensor:
    return torch.where(better.reshape(*better.shape, *[1] * (new.ndim - 2)), new, old)
