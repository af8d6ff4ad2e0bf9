"""One question to the prover."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.bounds import Bounds
from aureole.bounds.linear import Relaxations, relax
from aureole.core import Budget, Graph, InputError, Region, Rows, Spec, times
from aureole.core.device import CPU, usable
from aureole.core.graph import check_comparable, check_finite, merge_rectified_pools
from aureole.verify.hints import Hints, table
from aureole.verify.rounding import slack


@dataclass(frozen=True, eq=False)
class Query:
    """The question, prepared once.

    original: the graph as given; witnesses are replayed through it
    graph:    float64, relus merged into pools; bounds and the MILP read it
    fast, fast_region: the same in float32 on `device`, for searches
    inner:    the spec over the scores of `graph`
    rows:     the rows of `inner`, float64; their constants, if any, are in `graph`'s last layer
    slack:    what a proof must exceed, in score units
    table:    the rows as the spec states them, over the scores of `original`, with their constants as the last column
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
    table: Float[Tensor, "rows columns"]
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
        # answers' hints keep it: a caller may change its own
        region = Region(region.lower.to(torch.float64, copy=True), region.upper.to(torch.float64, copy=True))
        exact, inner = with_constants(merge_rectified_pools(graph.to(torch.float64)), spec)
        rows = inner.rows(exact.classes)
        return cls(
            graph, exact, exact.to(torch.float32, device), region.to(torch.float32, device), region, spec, inner, rows,
            slack(exact, region, rows), budget, torch.Generator().manual_seed(seed), budget.clock(),
            table(spec, graph.classes), hints, device,
        )  # fmt: skip

    def relaxed(self, bounds: Bounds) -> Relaxations:
        """The relaxations of `fast`, from proved bounds of its inner nodes."""
        return relax(self.fast, {i: z.to(torch.float32, self.device) for i, z in bounds.items()})

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


def with_constants(graph: Graph, spec: Spec) -> tuple[Graph, Spec]:
    """Rows with constants become a last layer of the graph, so that bounds and encodings see plain rows only."""
    rows, offsets = spec.rows(graph.classes), spec.offsets(graph.classes)
    if not bool(offsets.any()):
        return graph, spec
    plain = Rows(torch.eye(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.float64), spec.order)
    return graph.then(rows, offsets, "spec"), plain
