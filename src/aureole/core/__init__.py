"""The words of the house: data, no algorithms."""

from aureole.core.budget import Budget
from aureole.core.errors import InputError, times
from aureole.core.graph import Graph
from aureole.core.region import Region
from aureole.core.rings import Rings
from aureole.core.scene import Scene
from aureole.core.spec import AboveThreshold, OutOfTopK, Rows, Spec, TopK
from aureole.core.verdict import Answer, Verdict, Why

__all__ = [
    "AboveThreshold",
    "Answer",
    "Budget",
    "Graph",
    "InputError",
    "OutOfTopK",
    "Region",
    "Rings",
    "Rows",
    "Scene",
    "Spec",
    "TopK",
    "Verdict",
    "Why",
    "times",
]
