"""Small ONNX models, written operator by operator."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Step = tuple[str, list, dict]


def array(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def chain(path: Path, shape: list, steps: list[Step], opset: int = 17, dtype: int = TensorProto.FLOAT) -> Path:
    """A model whose every step reads the one before it; arrays among a step's inputs become initializers.

    "x" names the model's input and "tN" the output of step N; a step's `None` is the output of the step before it.
    """
    nodes, stored, last = [], [], "x"
    for n, (kind, inputs, attributes) in enumerate(steps):
        names = []
        for item in inputs:
            if item is None:
                names.append(last)
            elif isinstance(item, str):
                names.append(item)
            else:
                names.append(f"w{len(stored)}")
                stored.append(numpy_helper.from_array(np.asarray(item), names[-1]))
        last = f"t{n}"
        nodes.append(helper.make_node(kind, names, [last], name=f"{kind}{n}", **attributes))
    inner = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info(last, dtype, None)],
        stored,
    )
    model = helper.make_model(inner, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path
