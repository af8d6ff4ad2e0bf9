"""What every attack shares: the template owns safety, the leaf owns the search (foolbox)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.core import Budget, Graph, Region, Spec


@dataclass(frozen=True, eq=False)
class Found:
    """The worst image met in each region (float64, inside to the last bit) and its margin on the graph."""

    images: Float[Tensor, "batch *shape"]
    margins: Float[Tensor, "batch"]


class Attack(ABC):
    """A search for images of a region on which a spec fails. It proves nothing; `verify` replays what it finds."""

    def __call__(
        self,
        graph: Graph,
        region: Region,
        spec: Spec,
        *,
        generator: torch.Generator,
        budget: Budget = Budget(),
        starts: Float[Tensor, "batch starts *shape"] | None = None,
        device: torch.device | str = "cpu",
    ) -> Found:
        """The worst image found in each region.

        graph:  the network, in float64; the search runs on a float32 copy
        starts: images to begin from besides the attack's own; they are clipped into the regions
        device: where the search runs; what it finds is judged where the graph lies
        """
        fast = region.to(torch.float32, device)
        given = region.center.unsqueeze(1) if starts is None else torch.cat([region.center.unsqueeze(1), starts], 1)
        candidates = self._search(
            graph.to(torch.float32, device), fast, spec, given.to(device, torch.float32), generator, budget
        )
        images = torch.cat([candidates.to(region.lower), given], 1)
        images = torch.minimum(torch.maximum(images, region.lower.unsqueeze(1)), region.upper.unsqueeze(1))
        with torch.no_grad():
            margins = spec.margin(graph(images.flatten(0, 1))).unflatten(0, images.shape[:2])
        worst = margins.nan_to_num(nan=torch.inf).argmin(1)
        lead = torch.arange(len(region), device=worst.device)
        return Found(images[lead, worst], margins[lead, worst])

    @abstractmethod
    def _search(
        self,
        graph: Graph,
        region: Region,
        spec: Spec,
        starts: Float[Tensor, "batch starts *shape"],
        generator: torch.Generator,
        budget: Budget,
    ) -> Float[Tensor, "batch candidates *shape"]:
        """Candidates for each region, near or inside it (float32)."""
