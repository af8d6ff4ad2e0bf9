"""Few rings far out, near where they fail: branch and bound with and without dividing the pixels that tiles share.

Twelve neighborhoods of the 90 cases, met in bisections of the last ring's radius; both ways in turns.
"""

import argparse

import torch

from aureole.core import Budget
from aureole.verify import Portfolio, prove
from aureole.verify.blocks import Blocks
from aureole.verify.stages import Break, Climb, Ranges, Screen
from benchmarks.cases import cases, in_turns, write

WAYS = {"divided": Blocks(), "not divided": Blocks(few=0)}
NEAR = (
    (0, {37: 0.84, 38: 1.0, 39: 1.0}), (0, {37: 0.86, 38: 1.0, 39: 1.0}), (6, {40: 0.4938}), (6, {40: 0.4948}),
    (12, {39: 0.4, 40: 1.0}), (18, {41: 0.6254}), (18, {41: 0.6281}), (42, {35: 0.0365}), (48, {39: 0.62}),
    (48, {39: 0.64}), (66, {11: 0.3047, 34: 1.0, 36: 1.0, 38: 1.0, 40: 1.0}),
    (78, {25: 1.0, 37: 0.5312, 39: 1.0, 41: 1.0}),
)  # fmt: skip
"""Case and radii by ring; the other rings' are 0."""


def main(seconds: float = 10.0) -> None:
    rows, every = [], list(cases())
    for number, given in NEAR:
        case = every[number]
        problem = case.problem()
        radii = torch.zeros(len(problem.rings), dtype=torch.float64)
        radii[list(given)] = torch.tensor(list(given.values()), dtype=torch.float64)
        row = {"case": number, "network": case.network, "radii": str(given)}
        for name, blocks in WAYS.items():
            portfolio = Portfolio((Screen(), Break(), Ranges(), Climb(), blocks))
            budget = Budget.seconds(seconds)
            answer = prove(problem.graph, problem.region(radii), problem.spec, portfolio, budget=budget)
            row[name], row[f"{name} bound"] = answer.verdict, answer.margin_bound
            row[f"{name} s"] = round(budget.spent, 2)
        rows.append(row)
        print(*row.values(), flush=True)
    write("few_pixels", in_turns(rows, WAYS, seconds), rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    main(parser.parse_args().seconds)
