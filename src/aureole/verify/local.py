"""Local search for a failing image by small exact programs, where gradient steps have come to their end.

A row is a difference of convex functions of the image: keep the candidate that wins each maximum which the row wants
high, and a linear program is left. Its best image is at least as bad as the one that the winners came from, so solving
it and taking over the new winners, again and again, only lowers the margin (the convex-concave procedure: Yuille &
Rangarajan 2003). Where that stops some maxima are let free, those with the closest runners-up or any, for a small MILP
that has to find a lower margin (large neighborhood search: Shaw 1998).
"""

from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aureole.core import Why
from aureole.verify import highs
from aureole.verify.encoding import Encoding, encode, inexact
from aureole.verify.query import Known, Query
from aureole.verify.solver import Status
from aureole.verify.stages import Stage


@dataclass(frozen=True)
class Local(Stage):
    """Lower the margin of the worst image met, through the rows that are lowest there.

    free:    binaries of each small MILP
    tries:   so many of them in a row that gain nothing end the search; with 0 it ends with the linear programs
    seconds: for one program, at most
    share:   of the time that is left, for all of them
    goal:    the margin (score units) at which the search ends
    gain:    by which each program has to lower it, at least
    """

    free: int = 60
    tries: int = 30
    seconds: float = 3.0
    share: float = 0.3
    goal: float = 0.0
    gain: float = 1e-4
    name: str = "local"

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        if known.image is None or inexact(query.graph):
            return known
        query = replace(query, budget=query.budget.at_most(self.share * query.budget.remaining))
        values = query.graph(known.image[None])[0] @ query.rows.T
        lowest = values.argsort()[: query.spec.order]
        encoding = encode(query.graph, query.region, query.rows[lowest], len(lowest), known.bounds, 0.0)
        failed: int | None = None  # small MILPs in a row; None as long as linear programs gain something
        for turn in count():
            ended = known.least <= self.goal or query.budget.expired or known.open_because is Why.INTERRUPTED
            if ended or (failed is not None and failed >= self.tries):
                break
            won, ahead = _winners(query, encoding, known.image)
            kept = np.ones(len(won), dtype=bool) if failed is None else self._kept(query, encoding, ahead, turn)
            better = self._solved(query, known, encoding, won, kept)
            if better is known:
                failed = 0 if failed is None else failed + 1
            elif failed is not None:
                failed = 0
            known = better
        return known

    def _kept(
        self, query: Query, encoding: Encoding, ahead: Float[np.ndarray, "choices"], turn: int
    ) -> Bool[np.ndarray, "choices"]:
        """All but some maxima, in every second turn rather those whose winners are least ahead."""
        chance = torch.empty(len(ahead), dtype=torch.float64).exponential_(generator=query.generator).numpy()
        order = (ahead * chance if turn % 2 else chance).argsort()
        sizes = np.array([len(choice.wins) for choice in encoding.choices])
        kept = np.ones(len(ahead), dtype=bool)
        kept[order[sizes[order].cumsum() <= self.free]] = False
        return kept

    def _solved(
        self, query: Query, known: Known, encoding: Encoding, won: Int[np.ndarray, "choices"],
        kept: Bool[np.ndarray, "choices"],
    ) -> Known:  # fmt: skip
        """The worst image with these winners kept; the same `known` where it is no worse."""
        program = encoding.program
        lower, upper = program.lower.copy(), program.upper.copy()
        for choice, winner, keep in zip(encoding.choices, won, kept, strict=True):
            if keep:
                lower[choice.wins] = upper[choice.wins] = np.arange(len(choice.wins)) == winner
        lower[program.objective > 0] = self.gain - known.least  # the depth
        met = [known]

        def enough(solution: np.ndarray) -> bool:
            met.append(met[-1].seen(query, encoding.image(solution)))
            return met[-1].least <= self.goal

        seconds = min(self.seconds, query.budget.remaining)
        outcome = highs.solve(replace(program, lower=lower, upper=upper), seconds, enough, self.gain)
        if outcome.status is Status.INTERRUPTED:
            return replace(met[-1], open_because=Why.INTERRUPTED)
        return met[-1] if outcome.solution is None else met[-1].seen(query, encoding.image(outcome.solution))


def _winners(
    query: Query, encoding: Encoding, image: Float[Tensor, "*shape"]
) -> tuple[Int[np.ndarray, "choices"], Float[np.ndarray, "choices"]]:
    """Which candidate of each maximum wins at an image (the number of candidates: 0 does), and by how much."""
    values = [value[0].flatten().numpy() for value in query.graph.values(image[None])]
    won, ahead = [], []
    for choice in encoding.choices:
        candidates = np.append(values[choice.layer][choice.candidates], 0.0 if choice.zero else -np.inf)
        following, winner = candidates.argsort()[-2:]
        won.append(winner)
        ahead.append(candidates[winner] - candidates[following])
    return np.array(won, dtype=np.int64), np.array(ahead)
