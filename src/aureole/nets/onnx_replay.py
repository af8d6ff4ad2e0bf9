"""The original ONNX model as a function. The one door to `onnxruntime`, an extra: `pip install aureole[onnx]`."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from aureole.core.errors import InputError, first_line


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """Scores of images by onnxruntime, in the model's own precision; independent of `core.Graph`.

    Images arrive in float64 and are cast to the model's dtype: exact for a witness, which `verify` picks among the
    numbers of that dtype (`Graph.precision`), wherever the region holds one.
    """

    session: Any
    name: str
    shape: tuple[int, ...]
    dtype: Any
    layout: NDArray[np.int64] | None

    @classmethod
    def load(
        cls, model: bytes, name: str, shape: tuple[int, ...], dtype: Any, layout: NDArray[np.int64] | None
    ) -> "OnnxModel | None":
        """A session on one thread; None without onnxruntime, InputError when it refuses the model."""
        try:
            import onnxruntime
        except ImportError:
            return None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # it writes to standard error otherwise
        # no fusing across layers: it changes the arithmetic that the file describes
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen kinds of its own
            known = re.search(r"official support for domain ai\.onnx is till opset (\d+)", str(error))
            if known:
                raise InputError(
                    f"this onnxruntime knows opsets up to {known[1]}; export the model with that one, or update it"
                ) from error
            raise InputError(f"onnxruntime refuses the model ({first_line(error)}); export it again") from error
        return cls(session, name, shape, dtype, layout)

    def __call__(self, images: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch classes"]:
        """Scores in the dtype of the images, one image at a time: a model may be exported for a batch of 1."""
        flat = images.detach().cpu().flatten(1)
        if self.layout is not None:
            flat = torch.zeros_like(flat).index_copy(1, torch.from_numpy(self.layout), flat)
        scores = [self._run(x.reshape(self.shape)) for x in flat.numpy().astype(self.dtype)]
        return torch.stack(scores).to(images)

    def _run(self, image: NDArray[Any]) -> Float[Tensor, "classes"]:
        try:
            (scores,) = self.session.run(None, {self.name: image})
            return torch.from_numpy(np.asarray(scores)).flatten()
        except Exception as error:  # onnxruntime raises a dozen kinds of its own
            raise InputError(f"onnxruntime cannot run the model ({first_line(error)}); export it again") from error
