"""The multi-label loss and the accuracy that goes with it."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


def multi_hot(labels: Int[Tensor, "batch objects"], classes: int) -> Float[Tensor, "batch classes"]:
    """One for every class that a scene shows, else zero."""
    return torch.zeros(len(labels), classes).scatter_(1, labels, 1.0)


def multi_label_loss(logits: Float[Tensor, "batch classes"], labels: Int[Tensor, "batch objects"]) -> Float[Tensor, ""]:
    """Binary cross-entropy of every class, averaged: one for the classes that a scene shows, zero for the others."""
    return F.binary_cross_entropy_with_logits(logits, multi_hot(labels, logits.shape[1]))


def top_k_hits(logits: Float[Tensor, "batch classes"], labels: Int[Tensor, "batch objects"]) -> Bool[Tensor, "batch"]:
    """Whether a scene's k labels are exactly the k highest scores."""
    best = logits.topk(labels.shape[1], dim=1).indices
    return (best.sort(dim=1).values == labels.sort(dim=1).values).all(dim=1)


def top_k_accuracy(module: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The share of scenes whose labels are exactly the highest scores.

    batches: images (batch, C, H, W) and labels (batch, objects)
    """
    hits = scenes = 0
    with torch.no_grad():
        for images, labels in batches:
            hits += int(top_k_hits(module(images), labels).sum())
            scenes += len(labels)
    return hits / scenes
