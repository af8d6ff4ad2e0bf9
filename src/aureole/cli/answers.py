"""From a question about radii to an answer and to what `--json` prints of it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from aureole import verify
from aureole.core import Answer, Budget, Graph, Region, Spec, Verdict, Why
from aureole.core.files import remove, write_bytes

Image = Float[Tensor, "channels height width"]


def decide(
    graph: Graph,
    image: Image,
    region: Region,
    spec: Spec,
    budget: Budget,
    seed: int,
    method: verify.Portfolio = verify.COMPLETE,
    device: str = "cpu",
) -> Answer:
    """`verify.prove`, after a look at the clean image: where the spec fails there, that image is the witness."""
    seen = region.nearest(image, graph.precision)[0]  # a number that the model reads as it is
    margin = float(spec.margin(graph.replay(seen)))
    if margin > 0:
        return verify.prove(graph, region, spec, method, budget=budget, seed=seed, device=device)
    return Answer(
        Verdict.VULNERABLE,
        Why.ATTACK,
        margin_seen=margin,
        witness=seen,
        weakest=seen,
        seconds=budget.spent,
        detail="; ".join(["the spec fails on the clean image", *graph.notes]),
    )


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
