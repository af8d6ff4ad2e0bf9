"""The records behind the page of `grid`: read, named and checked to be about one question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aureole.core.errors import InputError
from aureole.core.record import Array, Record, read_record
from aureole.report import style


@dataclass(frozen=True, eq=False)
class Run:
    """A record and its arrays as numpy's."""

    record: Record
    arrays: Mapping[str, np.ndarray]

    @property
    def radii(self) -> np.ndarray:
        """One per ring."""
        return self.arrays[Array.RADII]

    @property
    def method(self) -> str:
        """The method's name in pictures."""
        return style.look(str(self.record.config["method"])).label

    @property
    def in_prose(self) -> str:
        """The method's name inside a sentence."""
        return f"the {self.method.lower().replace(', ', ' with ')}"

    @property
    def is_oracle(self) -> bool:
        """Whether the method is one of the proposal's."""
        return str(self.record.config["method"]).startswith("oracle")

    @property
    def network(self) -> str:
        """The network's name."""
        return str(self.record.network["name"])


def read_run(folder: Path) -> Run:
    """A run from its folder; InputError when that holds no neighborhood record."""
    record, arrays = read_record(folder)
    if record.kind != "neighborhood":
        raise InputError(f"{folder} holds a record of {record.kind}; pass records of neighborhoods")
    if missing := {"method", "timeout"} - set(record.config):
        raise InputError(f"{folder} does not say its {' and '.join(sorted(missing))}; name them in the record's config")
    return Run(record, {name: value.cpu().numpy() for name, value in arrays.items()})


def check_same_question(records: Sequence[Record]) -> None:
    """InputError unless all records are about the same image, labels, rings and objective."""
    words = ("target", "object", "k", "objective", "weights", "bands", "floor", "cap")
    asked = {
        str([record.image["sha256"], record.result["ring_pixels"], *(record.config.get(word) for word in words)])
        for record in records
    }
    if len(asked) > 1:
        raise InputError(
            "the records are about different questions; pass records of one image, target, object and objective"
        )
