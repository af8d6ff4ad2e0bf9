"""The main job in Python: a scene, a network, proved radii around one digit."""

from pathlib import Path
from tempfile import mkdtemp

import torch

from aureole.core import Budget, Rings, TopK
from aureole.core.record import write_record
from aureole.data import load_source_digits, make_scenes
from aureole.neighborhood import Problem, maximize, named_weights, record
from aureole.nets import load
from aureole.report import draw

torch.set_num_threads(1)  # the tensors are small; more threads only wait for each other

network = load("digits-linf")
graph = network.graph

# the first held-out scene whose two digits the network gets right
for scene in make_scenes(load_source_digits("test"), count=50, objects=2, seed=1):
    target, other = scene.labels
    if set(graph.replay(scene.image).topk(2).indices.tolist()) == set(scene.labels):
        break

rings = Rings.around(scene.mask(other))
problem = Problem(graph, scene.image, rings, TopK(target, k=2), named_weights("uniform", rings))
found = maximize(problem, "uniform", budget=Budget.seconds(20))

print(f"{scene.name}: label {target} survives every change of at most {float(found.radii[0]):.4f} around {other}")
print(f"verdict {found.verdict} by {found.proof}, {len(rings)} rings, size {found.size:.3f}, {found.seconds:.1f} s")
assert found.verdict == "ROBUST"

folder = Path(mkdtemp())
write_record(
    folder, *record(problem, found, scene.mask(other), scene.mask(target), name=scene.name, network=network.name)
)
print("pictures:", *draw(folder))
