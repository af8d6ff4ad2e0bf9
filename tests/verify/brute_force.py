"""The brute force of the oracles, for rows with constants: they become a last layer."""

from dataclasses import replace

import torch
from brute import least_margin as least_of_plain_rows
from torch import Tensor

from aureole.core import Graph, Region
from aureole.core.graph import Linear, Node


def least_margin(graph: Graph, region: Region, rows: Tensor, constants: Tensor, order: int) -> float:
    node = Node(Linear(rows, constants), (len(graph.nodes) - 1,), (len(rows),))
    longer = replace(graph, nodes=(*graph.nodes, node))
    return least_of_plain_rows(longer, region, torch.eye(len(rows), dtype=torch.float64), order)
