"""One question to the prover and what is known about it so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aureole.bounds import Bounds, Interval
from aureole.bounds.linear import Parameters, Relaxations, of_rows, relax
from aureole.core import Budget, Graph, InputError, Region, Rows, Spec, Why, times
from aureole.core.device import CPU, usable
from aureole.core.graph import check_comparable, check_finite, merge_rectified_pools
from aureole.verify.rounding import slack


@dataclass(frozen=True, eq=False)
class Hints:
    """What one answer can offer the next question about the same network; `prove` puts one on every answer.

    graph:      the network as it was given
    region:     where `bounds` hold; they are offered to regions inside it
    bounds:     of inner nodes
    rows:       of the spec; where they are the question's too, its bounds start from
    parameters: slopes, levels and pool weights, one set per row
    """

    graph: Graph
    region: Region | None = None
    bounds: Bounds = field(default_factory=dict)
    rows: Float[Tensor, "rows classes"] | None = None
    parameters: Parameters = field(default_factory=dict)

    def bounds_for(self, query: "Query") -> Bounds | None:
        """Bounds that hold for a query too."""
        if self.graph is not query.original or self.region is None:
            return None
        inside = self.region.contains(query.region.lower) and self.region.contains(query.region.upper)
        return self.bounds if inside else None

    def about(self, rows: Float[Tensor, "rows classes"], chosen: Int[Tensor, "chosen"]) -> "Hints":
        """For a question about some of `rows`; without parameters when the hints are about others."""
        if self.rows is None or not torch.equal(self.rows, rows):
            return replace(self, rows=None, parameters={})
        return replace(self, rows=rows[chosen], parameters=of_rows(self.parameters, chosen))

    def parameters_for(self, query: "Query") -> Parameters:
        """A start for the rows of a query; empty when the rows are others."""
        same = self.graph is query.original and self.rows is not None and torch.equal(self.rows, query.rows)
        return self.parameters if same else {}


@dataclass(frozen=True, eq=False)
class Query:
    """The question, prepared once.

    original: the graph as given; witnesses are replayed through it
    graph:    float64, relus merged into pools; bounds and the MILP read it
    fast, fast_region: the same in float32 on `device`, for searches
    inner:    the spec over the scores of `graph`
    rows:     the rows of `inner`, float64; their constants, if any, are in `graph`'s last layer
    slack:    what a proof must exceed, in score units
    hints:    of an earlier answer
    device:   where searches by torch run (attack, climbs of bounds); what counts is evaluated on the CPU
    """

    original: Graph
    graph: Graph
    fast: Graph
    fast_region: Region
    region: Region
    spec: Spec
    inner: Spec
    rows: Float[Tensor, "rows classes"]
    slack: float
    budget: Budget
    generator: torch.Generator
    started: float
    hints: Hints | None = None
    device: torch.device = CPU

    @classmethod
    def ask(
        cls,
        graph: Graph,
        region: Region,
        spec: Spec,
        budget: Budget,
        seed: int,
        hints: Hints | None = None,
        device: torch.device | str = CPU,
    ) -> "Query":
        """Checks everything before any work starts; InputError in one line."""
        device = usable(device)
        if not -(2**63) <= seed < 2**63:
            raise InputError(f"seed is {seed}; pass a number of 64 bits")
        if len(region) != 1:
            raise InputError(f"region holds {len(region)} boxes; prove takes one at a time (region[i])")
        if region.shape != graph.input_shape:
            raise InputError(
                f"region is {times(region.shape)} but the network takes {times(graph.input_shape)}; "
                "make the region from an image of the network's shape"
            )
        if not bool(region.lower.isfinite().all() and region.upper.isfinite().all()):
            raise InputError("region has infinite limits; pass a bounded box")
        check_finite(graph)
        check_comparable(graph, spec)
        region = region.to(torch.float64)
        exact, inner = with_constants(merge_rectified_pools(graph.to(torch.float64)), spec)
        rows = inner.rows(exact.classes)
        return cls(
            graph, exact, exact.to(torch.float32, device), region.to(torch.float32, device), region, spec, inner, rows,
            slack(exact, region, rows), budget, torch.Generator().manual_seed(seed), budget.clock(), hints, device,
        )  # fmt: skip

    def relaxed(self, known: "Known") -> Relaxations:
        """The relaxations of `fast`."""
        return relax(self.fast, {i: z.to(torch.float32, self.device) for i, z in known.bounds.items()})

    def replayed(self, image: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "classes"]]:
        """The image clipped into the region, and its scores by the original model.

        It is clipped onto numbers that the model can read (`Graph.precision`). InputError when the model gives NaN or
        infinite scores.
        """
        clipped = self.region.nearest(image.to(torch.float64), self.original.precision)[0]
        scores = self.original.replay(clipped)
        if not bool(scores.isfinite().all()):
            raise InputError("the network gives NaN or infinite scores inside the region; check its weights")
        return clipped, scores


@dataclass(frozen=True, eq=False)
class Mix:
    """The best linear bound of a set of rows that could fail together: a lower bound of the set's largest row.

    value:      the bound (of this mix or, once other methods have looked, of the set)
    weights:    what each row counts in the mix, on the simplex
    parameters: slopes, levels and pool weights of the bound, with axes (1, 1, ...)
    """

    value: float
    weights: Float[Tensor, "rows"]
    parameters: Parameters


@dataclass(frozen=True, eq=False)
class Known:
    """What the stages have found out; every stage returns a better one.

    bounds, relaxations: proved float64 bounds of the inner nodes and the relaxations made from them
    lower:    a proved lower bound of each row over the region
    parameters: the best slopes, levels and pool weights met for each row of the spec, one set per row
    together: a proved lower bound of the margin by a method that looks at all rows at once
    mixes:    for each set of rows that could fail together, its best bound; None before sets were looked at
    starts:   images worth attacking from
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
    proved: Why | None = None
    open_because: Why = Why.INCOMPLETE
    trouble: str = ""

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
        lower[row] = max(float(lower[row]), value)
        mixes = {
            rows: replace(mix, value=max(mix.value, value)) if row in rows else mix for rows, mix in self.mixes.items()
        }
        return replace(self, lower=lower, mixes=mixes)

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


def with_constants(graph: Graph, spec: Spec) -> tuple[Graph, Spec]:
    """Rows with constants become a last layer of the graph, so that bounds and encodings see plain rows only."""
    rows, offsets = spec.rows(graph.classes), spec.offsets(graph.classes)
    if not bool(offsets.any()):
        return graph, spec
    plain = Rows(torch.eye(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.float64), spec.order)
    return graph.then(rows, offsets, "spec"), plain
