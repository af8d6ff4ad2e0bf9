"""Networks: architectures, and weights by path or by name."""

from aureole.nets.architectures import ARCHITECTURES, Architecture, ConvNet, architecture, build
from aureole.nets.storage import AUTHORS, SHIPPED, Network, load, save, training_record
from aureole.nets.trace import trace

__all__ = [
    "ARCHITECTURES",
    "AUTHORS",
    "SHIPPED",
    "Architecture",
    "ConvNet",
    "Network",
    "architecture",
    "build",
    "load",
    "save",
    "trace",
    "training_record",
]
