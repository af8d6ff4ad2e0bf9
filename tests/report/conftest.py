from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from aureole.core import Rings
from aureole.core.record import Array, Record, write_record

Write = Callable[..., Path]


@pytest.fixture(name="two_blocks")
def _two_blocks() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An image with two grey shapes, and the masks of the left (perturbed) and the right (target) one."""
    image = torch.zeros(1, 24, 24, dtype=torch.float64)
    image[0, 4:12, 3:8] = 0.7
    image[0, 9:20, 14:20] = 0.9
    image[0, 12:16, 16:18] = 0.0
    mask, target = torch.zeros(24, 24, dtype=torch.bool), torch.zeros(24, 24, dtype=torch.bool)
    mask[4:12, 3:8] = True
    target[9:20, 14:20] = True
    return image, mask, target


@pytest.fixture
def write_neighborhood(tmp_path: Path, two_blocks: tuple) -> Write:
    """Writes a neighborhood record; keywords replace parts of its result, its radii or its config."""

    def write(radii: list[float] | None = None, arrays_without: tuple[str, ...] = (), **result: object) -> Path:
        image, mask, target = two_blocks
        rings = Rings.around(mask)
        if radii is None:
            radii = [0.004 * 1.3**d if d % 4 else 0.0 for d in range(len(rings))]
            radii[-1] = 1.0
        values = torch.tensor(radii, dtype=torch.float64)
        spread = rings.spread(values)
        sign = torch.where(torch.arange(24) % 2 == 0, 1.0, -1.0)
        weakest = (image + spread * sign).clamp(0, 1)
        zero = [d for d, r in enumerate(radii) if r == 0]
        base = {
            "verdict": "ROBUST",
            "radii": radii,
            "ring_pixels": list(rings.pixels),
            "size": sum(radii),
            "limits": [min(radius + (0.001 if d != 5 else 0.01), 1.0) for d, radius in enumerate(radii)],
            "maximal": False,
            "open_rings": [3, 5, 6],
            "upper_bound": None,
            "gap": None,
            "proof": "bounds",
            "margin_bound": 0.01,
            "weakest_margin": 0.21,
            "witness_rings": sorted({*zero, 1, 2, 5}),
            "capped": [len(radii) - 1],
            "seconds": 3.5,
            "calls": {"ROBUST by bounds": 12},
            "timeline": [[0.1, 0.2]],
        }
        record = Record(
            kind="neighborhood",
            network={"name": "digits-none", "arch": "x1k", "sha256": "0"},
            image={"name": "scene-7-3", "sha256": "0", "shape": [1, 24, 24]},
            config={
                "target": 3,
                "k": 2,
                "object": 7,
                "method": "oracle",
                "objective": "sum",
                "weights": "uniform",
                "delta": 0.001,
                "timeout": 60.0,
                "seed": 0,
            },
            result=base | result,
        )
        arrays = {
            Array.IMAGE: image,
            Array.MASK: mask.to(torch.uint8),
            Array.TARGET_MASK: target.to(torch.uint8),
            Array.RING_INDEX: rings.index,
            Array.RADII: values,
            Array.WEAKEST: weakest,
        }
        kept = {str(k): v for k, v in arrays.items() if k not in arrays_without}
        write_record(tmp_path / "run", record, kept)
        return tmp_path / "run"

    return write


@pytest.fixture
def write_prove(tmp_path: Path, two_blocks: tuple) -> Write:
    """Writes a `prove` record with a verdict."""

    def write(verdict: str = "VULNERABLE", **config: object) -> Path:
        image, _, _ = two_blocks
        record = Record(
            kind="prove",
            network={"name": "digits-none", "arch": "x1k", "sha256": "0"},
            image={"name": "image", "sha256": "0", "shape": [1, 24, 24]},
            config={"target": 3, "k": 2, "radius": 0.03, "seed": 0, "timeout": 60.0} | config,
            result={
                "verdict": verdict,
                "why": "attack" if verdict == "VULNERABLE" else "bounds",
                "margin_bound": None,
                "margin_seen": 0.3,
                "witness": None,
                "seconds": 0.4,
                "calls": {},
            },
        )
        name = Array.WITNESS if verdict == "VULNERABLE" else Array.WEAKEST
        arrays = {str(Array.IMAGE): image, str(name): (image - 0.03).clamp(0, 1)}
        write_record(tmp_path / "run", record, arrays)
        return tmp_path / "run"

    return write
