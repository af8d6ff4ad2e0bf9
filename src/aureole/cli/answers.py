"""From a question about radii to an answer and to what `--json` prints of it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from aureole.core import Answer
from aureole.core.files import remove, write_bytes

Image = Float[Tensor, "channels height width"]


def result(answer: Answer, place: Path | None) -> dict[str, Any]:
    """An answer in words and numbers; `place` is where its witness is written, if it is."""
    return {
        "verdict": str(answer.verdict),
        "why": str(answer.why),
        "margin_bound": answer.margin_bound,
        "witness": str(place) if answer.witness is not None and place is not None else None,
        "seconds": answer.seconds,
        "calls": dict(answer.calls),
        "stage_seconds": {stage: round(seconds, 6) for stage, seconds in answer.stage_seconds.items()},
        "margin_seen": answer.margin_seen,
        "slack": answer.slack,
        "detail": answer.detail,
    }


def keep_witness(answer: Answer, place: Path | None) -> None:
    """Write the witness there as .npy, if there is a place; without a witness, an earlier question's goes."""
    if place is not None and answer.witness is not None:
        write_bytes(place, npy(answer.witness))
    elif place is not None:
        remove(place)


def npy(image: Image) -> bytes:
    """An image as the content of a .npy file, float64."""
    buffer = io.BytesIO()
    np.save(buffer, image.detach().cpu().double().numpy(), allow_pickle=False)
    return buffer.getvalue()
