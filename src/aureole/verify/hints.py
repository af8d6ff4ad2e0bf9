"""What one answer offers the next question about the same network."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aureole.bounds import Bounds
from aureole.bounds.linear import Parameters, of_rows
from aureole.core import Graph, Region, Spec, Why
from aureole.verify.boxes import Leaves


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
class Proofs:
    """What is proved of a spec of some order, by the names that `Known` has for it.

    slack: what bounds have to exceed, in score units
    """

    order: int
    slack: float
    lower: Float[Tensor, "rows"] | None = None
    together: float | None = None
    mixes: Mapping[tuple[int, ...], Mix] | None = None
    leaves: Leaves | None = None
    proved: Why | None = None


@dataclass(frozen=True, eq=False)
class Hints:
    """What one answer can offer the next question about the same network; `prove` puts one on every answer.

    graph:      the network as it was given; one whose weights were changed in place afterwards looks the same, and must
                not be asked about with these hints
    region:     where `bounds` and `proofs` hold; they are offered to regions inside it
    bounds:     of inner nodes
    rows:       of the spec, with their constants (`table`); where the question has the same, `parameters` and `proofs`
                are used
    parameters: slopes, levels and pool weights, one set per row: a start on any region
    proofs:     of these rows
    images:     worth attacking from, on any region: they are clipped into it
    each:       where several questions were asked together, the hints of each
    """

    graph: Graph
    region: Region | None = None
    bounds: Bounds = field(default_factory=dict)
    rows: Float[Tensor, "rows columns"] | None = None
    parameters: Parameters = field(default_factory=dict)
    proofs: Proofs | None = None
    images: tuple[Float[Tensor, "..."], ...] = ()
    each: tuple["Hints", ...] = ()

    def hold(self, graph: Graph, region: Region) -> bool:
        """Whether what was proved holds on a region too."""
        return (
            graph is self.graph
            and self.region is not None
            and self.region.contains(region.lower)
            and self.region.contains(region.upper)
        )

    def same(self, rows: Float[Tensor, "rows columns"]) -> bool:
        """Whether a question's rows are those of the hints."""
        return self.rows is not None and torch.equal(self.rows, rows)

    def about(self, rows: Float[Tensor, "rows columns"], chosen: Int[Tensor, "chosen"]) -> "Hints":
        """For a question about some of `rows`; bounds and images alone when the hints are about others."""
        if not self.same(rows):
            return replace(self, rows=None)
        proofs = self.proofs
        if proofs is not None:
            proofs = Proofs(1, proofs.slack, lower=None if proofs.lower is None else proofs.lower[chosen])
        return replace(self, rows=rows[chosen], parameters=of_rows(self.parameters, chosen), proofs=proofs)


def table(spec: Spec, classes: int) -> Float[Tensor, "rows columns"]:
    """A spec's rows over so many scores, with their constants as the last column."""
    return torch.cat([spec.rows(classes), spec.offsets(classes)[:, None]], 1)
