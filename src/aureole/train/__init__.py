"""Training: one loop, three defences."""

from aureole.train.defences import BlackRectangle, Defence, LinfPgd, NoDefence, pgd
from aureole.train.loop import Epoch, Progress, TrainingConfig, TrainingResult, fit
from aureole.train.loss import multi_hot, multi_label_loss, top_k_accuracy, top_k_hits

__all__ = [
    "BlackRectangle",
    "Defence",
    "Epoch",
    "LinfPgd",
    "NoDefence",
    "Progress",
    "TrainingConfig",
    "TrainingResult",
    "fit",
    "multi_hot",
    "multi_label_loss",
    "pgd",
    "top_k_accuracy",
    "top_k_hits",
]
