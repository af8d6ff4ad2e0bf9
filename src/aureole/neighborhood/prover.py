"""The prover as the methods see it: it remembers witnesses, counts calls and keeps the best proved radii."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from aureole.attacks import SmoothPgd
from aureole.attacks.base import Attack
from aureole.core import Answer, Budget, Region, Verdict, Why
from aureole.neighborhood.ascent import JointAscent, climb
from aureole.neighborhood.problem import Problem
from aureole.neighborhood.result import Neighborhood
from aureole.neighborhood.upper import only_way_out
from aureole.neighborhood.witnesses import attacked, beyond, failing
from aureole.verify import COMPLETE, Hints, Portfolio, prove, prove_all

NEAREST = 2
"""Witnesses of other radii that an attack goes on from."""

RECENT = 4
"""Undecided questions whose proved parts are offered to those about radii inside."""

REFUTED = "proved for the model's weights in exact arithmetic; as the model rounds, the weakest image's margin is {:g}"
"""Said of radii that are proved up to less than the rounding of a model in float32."""

Progress = Callable[[float, float], None]
"""Called with (seconds since the start, best proved size) whenever a call to the prover ends."""


class Prover:
    """One run's log. Everything a method proves goes through `check`, so that nothing unproved can be reported."""

    def __init__(
        self,
        problem: Problem,
        budget: Budget,
        seed: int,
        on_progress: Progress | None = None,
        query_seconds: float = 10.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.problem = problem
        self.budget = budget
        self.query_seconds = query_seconds
        self.seed = seed
        self.device = device
        self._on_progress = on_progress
        self._calls: Counter[str] = Counter()
        self._timeline: list[tuple[float, float]] = []
        self._witnesses: list[Tensor] = []
        self.radii = torch.zeros(len(problem.rings), dtype=torch.float64)
        self._best: Answer | None = None
        self._met: tuple[Tensor, float] | None = None
        self._hints: Hints | None = None
        self._undecided: deque[Hints] = deque(maxlen=RECENT)

    @property
    def size(self) -> float:
        """The size of the best proved radii; 0 before the first proof, whatever the objective says of radii of 0."""
        return 0.0 if self._best is None else self.problem.size(self.radii)

    @property
    def witnesses(self) -> tuple[Float[Tensor, "channels height width"], ...]:
        """The images met so far on which a spec fails (replayed)."""
        return tuple(self._witnesses)

    def generator(self) -> torch.Generator:
        """A new one, always the same: what is repeated draws the same numbers."""
        return torch.Generator().manual_seed(self.seed)

    def prices(self) -> Float[Tensor, "rings"]:
        """By how much the margin that linear bounds certify falls at the best radii, per unit of each."""
        return climb(
            self.problem, self.radii, JointAscent(steps=0), self.budget, hints=self._hints, device=self.device
        ).prices

    def check(
        self, radii: Float[Tensor, "rings"], portfolio: Portfolio = COMPLETE, hints: Hints | None = None
    ) -> Answer:
        """Prove N(radii), break it, or give up after `query_seconds`. The largest proved radii are kept.

        hints: for the proof; those of the last proof when None. Where they prove nothing, what an open question about
               larger radii has proved takes their place, but for slopes. Attacks also go on from the nearest witnesses
        """
        region = self.problem.region(radii)
        earlier = self._recall(region)
        answer = earlier or self._ask(region, portfolio, hints or self._hints)
        if answer.why is Why.INTERRUPTED:  # `prove` returns what it knows; the search over radii ends here
            raise KeyboardInterrupt
        self._calls[f"{answer.verdict} by {answer.why if earlier is None else 'an earlier witness'}"] += 1
        if answer.verdict is Verdict.VULNERABLE and earlier is None and answer.witness is not None:
            self._witnesses.append(answer.witness)
        if answer.verdict is Verdict.UNKNOWN:
            self._undecided.append(answer.hints)
        if answer.verdict is Verdict.ROBUST and self._better(radii):
            if self._best is None or self.problem.size(radii) > self.size:
                self._timeline.append((self.budget.spent, self.problem.size(radii)))
            self.radii, self._best, self._hints, self._met = radii.clone(), answer, answer.hints, None
        if self._on_progress is not None:
            self._on_progress(self.budget.spent, self.size)
        return answer

    def _ask(self, region: Region, portfolio: Portfolio, hints: Hints | None) -> Answer:
        """Several specs are asked together, and given as much time as they would have alone."""
        graph, specs = self.problem.graph, self.problem.specs
        hints = self._around(region, hints or Hints(graph))
        hints = replace(hints, images=(*hints.images, *self._near(region)))
        budget = self.budget.at_most(self.query_seconds * len(specs))
        if len(specs) == 1:
            return prove(
                graph, region, specs[0], portfolio, budget=budget, seed=self.seed, hints=hints, device=self.device
            )
        return prove_all(
            graph, region, specs, portfolio, budget=budget, seed=self.seed, hints=hints, device=self.device
        )

    def _better(self, radii: Float[Tensor, "rings"]) -> bool:
        """Whether radii are larger than the best so far: in size, or, at the same size, in some ring.

        Radii below a floor are no answer.
        """
        if not bool((radii >= self.problem.floors).all()):
            return False
        size = self.problem.size(radii)
        wider = size >= self.size and bool((radii >= self.radii).all() and (radii > self.radii).any())
        return self._best is None or size > self.size or wider

    def _recall(self, region: Region) -> Answer | None:
        for image in self._witnesses:
            if region.contains(image):
                return Answer(Verdict.VULNERABLE, Why.ATTACK, witness=image, weakest=image)
        return None

    def _around(self, region: Region, hints: Hints) -> Hints:
        """With what an undecided question about a larger region has proved, where these hold none and there was one."""
        if hints.hold(self.problem.graph, region):
            return hints
        for told in reversed(self._undecided):
            if told.hold(self.problem.graph, region):
                return replace(told, parameters=hints.parameters or told.parameters)
        return hints

    def _near(self, region: Region) -> list[Tensor]:
        """The witnesses that lie least outside of a region: from there an attack may soon be inside."""
        if not self._witnesses:
            return []
        images = torch.stack(self._witnesses)
        outside = (images - region.clip(images)).abs().flatten(1).sum(1)
        return [self._witnesses[n] for n in outside.argsort()[:NEAREST].tolist()]

    @contextmanager
    def in_share(self, share: float = 1.0, query: float = 1.0) -> Iterator[None]:
        """Less time for what happens inside: a share of what is left, and of `query_seconds`, which is set back."""
        whole, usual = self.budget, self.query_seconds
        self.budget = replace(whole, deadline=whole.at_most(share * whole.remaining).deadline)
        self.query_seconds = query * usual
        try:
            yield
        finally:
            self.budget, self.query_seconds = whole, usual

    def grown(self, ring: int) -> Float[Tensor, "rings"]:
        """The best radii with one ring grown by delta (at most to its cap)."""
        radii = self.radii.clone()
        radii[ring] = min(float(radii[ring]) + self.problem.delta, float(self.problem.caps[ring]))
        return radii

    def remember(self, images: Iterable[Float[Tensor, "channels height width"] | None]) -> None:
        """Images on which a spec fails, when replayed, as further witnesses."""
        self._witnesses += [
            image for image in images if image is not None and not any(image is known for known in self._witnesses)
        ]

    def look(self, attack: Attack) -> None:
        """Attack the best radii grown by delta in each ring, all at once, for witnesses that stop the rings."""
        rings, generator = self.open_rings(), self.generator()
        everywhere = self.problem.within(self.radii + self.problem.delta)
        asked = [self.grown(ring) for ring in rings]
        # where nothing fails with all rings grown, nothing does with one
        for regions in ([everywhere], asked) if len(rings) > 1 else (asked,):
            if not regions or self.budget.expired:
                return
            found = failing(self.problem, regions, attack, generator, self.budget, self.device)
            self.remember(found)
            if not any(image is not None for image in found):
                return

    def bracket(self, attack: Attack, rounds: int) -> None:
        """Lower the limits of rings that might still grow: the way to each is halved so often, by attacks.

        attack: goes on from the weakest image known and from the witnesses that it finds
        """
        stops = self.stops()
        rings = self._open(stops)
        if rings and self._best is not None:
            known = {ring: image for ring, (_, image) in stops.items()}
            generator = self.generator()
            found = beyond(
                self.problem, self.radii, rings, attack, rounds, generator, self.budget, self.device, known,
                self._weakest()[0],
            )  # fmt: skip
            self.remember(found.values())

    def open_rings(self) -> tuple[int, ...]:
        """The rings that are not at their caps and that no image known so far stops within a step of delta."""
        return self._open(self.stops())

    def stops(self) -> dict[int, tuple[float, Tensor]]:
        """For rings where one is known: a radius at which, the others as they are, an image fails, and that image."""
        found: dict[int, tuple[float, Tensor]] = {}
        for image in self._witnesses:
            way = only_way_out(self.problem, image, self.radii)
            if way is not None and (way[0] not in found or way[1] < found[way[0]][0]):
                found[way[0]] = way[1], image
        return {ring: (self._to_delta(ring, *stop), stop[1]) for ring, stop in found.items()}

    def _to_delta(self, ring: int, limit: float, image: Tensor) -> float:
        """The limit without what it was raised by for rounding, where the image lies within a step of delta."""
        grown = self.grown(ring)
        return min(limit, float(grown[ring])) if self.problem.region(grown).contains(image) else limit

    def _open(self, stops: Mapping[int, tuple[float, Tensor]]) -> tuple[int, ...]:
        """The rings that are not at their caps and that no image stops within a step of delta."""
        return tuple(
            d
            for d in range(len(self.problem.rings))
            if self.radii[d] < self.problem.caps[d] and not (d in stops and stops[d][0] <= float(self.grown(d)[d]))
        )

    def finish(self, *, look: bool, prices: Float[Tensor, "rings"] | None = None) -> Neighborhood:
        """The result so far. With `look`, whether a known witness or the cap stops each ring is part of it.

        Where nothing is proved there is nothing to look at.
        """
        problem, best = self.problem, self._best
        look = look and best is not None
        weakest, margin = (None, None) if best is None else self._weakest()
        stops = self.stops() if look else {}
        limits = problem.caps.clone()
        for ring, (limit, _) in stops.items():
            limits[ring] = min(limit, float(problem.caps[ring]))
        open_rings = self._open(stops)
        return Neighborhood(
            verdict=Verdict.UNKNOWN if best is None else Verdict.ROBUST,
            radii=self.radii,
            ring_pixels=problem.rings.pixels,
            size=self.size,
            proof="" if best is None else str(best.why),
            margin_bound=None if best is None else best.margin_bound,
            weakest=weakest,
            weakest_margin=margin,
            witnesses={ring: image for ring, (_, image) in stops.items()},
            limits=limits if look else None,
            capped=tuple((self.radii >= problem.caps).nonzero().flatten().tolist()),
            maximal=not open_rings if look else None,
            open_rings=open_rings if look else None,
            prices=prices,
            calls=dict(self._calls),
            timeline=tuple(self._timeline),
            seconds=self.budget.spent,
            detail="" if margin is None or margin > 0 else REFUTED.format(margin),
        )

    def _weakest(self) -> tuple[Tensor, float]:
        """The image of the best proved region that an attack brings closest to failing, and its replayed margin.

        A proof that ends with the bounds has not looked for one. RuntimeError if the image fails in the arithmetic that
        was proved: a proof was wrong.
        """
        if self._met is not None:
            return self._met
        problem, best = self.problem, self._best
        assert best is not None
        region = problem.region(self.radii)
        generator = self.generator()
        met = [] if best.weakest is None or best.margin_seen is None else [(best.weakest, best.margin_seen)]
        for images in attacked(problem, region, SmoothPgd(steps=30, restarts=8), generator, device=self.device):
            image = region.nearest(images[0], problem.graph.precision)[0]
            met.append((image, float(problem.margin(problem.graph.replay(image)))))
        image, margin = self._met = min(met, key=lambda pair: pair[1])
        exact = margin if margin > 0 else float(problem.margin(problem.graph(image[None])[0]))
        if exact <= 0:
            raise RuntimeError(f"a proved neighborhood holds an image of margin {exact:g}; please report this")
        return self._met
