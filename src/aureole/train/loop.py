"""The training loop: one network, one source of scenes, one defence."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from aureole.core import InputError
from aureole.train.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from aureole.train.defences import Defence, NoDefence
from aureole.train.loss import multi_label_loss

_DROPOUT = 500_000
"""Epochs away from the defence's generators: both would draw the same numbers otherwise."""

Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class TrainingConfig:
    """Every number that decides a training, the data aside.

    epochs:       passes; an epoch is what `batches(epoch)` yields
    steps:        batches per epoch, for the schedule of the learning rate
    rate:         highest learning rate of AdamW; linear rise over the first `rise` share, then half a cosine to 0
    weight_decay: of AdamW
    seed:         of the defence's randomness
    defence:      see `Defence`
    source:       what `batches` yields and where the weights start, in words; a checkpoint of another source is refused
    """

    epochs: int
    steps: int
    rate: float = 0.02
    rise: float = 0.1
    weight_decay: float = 0.0
    seed: int = 0
    defence: Defence = field(default_factory=NoDefence)
    source: str = ""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.steps < 1:
            raise InputError(f"{self.epochs} epochs of {self.steps} batches train nothing; pass at least 1 of each")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise InputError(f"learning rate {self.rate} cannot train; pass a positive number")
        if not (0 <= self.rise < 1 and 0 <= self.weight_decay < math.inf):
            raise InputError(
                f"rise {self.rise}, weight decay {self.weight_decay} cannot train; pass a share below 1, a number >= 0"
            )
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}; pass a whole number from 0 to 2^32 - 1")


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: mean training loss, accuracy on held-out scenes, wall-clock seconds."""

    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Where the training stands: `step` of `config.steps` in epoch `epoch` (both from 1), and the epochs finished."""

    epoch: int
    step: int
    loss: float
    finished: tuple[Epoch, ...]


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves besides the weights, which are in the module."""

    config: TrainingConfig
    epochs: tuple[Epoch, ...]

    @property
    def accuracy(self) -> float:
        """Of the last epoch, whose weights the module holds."""
        return self.epochs[-1].accuracy


def fit(
    module: nn.Module,
    batches: Batches,
    evaluate: Callable[[nn.Module], float],
    config: TrainingConfig,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> TrainingResult:
    """Train the module in place by AdamW on the multi-label loss.

    batches:    for an epoch (from 0) its images (batch, C, H, W) and labels (batch, objects); a function of the
                epoch alone, so that a resumed training sees what an uninterrupted one would
    evaluate:   the accuracy after an epoch
    checkpoint: file that holds the state after each epoch
    resume:     go on from `checkpoint` where it exists; the result equals that of an uninterrupted training

    InputError when the checkpoint is damaged or of another training, or when the loss is no longer finite.
    """
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # half the time on a CPU
    optimizer = torch.optim.AdamW(module.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    finished: tuple[Epoch, ...] = ()
    if resume and checkpoint is not None and checkpoint.exists():
        state = read_checkpoint(checkpoint, repr(config))
        try:  # what is refused leaves the module as it was
            optimizer.load_state_dict(state.optimizer)
            module.load_state_dict(state.module)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{checkpoint} is of another network; pass that one or delete it") from error
        finished = tuple(Epoch(*values) for values in state.epochs)
    for epoch in range(len(finished), config.epochs):
        start = time.monotonic()
        with torch.random.fork_rng(devices=[]):  # dropout draws from the global generator
            torch.manual_seed(config.seed * 1_000_003 + _DROPOUT + epoch)
            loss = _train_epoch(module, optimizer, batches, config, finished, on_progress)
        module.eval()
        finished = (*finished, Epoch(loss, float(evaluate(module)), time.monotonic() - start))
        if checkpoint is not None:
            values = [(e.loss, e.accuracy, e.seconds) for e in finished]
            write_checkpoint(checkpoint, Checkpoint(repr(config), values, module.state_dict(), optimizer.state_dict()))
        on_progress(Progress(epoch + 1, config.steps, loss, finished))
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    module.eval()
    return TrainingResult(config, finished)


def _train_epoch(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    config: TrainingConfig,
    finished: tuple[Epoch, ...],
    on_progress: Callable[[Progress], None],
) -> float:
    epoch = len(finished)
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    module.train()
    total, step = 0.0, 0
    for given, labels in batches(epoch):
        done = min(1.0, (epoch * config.steps + step) / (config.epochs * config.steps))
        for group in optimizer.param_groups:
            group["lr"] = config.rate * _schedule(done, config.rise)
        images = given.contiguous(memory_format=torch.channels_last)
        changed = config.defence.apply(module, images, labels, done, generator)
        loss = multi_label_loss(module(changed), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total, step = total + loss.item(), step + 1
        if not math.isfinite(total):
            raise InputError(f"the loss is {loss.item()} in epoch {epoch + 1}; train with a lower learning rate")
        on_progress(Progress(epoch + 1, step, total / step, finished))
    if step == 0:
        raise InputError(f"epoch {epoch + 1} has no batch; pass at least one scene per epoch")
    return total / step


def _schedule(done: float, rise: float) -> float:
    if done < rise:
        return max(done, 1e-3 * rise) / rise
    return 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))
