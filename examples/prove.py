"""Proving and breaking: the same image at a radius that holds and at one that does not."""

import torch

from aureole.core import Budget, Region, TopK
from aureole.data import load_source_digits, make_scenes
from aureole.nets import load
from aureole.verify import prove

torch.set_num_threads(1)

network = load("digits-none")
graph = network.graph
for scene in make_scenes(load_source_digits("test"), count=50, objects=2, seed=1):
    if set(graph.replay(scene.image).topk(2).indices.tolist()) == set(scene.labels):
        break
spec = TopK(target=scene.labels[0], k=2)

for radius in (0.0005, 0.2):
    answer = prove(graph, Region.ball(scene.image, radius), spec, budget=Budget.seconds(20))
    print(f"radius {radius}: {answer.verdict} by {answer.why}, margin >= {answer.margin_bound}, {answer.seconds:.2f} s")
    if answer.witness is not None:  # replay it yourself: the original module, float64
        scores = graph.replay(answer.witness)
        print(f"  the witness ranks {scores.argsort(descending=True)[:3].tolist()}; label {spec.target} is not among 2")
        assert float(spec.margin(scores)) <= 0
