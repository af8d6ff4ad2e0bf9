"""More choices for what is left: the mixing weights of every open set climb through `choice_bounds` itself."""

import itertools
from dataclasses import dataclass, field, replace
from math import comb

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.bounds import Choices, choice_bounds
from aureole.verify.known import Known
from aureole.verify.query import Query
from aureole.verify.stages import Stage, judge


@dataclass(frozen=True)
class Choose(Stage):
    """Bounds by choices of every set of rows that could still fail together, the weakest first.

    climb:     choices while the weights climb (float32)
    final:     choices that count (float64)
    steps:     of Adam on the weights' logits
    most_sets: with more sets the stage gives up
    """

    climb: Choices = field(default_factory=lambda: Choices(4, 2))
    final: tuple[Choices, ...] = field(default_factory=lambda: (Choices(6, 4), Choices(8, 4), Choices(10, 4)))
    steps: int = 12
    rate: float = 0.5
    most_sets: int = 128
    name: str = "choices"

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        lower = known.lower
        assert lower is not None
        order, left = query.spec.order, known.left(query)
        if comb(len(left), order) > self.most_sets:
            return known
        sets = tuple(known.open_mixes(query)) or tuple(itertools.combinations(left.tolist(), order))
        mixed = self._mixed(query, known, query.rows[torch.tensor(sets)])
        if mixed is None:
            return known
        rows, values = mixed
        for i in values.argsort().tolist():
            values[i] = self._raised(query, known, rows[i], values[i])
            if values[i] <= query.slack:  # one set that may fail leaves the question open, whatever the others do
                break
        if known.mixes is not None:
            for i, value in enumerate(values.tolist()):
                mix = known.mixes[sets[i]]
                known = known.mixed(sets[i], replace(mix, value=max(mix.value, value)))
        elif bool((values > query.slack).all()):
            proved = lower[lower > query.slack]
            known = known.at_least(min([float(values.min()), *proved.tolist()]))
        return judge(query, known)

    def _raised(self, query: Query, known: Known, row: Float[Tensor, "classes"], value: Float[Tensor, ""]) -> Tensor:
        """The bound of a row after as many choices as it takes."""
        for choices in self.final:
            if value > query.slack or query.budget.expired:
                break
            found = choice_bounds(query.graph, query.region, row[None], known.relaxations, choices)
            assert found is not None
            value = torch.maximum(value, found[0])
        return value

    def _mixed(
        self, query: Query, known: Known, rows: Float[Tensor, "sets parts classes"]
    ) -> tuple[Float[Tensor, "sets classes"], Float[Tensor, "sets"]] | None:
        """The best mix of each set that a climb meets, and its bound in float64; None where choices do not apply."""
        region, relaxations = query.fast_region, query.relaxed(known.bounds)
        parts = rows.to(region.lower)
        logits = parts.new_zeros(rows.shape[:2]).requires_grad_(True)
        adam = torch.optim.Adam([logits], lr=self.rate, betas=(0.7, 0.95))
        best, kept = parts.new_full((len(rows),), -torch.inf), logits.detach().clone()
        for step in range(self.steps + 1):
            mix = (logits.softmax(1).unsqueeze(-1) * parts).sum(1)
            values = choice_bounds(query.fast, region, mix, relaxations, self.climb)
            if values is None:
                return None
            with torch.no_grad():
                kept = torch.where((values > best).unsqueeze(1), logits, kept)
                best = torch.maximum(best, values)
            if rows.shape[1] == 1 or step == self.steps or query.budget.expired or bool((best > 0.01).all()):
                break
            adam.zero_grad()
            (-values.sum()).backward()
            adam.step()
        chosen = (kept.to(rows).softmax(1).unsqueeze(-1) * rows).sum(1)
        values = choice_bounds(query.graph, query.region, chosen, known.relaxations, self.climb)
        assert values is not None
        return chosen, values
