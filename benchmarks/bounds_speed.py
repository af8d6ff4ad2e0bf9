"""How long inner bounds and optimised bounds take: all nine rows of a 3,818-parameter network, radius 0.006."""

import statistics
import time

import torch

from aureole.bounds import Ascent, intermediate_bounds, optimise, relax
from aureole.core import Region
from aureole.core.graph import merge_rectified_pools
from benchmarks.cases import cases, write


def main(radius: float = 0.006, repeats: int = 3) -> None:
    summary = {}
    rows = []
    chosen = [case for case in cases() if case.author.scene.name in ("0_32", "100_02", "unnamed04_gt17")]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        inner, climb = [], []
        for case in chosen:
            graph = merge_rectified_pools(case.graph)
            fast = graph.to(torch.float32)
            region = Region.ball(case.author.scene.image, radius)
            spec_rows = case.spec.rows(graph.classes)[None]
            for _ in range(repeats):
                start = time.perf_counter()
                bounds = intermediate_bounds(graph, region)
                inner.append(time.perf_counter() - start)
                start = time.perf_counter()
                relaxations = relax(fast, {i: b.to(torch.float32) for i, b in bounds.items()})
                found = optimise(
                    fast, region.to(torch.float32), spec_rows.to(torch.float32), relaxations, Ascent(steps=60)
                )
                climb.append(time.perf_counter() - start)
            rows.append({"threads": threads, "network": case.network, "image": case.author.scene.name,
                         "lowest": [round(float(v), 4) for v in found.values[0].sort().values[:3]]})  # fmt: skip
        summary[f"{threads} threads"] = {
            "inner bounds (float64), median s": round(statistics.median(inner), 4),
            "60 steps on 9 rows, median s": round(statistics.median(climb), 4),
            "60 steps on 9 rows, max s": round(max(climb), 4),
        }
    torch.set_num_threads(1)
    write("bounds_speed", summary, rows)


if __name__ == "__main__":
    main()
