"""The prices of the linear problem (`conftest.linear_problem`), whose answers are known."""

import torch

from nets_zoo import F64

PRICES = torch.tensor([2.0, 0.5, 0.25], dtype=F64)
"""Of its network: the rings' radii are robust for label 0 just when `radii @ PRICES < 1`."""
