"""What a GPU is worth: the parts that run on `device`, on the author's networks, CPU against CUDA in one run."""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from aureole.attacks import SmoothPgd
from aureole.bounds import Ascent, intermediate_bounds, optimise, relax
from aureole.core import Budget, Region, Verdict
from aureole.core.graph import merge_rectified_pools
from aureole.neighborhood import Problem
from aureole.neighborhood.ascent import JointAscent, climb_all
from aureole.verify import prove
from benchmarks.cases import Case, cases, write

NETWORKS = ("model-noDef-x1k", "dmnist-noDef-x2", "dmnist-noDef-x3")


def timed(act: Callable[[], object], repeats: int) -> float:
    """Median seconds, after one run that is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        act()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return round(statistics.median(seconds[1:]), 4)


def costs(known: Sequence[Case], many: Region, device: str, repeats: int) -> dict[str, float]:
    """Seconds of each part on one device."""
    graph, problems, spec = merge_rectified_pools(known[0].graph), [c.problem() for c in known], known[0].spec
    fast, box = graph.to(torch.float32, device), many.to(torch.float32, device)
    rows = spec.rows(graph.classes).to(box.lower).expand(len(many), -1, -1)
    every, one = (relax(fast, intermediate_bounds(fast, part)) for part in (box, box[0]))

    def attack(region: Region) -> None:
        generator = torch.Generator().manual_seed(0)
        SmoothPgd(steps=60, restarts=16)(graph, region, spec, generator=generator, device=device)

    def climb(scenes: list[Problem]) -> None:
        starts = [torch.full((len(problem.rings),), 1e-4, dtype=torch.float64) for problem in scenes]
        climb_all(scenes, starts, JointAscent(steps=30, offers=0), Budget(), device=device)

    parts: dict[str, Callable[[], object]] = {
        "attack, 1 box": lambda: attack(many[0]),
        "attack, all boxes": lambda: attack(many),
        "inner bounds, all boxes": lambda: intermediate_bounds(fast, box),
        "60 steps on 9 rows, 1 box": lambda: optimise(fast, box[0], rows[:1], one, Ascent(steps=60)),
        "60 steps on 9 rows, all boxes": lambda: optimise(fast, box, rows, every, Ascent(steps=60)),
        "joint ascent, 30 steps, 1 scene": lambda: climb(problems[:1]),
        "joint ascent, 30 steps, all scenes": lambda: climb(problems),
    }
    return {name: timed(act, repeats) for name, act in parts.items()}


def main(devices: list[str], radius: float, repeats: int) -> None:
    summary: dict[str, object] = {"radius": radius, "gpu": torch.cuda.get_device_name() if "cuda" in devices else None}
    rows = []
    for name in NETWORKS:
        known = [c for c in cases([name]) if float(c.spec.margin(c.graph.replay(c.author.scene.image))) > 0]
        many = Region.stack([Region.ball(c.author.scene.image, radius) for c in known])
        summary[name] = {"boxes": len(many)} | {device: costs(known, many, device, repeats) for device in devices}
        for n, case in enumerate(known[:6]):
            answers = [prove(case.graph, many[n], case.spec, budget=Budget.seconds(10.0), device=d) for d in devices]
            rows.append({
                "network": name, "image": case.author.scene.name, "verdicts": [str(a.verdict) for a in answers],
                "seconds": [round(a.seconds, 2) for a in answers],
            })  # fmt: skip
            met = {a.verdict for a in answers}
            assert not {Verdict.ROBUST, Verdict.VULNERABLE} <= met, f"the devices contradict each other: {rows[-1]}"
        write("devices", summary, rows)  # after each network, so that a run cut short keeps what it has


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", nargs="*", default=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
    parser.add_argument("--radius", type=float, default=0.006)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    main(arguments.devices, arguments.radius, arguments.repeats)
