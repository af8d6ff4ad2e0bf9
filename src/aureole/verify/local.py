"""Local search for a failing image by small exact programs, where gradient steps have come to their end.

A row is a difference of convex functions of the image: keep the candidate that wins each maximum which the row wants
high, and a linear program is left. Its best image is at least as bad as the one that the winners came from, so solving
it and taking over the new winners, again and again, only lowers the margin (the convex-concave procedure: Yuille &
Rangarajan 2003). Where that stops some maxima are let free, near one another or anywhere, for a small MILP that has to
find a lower margin (large neighborhood search: Shaw 1998).
"""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from threading import Event
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix

from aureole.core import Why
from aureole.verify import highs
from aureole.verify.encoding import Encoding, encode, inexact
from aureole.verify.known import Known
from aureole.verify.query import Query
from aureole.verify.solver import Status
from aureole.verify.stages import Stage


@dataclass(frozen=True, eq=False)
class Window:
    """What a program may change: the maxima whose winners are not kept, and the pixels that are let move."""

    kept: Bool[np.ndarray, "choices"]
    moved: Bool[np.ndarray, "pixels"]


@dataclass(frozen=True)
class Local(Stage):
    """Lower the margin of the worst image met, through the rows that are lowest there.

    Every second small MILP frees maxima that depend on the same pixels, and no other pixels move then; the others free
    maxima from anywhere.

    free:    binaries of each small MILP
    tries:   so many of them in a row that gain nothing end the search; with 0 it ends with the linear programs
    seconds: for one program, at most
    share:   of the time that is left, for all of them
    goal:    the margin (score units) at which the search ends
    gain:    by which each program has to lower it, at least
    part:    and each small MILP by this share of it; by less, the more of them have failed
    threads: MILPs solved at the same time
    """

    free: int = 60
    tries: int = 30
    seconds: float = 3.0
    share: float = 0.7
    goal: float = 0.0
    gain: float = 1e-4
    part: float = 0.1
    threads: int = 2
    finds: ClassVar[Why] = Why.LOCAL
    name: str = "local"

    def __call__(self, query: Query, known: Known) -> Known:  # noqa: D102
        if known.image is None or known.least <= self.goal or inexact(query.graph):
            return known
        query = replace(query, budget=query.budget.at_most(self.share * query.budget.remaining))
        values = query.graph(known.image[None])[0] @ query.rows.T
        lowest = values.argsort()[: query.spec.order]
        encoding = encode(query.graph, query.region, query.rows[lowest], len(lowest), known.bounds, 0.0)
        whole, before = Window(*(np.ones(n, dtype=bool) for n in _sizes(encoding))), None
        while known is not before and not self._ended(query, known):
            won, _ = _winners(query, encoding, known)
            before, known = known, self._solved(query, known, encoding, won, whole, self.gain)
        return self._around(query, known, encoding) if self.tries and encoding.choices else known

    def _ended(self, query: Query, known: Known) -> bool:
        return known.least <= self.goal or query.budget.expired or known.open_because is Why.INTERRUPTED

    def _around(self, query: Query, known: Known, encoding: Encoding) -> Known:
        """Small MILPs, a few at a time, each around the worst image known when it begins."""
        links, stop, failed, turn = Links.of(encoding), Event(), 0, 0
        running = set[Future[Known]]()
        with ThreadPoolExecutor(self.threads) as pool:
            try:
                while failed < self.tries and not self._ended(query, known):
                    while len(running) < self.threads:
                        won, ahead = _winners(query, encoding, known)
                        window = self._window(query, encoding, links, ahead, turn)
                        gain = max(self.gain, self.part * (1 - failed / self.tries) * known.least)
                        running.add(pool.submit(self._solved, query, known, encoding, won, window, gain, stop))
                        turn += 1
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    best = min((job.result() for job in done), key=lambda found: found.least)
                    failed = 0 if best.least < known.least else failed + len(done)
                    known = min(known, best, key=lambda found: found.least)
            except KeyboardInterrupt:
                known = replace(known, open_because=Why.INTERRUPTED)
            finally:
                stop.set()
        late = [job.result() for job in running]  # what they had found when they were told to end
        return replace(min([known, *late], key=lambda found: found.least), open_because=known.open_because)

    def _window(
        self, query: Query, encoding: Encoding, links: "Links", ahead: Float[np.ndarray, "choices"], turn: int
    ) -> Window:
        """Some maxima, in every second pair of turns rather those whose winners are least ahead."""
        chance = torch.empty(len(ahead), dtype=torch.float64).exponential_(generator=query.generator).numpy()
        order = (chance if turn // 2 % 2 else ahead * chance).argsort()
        kept, moved = (np.ones(n, dtype=bool) for n in _sizes(encoding))
        if turn % 2 == 0:
            distance, moved = links.around(encoding, int(order[0]), self.free)
            order = np.lexsort((chance, distance))
        sizes = np.array([len(choice.wins) for choice in encoding.choices])
        kept[order[sizes[order].cumsum() <= self.free]] = False
        return Window(kept, moved)

    def _solved(
        self, query: Query, known: Known, encoding: Encoding, won: Int[np.ndarray, "choices"], window: Window,
        gain: float, stop: Event | None = None,
    ) -> Known:  # fmt: skip
        """The worst image that a window allows, with these winners kept; the same `known` where it is no worse."""
        assert known.image is not None
        program = encoding.program
        lower, upper = program.lower.copy(), program.upper.copy()
        for choice, winner, keep in zip(encoding.choices, won, window.kept, strict=True):
            if keep:
                lower[choice.wins] = upper[choice.wins] = np.arange(len(choice.wins)) == winner
        held = np.flatnonzero(~window.moved)
        lower[held] = upper[held] = encoding.pixels.point(known.image).numpy()[held]
        lower[program.objective > 0] = gain - known.least  # the depth
        met = [known]

        def enough(solution: np.ndarray) -> bool:
            met.append(met[-1].seen(query, encoding.image(solution)))
            return met[-1].least <= self.goal

        seconds = min(self.seconds, query.budget.remaining)
        outcome = highs.solve(replace(program, lower=lower, upper=upper), seconds, enough, gain, stop=stop)
        if outcome.status is Status.INTERRUPTED and stop is None:
            return replace(met[-1], open_because=Why.INTERRUPTED)
        return met[-1] if outcome.solution is None else met[-1].seen(query, encoding.image(outcome.solution))


@dataclass(frozen=True, eq=False)
class Links:
    """Which variables of an encoding stand in a constraint together, but for those of the rows that are to fail.

    rows:   constraints x variables, 1 where a variable stands in a constraint; columns: the other way round
    owners: whose binary each variable is, by the number of the maximum; -1 for the others
    """

    rows: csr_matrix
    columns: csr_matrix
    owners: Int[np.ndarray, "variables"]

    @classmethod
    def of(cls, encoding: Encoding) -> "Links":  # noqa: D102
        program = encoding.program
        apart = abs(program.matrix) @ (program.objective != 0) == 0
        rows = csr_matrix(program.matrix[np.flatnonzero(apart)] != 0, dtype=np.float64)
        owners = np.full(len(program.lower), -1)
        for n, choice in enumerate(encoding.choices):
            owners[choice.wins] = n
        return cls(rows, csr_matrix(rows.T), owners)

    def around(
        self, encoding: Encoding, middle: int, enough: int
    ) -> tuple[Float[np.ndarray, "choices"], Bool[np.ndarray, "pixels"]]:
        """How many links each maximum is away from one, until `enough` binaries are reached; and the pixels reached."""
        choices, pixels = _sizes(encoding)
        distance = np.full(choices, np.inf)
        distance[middle] = 0
        met = self.owners == middle
        before = 0
        while (self.owners[met] >= 0).sum() <= enough and before < met.sum():
            before = met.sum()
            met = met | (self.columns @ (self.rows @ met.astype(np.float64)) > 0)
            reached = np.unique(self.owners[met & (self.owners >= 0)])
            distance[reached] = np.minimum(distance[reached], distance[np.isfinite(distance)].max() + 1)
        return distance, met[:pixels]


def _sizes(encoding: Encoding) -> tuple[int, int]:
    """The numbers of maxima to decide and of pixels that move."""
    return len(encoding.choices), len(encoding.pixels.moved)


def _winners(
    query: Query, encoding: Encoding, known: Known
) -> tuple[Int[np.ndarray, "choices"], Float[np.ndarray, "choices"]]:
    """Which candidate of each maximum wins at the image known (the number of candidates: 0 does), and by how much."""
    assert known.image is not None
    values = [value[0].flatten().numpy() for value in query.graph.values(known.image[None])]
    won, ahead = [], []
    for choice in encoding.choices:
        candidates = np.append(values[choice.layer][choice.candidates], 0.0 if choice.zero else -np.inf)
        following, winner = candidates.argsort()[-2:]
        won.append(winner)
        ahead.append(candidates[winner] - candidates[following])
    return np.array(won, dtype=np.int64), np.array(ahead)
