"""What the stages of one question have found out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aureole.bounds import Interval
from aureole.bounds.linear import Parameters, Relaxations
from aureole.core import Why
from aureole.verify.boxes import Leaves
from aureole.verify.hints import Hints, Mix, Proofs
from aureole.verify.query import Query


@dataclass(frozen=True, eq=False)
class Known:
    """What the stages have found out; every stage returns a better one.

    bounds, relaxations: proved float64 bounds of the inner nodes and the relaxations made from them
    lower:    a proved lower bound of each row over the region
    parameters: the best slopes, levels and pool weights met for each row of the spec, one set per row
    together: a proved lower bound of the margin by a method that looks at all rows at once
    mixes:    for each set of rows that could fail together, its best bound; None before sets were looked at
    starts:   images of the region worth attacking from
    leaves:   what splitting has left open
    proved:   what proved the spec; open_because and trouble: why it is open and one line about that
    """

    bounds: dict[int, Interval] = field(default_factory=dict)
    relaxations: Relaxations = field(default_factory=dict)
    lower: Float[Tensor, "rows"] | None = None
    parameters: Parameters = field(default_factory=dict)
    together: float | None = None
    mixes: Mapping[tuple[int, ...], Mix] | None = None
    margin: float | None = None
    image: Float[Tensor, "*shape"] | None = None
    starts: tuple[Float[Tensor, "*shape"], ...] = ()
    leaves: Leaves | None = None
    proved: Why | None = None
    open_because: Why = Why.INCOMPLETE
    trouble: str = ""

    @classmethod
    def told(cls, query: Query) -> "Known":
        """What a query's hints say of it: what they prove, where to start, and their images, replayed."""
        if query.hints is None:
            return cls()
        known = _carried(query, query.hints)
        for image in query.hints.images:
            if image.shape == query.region.shape and bool(image.isfinite().all()):
                clipped, scores = query.replayed(image)
                known = replace(known, starts=(*known.starts, clipped)).judged(query, clipped, scores)
        return known

    def hints(self, query: Query) -> Hints:
        """What this offers the next question."""
        proofs = Proofs(query.spec.order, query.slack, self.lower, self.together, self.mixes, self.leaves, self.proved)
        images = () if self.image is None else (self.image,)
        return Hints(query.original, query.region, self.bounds, query.table, self.parameters, proofs, images)

    def margin_bound(self, order: int) -> float | None:
        """The best proved lower bound of the margin."""
        if self.lower is None:
            return self.together
        found = [float(torch.kthvalue(self.lower, order).values)]
        if self.together is not None:
            found.append(self.together)
        if self.mixes is not None:
            # the margin is the largest row of some set, or the value of a row that is in none
            mixed = {row for rows in self.mixes for row in rows}
            rest = [float(value) for row, value in enumerate(self.lower) if row not in mixed]
            found.append(min([*(mix.value for mix in self.mixes.values()), *rest]))
        return max(found)

    def left(self, query: Query) -> Int[Tensor, "left"]:
        """The rows not yet proved positive: only they can be among the lowest that fail the spec."""
        if self.lower is None:
            return torch.arange(len(query.rows))
        return (self.lower <= query.slack).nonzero().squeeze(1)

    def suspects(self, query: Query) -> Int[Tensor, "suspects"]:
        """The rows that a complete search has to look at: those of the open sets, else all that are left."""
        if self.mixes is None:
            return self.left(query)
        return torch.tensor(sorted({row for rows in self.open_mixes(query) for row in rows}), dtype=torch.int64)

    def open_mixes(self, query: Query) -> dict[tuple[int, ...], Mix]:
        """The sets that are not proved to hold a positive row."""
        return {rows: mix for rows, mix in (self.mixes or {}).items() if mix.value <= query.slack}

    def at_least(self, value: float) -> "Known":
        """With a lower bound of the margin that a method which looks at all rows at once has proved."""
        return replace(self, together=value if self.together is None else max(value, self.together))

    def raised(self, row: int, value: float) -> "Known":
        """With a better bound for one row, and so for every set that it is in."""
        assert self.lower is not None
        assert self.mixes is not None, "sets that were not looked at must not count as proved"
        lower = self.lower.clone()
        lower[row] = value
        return self.with_lower(lower)

    def with_lower(self, lower: Float[Tensor, "rows"]) -> "Known":
        """With better bounds of rows, where they are better, and so for the sets that these are in."""
        lower = lower if self.lower is None else torch.maximum(self.lower, lower)
        if self.mixes is None:
            return replace(self, lower=lower)
        least = {rows: float(lower[list(rows)].max()) for rows in self.mixes}
        mixes = {rows: replace(mix, value=max(mix.value, least[rows])) for rows, mix in self.mixes.items()}
        return replace(self, lower=lower, mixes=mixes)

    def with_sets(self, query: Query, mixes: Mapping[tuple[int, ...], Mix]) -> "Known":
        """With bounds of sets, if they name every row left: what is in none counts as proved."""
        named = {row for rows in mixes for row in rows}
        if self.lower is None or not named.issuperset(self.left(query).tolist()):
            return self
        return replace(self, mixes=mixes).with_lower(self.lower)

    def mixed(self, rows: tuple[int, ...], mix: Mix) -> "Known":
        """With a better bound for one set."""
        assert self.mixes is not None, "sets that were not looked at must not count as proved"
        return replace(self, mixes={**self.mixes, rows: mix})

    def seen(self, query: Query, image: Float[Tensor, "*shape"]) -> "Known":
        """Replay an image (`Query.replayed`) and keep it if it is the worst so far."""
        return self.judged(query, *query.replayed(image))

    def judged(self, query: Query, image: Float[Tensor, "*shape"], scores: Float[Tensor, "classes"]) -> "Known":
        """Keep what `query.replayed`, or that of another question about the region, gave, if it is the worst."""
        margin = float(query.spec.margin(scores))
        if self.least <= margin:
            return self
        return replace(self, margin=margin, image=image)

    @property
    def least(self) -> float:
        """The least margin met; infinite when no image was looked at."""
        return inf if self.margin is None else self.margin

    @property
    def broken(self) -> bool:
        """Whether a replayed image fails the spec (a tie is a failure)."""
        return self.least <= 0


def _carried(query: Query, hints: Hints) -> Known:
    """What hints prove about a query, and their parameters.

    A bound that exceeds its slack by some value exceeds a smaller one by the same, so it moves down with the slack.
    """
    same = hints.graph is query.original and hints.same(query.table)
    known = Known(parameters=hints.parameters if same else {})
    if not hints.hold(query.original, query.region):
        return known
    known = replace(known, bounds=dict(hints.bounds))
    proofs = hints.proofs
    if not same or proofs is None:
        return known

    by = min(query.slack - proofs.slack, 0.0)

    def moved(values: Float[Tensor, "*some"] | float) -> Float[Tensor, "*some"]:
        values = torch.as_tensor(values, dtype=torch.float64)
        return torch.nextafter(values + by, values.new_tensor(-inf)) if by else values

    if proofs.lower is not None:
        known = replace(known, lower=moved(proofs.lower))
    if proofs.order != query.spec.order:
        return known
    if proofs.mixes is not None:
        mixes = {rows: replace(mix, value=float(moved(mix.value))) for rows, mix in proofs.mixes.items()}
        known = known.with_sets(query, mixes)
    if proofs.together is not None:
        known = known.at_least(float(moved(proofs.together)))
    if proofs.proved:
        known = known.at_least(0.0)
    leaves = proofs.leaves
    if leaves is not None:
        boxes = leaves.boxes.within(query.region)
        leaves = Leaves(replace(boxes, bound=moved(boxes.bound)), float(moved(leaves.proved)))
    return replace(known, leaves=leaves, proved=proofs.proved)
