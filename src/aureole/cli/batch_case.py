"""One case of a batch: what a worker process gets, and the line that it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from aureole.cli import inputs
from aureole.cli.neighborhood import record_answer
from aureole.cli.question import Question, Settings
from aureole.core import Budget, Graph, InputError, TopK
from aureole.data import read_scene
from aureole.nets import Network

DONE, NOT_RECOGNISED, REFUSED, FAILED = "done", "not recognised", "refused", "failed"


@dataclass(frozen=True)
class Case:
    """A scene, a network, the label that must stay and the object that is perturbed around.

    net:    as on the command line; network: its name
    folder: the scene's folder; scene: its name in lines and tables
    network_sha256, image_sha256, masks_sha256: of the weights, the pixels and the masks of both labels: a case whose
            data have changed is a new one
    """

    net: str
    network: str
    network_sha256: str
    folder: str
    scene: str
    image_sha256: str
    masks_sha256: str
    target: int
    object: int
    k: int

    @property
    def key(self) -> str:
        """One word for the case."""
        return f"{self.network}-{self.scene}-label{self.target}-object{self.object}"

    def line(self, status: str, why: str = "", **result: Any) -> dict[str, Any]:
        """The case's line in the journal."""
        names = {
            "case": self.key,
            "network": self.network,
            "network_sha256": self.network_sha256,
            "scene": self.scene,
            "image_sha256": self.image_sha256,
            "masks_sha256": self.masks_sha256,
            "target": self.target,
            "object": self.object,
            "k": self.k,
        }
        return names | {"status": status, "why": why} | result

    @property
    def identity(self) -> tuple[Any, ...]:
        """What `identity` says of the case's line."""
        return identity(self.line(""))


def identity(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a line is about: the same case, network and image give the same."""
    return tuple(str(line.get(word)) for word in ("case", "network_sha256", "image_sha256", "masks_sha256", "k"))


@dataclass(frozen=True)
class Prepare:
    """Called in each worker process.

    records: a folder that gets one record per case, or None
    """

    settings: Settings
    data_root: Path | None
    records: Path | None

    def __call__(self) -> "Solve":  # noqa: D102
        torch.set_num_threads(1)  # the workers already share the cores
        return Solve(self)


@dataclass(frozen=True)
class Solve:
    """Does cases; keeps the networks that it has read."""

    told: Prepare
    networks: dict[str, tuple[Network, Graph]] = field(default_factory=dict)

    def __call__(self, case: Case) -> dict[str, Any]:
        """The case's line; bad input is a line too, since the other cases may be fine."""
        try:
            return self._line(case)
        except InputError as error:
            return case.line(REFUSED, str(error))

    def _line(self, case: Case) -> dict[str, Any]:
        settings = self.told.settings
        if case.net not in self.networks:
            self.networks[case.net] = inputs.read_network(
                case.net, None, self.told.data_root, settings.mean, settings.std
            )
        network, graph = self.networks[case.net]
        question = Question.about(read_scene(case.folder), (case.target,), (case.object,), case.k)
        if tuple(question.image.shape) == graph.input_shape:  # else the problem says what is wrong
            margin = float(TopK(case.target, case.k).margin(graph.replay(question.image)))
            if not margin > 0:
                return case.line(NOT_RECOGNISED, f"label {case.target} is not among the {case.k} highest scores")
        folder = None if self.told.records is None else self.told.records / case.key
        budget = Budget.seconds(settings.timeout)
        return case.line(DONE, **record_answer(network, graph, question, settings, budget, folder))
