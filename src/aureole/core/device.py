"""Where torch computes."""

import torch

from aureole.core.errors import InputError

CPU = torch.device("cpu")


def usable(device: torch.device | str) -> torch.device:
    """The device of a name such as `cpu`, `cuda` or `cuda:1`; InputError for one that is unknown or not here."""
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()  # `meta` computes nothing
    except (RuntimeError, AssertionError, ImportError) as error:  # how torch tells what it was built without
        raise InputError(
            f"device {str(device)!r} cannot be used here; pass cpu, or cuda with a GPU and its torch"
        ) from error
    return found
