"""Shapes and types of every call into the package are checked while tests run."""

import os
from pathlib import Path

from jaxtyping import install_import_hook

install_import_hook("aureole", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)  # the suite runs in parallel workers; torch's own threads would fight over the cores


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the author's networks, MNIST and benchmarks, which does not ship with the project."""
    root = os.environ.get("AUREOLE_DATA", "")
    if not root or not Path(root).is_dir():
        pytest.skip("needs the data folder: set AUREOLE_DATA")
    return Path(root)
