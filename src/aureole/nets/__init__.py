"""Networks: architectures, and weights by path or by name."""

from aureole.nets.architectures import ARCHITECTURES, Architecture, ConvNet, architecture, build
from aureole.nets.onnx_import import OnnxNetwork, load_onnx
from aureole.nets.storage import AUTHORS, SHIPPED, Network, load, save, training_record
from aureole.nets.trace import trace

__all__ = [
    "ARCHITECTURES",
    "AUTHORS",
    "SHIPPED",
    "Architecture",
    "ConvNet",
    "Network",
    "OnnxNetwork",
    "architecture",
    "build",
    "load",
    "load_onnx",
    "save",
    "trace",
    "training_record",
]
