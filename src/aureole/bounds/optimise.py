"""Linear bounds with free slopes, pool weights and levels, improved by gradient (Xu et al. 2020; our pool levels)."""

from collections.abc import Callable, Mapping
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
    """How long and how fast to climb: Adam steps and learning rates (slopes, logits), which decay to `end`."""

    steps: int = 60
    slope_rate: float = 0.15
    logit_rate: float = 0.4
    end: float = 0.1

    @property
    def rates(self) -> list[tuple[float, tuple[str, ...]]]:
        """Which parameters climb at which rate."""
        return [(self.slope_rate, UNIT_PARAMETERS), (self.logit_rate, ("mu", MIX))]


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
    logits = {MIX: rows.new_zeros(rows.shape[:3])} if rows.ndim == 4 else {}

    def evaluate() -> Float[Tensor, "batch rows"]:
        mixed = (logits[MIX].softmax(-1).unsqueeze(-1) * rows).sum(2) if logits else rows
        return lower_bounds(graph, region, mixed, relaxations, free)

    best, kept = ascend(evaluate, _flat(free) | logits, ascent, stop)
    mix = kept.pop(MIX).softmax(-1).detach() if logits else None
    return Optimised(best, _nested(kept), mix)


def ascend(
    evaluate: Callable[[], Float[Tensor, "batch rows"]],
    free: Mapping[str, Tensor],
    ascent: Ascent,
    stop: Callable[[Float[Tensor, "batch rows"]], bool] = lambda best: False,
) -> tuple[Float[Tensor, "batch rows"], dict[str, Tensor]]:
    """Climb values by tensors that `evaluate` reads and that are changed in place.

    Every value has its own entries of the tensors (the first two axes); what gave the best one comes back. The tensors'
    names end in those of parameters, as "7.alpha".
    """
    groups = []
    for rate, names in ascent.rates:
        chosen = [v.requires_grad_(True) for n, v in free.items() if n.split(".")[-1] in names]
        if chosen:
            groups.append({"params": chosen, "lr": rate})
    best = evaluate()
    if not groups:  # nothing to choose: the network is linear on the region
        return best, {}
    adam = torch.optim.Adam(groups, betas=(0.7, 0.95), foreach=True)
    rates = [group["lr"] for group in adam.param_groups]
    best, values = best.detach(), best
    kept = {n: v.detach().clone() for n, v in free.items()}
    for step in range(ascent.steps):
        if stop(best):
            break
        adam.zero_grad(set_to_none=True)
        (-values.sum()).backward()
        for group, rate in zip(adam.param_groups, rates, strict=True):
            group["lr"] = rate * ascent.end ** (step / ascent.steps)
        adam.step()
        with torch.no_grad():
            project(_nested({name: v for name, v in free.items() if name != MIX}))
        values = evaluate()
        with torch.no_grad():
            better = values > best
            best = torch.maximum(best, values)
            kept = {n: _where(better, v, kept[n]) for n, v in free.items()}
    return best, kept


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
