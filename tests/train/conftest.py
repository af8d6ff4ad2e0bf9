"""A task small enough to learn in a second: bars in one of four columns, two per image."""

import pytest
import torch
from torch import nn


def bars(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(count, 4, generator=generator).argsort(dim=1)[:, :2]
    images = torch.rand(count, 1, 4, 8, generator=generator) * 0.3
    for i in range(2):
        columns = labels[:, i] * 2
        images[torch.arange(count), 0, :, columns] += 0.7
    return images, labels


def small(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4))


@pytest.fixture
def module() -> nn.Module:
    return small()


@pytest.fixture
def make_module():
    return small


@pytest.fixture
def make_bars():
    return bars


@pytest.fixture
def batches():
    def epoch(number: int):
        images, labels = bars(64, 100 + number)
        return zip(torch.split(images, 16), torch.split(labels, 16), strict=True)

    return epoch
