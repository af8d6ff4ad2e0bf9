"""Where data that does not ship with the package lies."""

import os
from pathlib import Path

from aureole.core.errors import InputError

VARIABLE = "AUREOLE_DATA"


def data_root(root: Path | None = None) -> Path:
    """The data folder: `root` when given, else the environment's AUREOLE_DATA; InputError when there is none."""
    if root is None:
        named = os.environ.get(VARIABLE, "")
        if not named:
            raise InputError(f"no data folder is named; pass a data root (--data-root) or set {VARIABLE}")
        root = Path(named)
    if not root.is_dir():
        raise InputError(f"data root {root} is not a folder; pass the folder that holds MNIST/raw or mulloc")
    return root
