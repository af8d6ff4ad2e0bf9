"""Real handwriting that ships offline: scikit-learn's 8x8 digits, resized to 28x28."""

from typing import Literal

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from aureole.data.digit_set import SIDE, DigitSet

Split = Literal["train", "test"]

_LEVELS = 16  # load_digits counts inked pixels of 4x4 blocks: 0..16
_TEST_EVERY = 4  # one digit in four is held out
_BACKGROUND = 13  # grey levels below 13/255 are the blur of the resizing: background


def load_source_digits(split: Split) -> DigitSet:
    """The 1,797 digits of `sklearn.datasets.load_digits` at 28x28, the training or the held-out part.

    Within each class every fourth digit is held out (445 digits in all): stratified, and the same on every machine.
    Resizing is bicubic; faint levels are set to 0, so that an object's mask is its non-zero pixels.
    """
    source = load_digits()
    chosen = np.array(_held_out(source.target)) == (split == "test")
    images = np.stack([_resize(image) for image in source.images[chosen]])
    return DigitSet(torch.from_numpy(images), torch.from_numpy(source.target[chosen].astype(np.int64)))


def _held_out(labels: np.ndarray) -> list[bool]:
    seen: dict[int, int] = {}
    held = []
    for label in labels.tolist():
        seen[label] = seen.get(label, 0) + 1
        held.append(seen[label] % _TEST_EVERY == 0)
    return held


def _resize(image: np.ndarray) -> np.ndarray:
    scaled = Image.fromarray((image / _LEVELS).astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    levels = np.rint(np.asarray(scaled).clip(0.0, 1.0) * 255).astype(np.uint8)
    return np.where(levels < _BACKGROUND, 0, levels).astype(np.uint8)
