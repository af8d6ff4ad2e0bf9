"""Digit sets by name."""

from collections.abc import Mapping
from pathlib import Path

from aureole.core import InputError
from aureole.data.digit_set import DigitSet
from aureole.data.digits import Split, load_source_digits
from aureole.data.mnist import load_mnist

PARTS: Mapping[str, Split] = {"train": "train", "test": "test"}


def named_digits(name: str, split: str, root: Path | None = None) -> DigitSet:
    """`digits` (ships with scikit-learn) or `mnist`, the `train` or the `test` part; InputError for other words.

    root: as of `load_mnist`
    """
    if split not in PARTS:
        raise InputError(f"split {split!r} is unknown; pass train or test")
    match name:
        case "digits":
            return load_source_digits(PARTS[split])
        case "mnist":
            return load_mnist(PARTS[split], root)
    raise InputError(f"data {name!r} is unknown; pass digits or mnist")
