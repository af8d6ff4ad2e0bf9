"""A journal: one JSON object per line, written when a case is finished."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aureole.core import InputError


@dataclass(frozen=True)
class Journal:
    """A JSONL file with one writer. A run killed at any moment leaves whole lines, and perhaps one broken last one."""

    path: Path

    def read(self) -> list[dict[str, Any]]:
        """The whole lines; a broken last one is cut off the file, so that the next line stands alone.

        InputError when another line is no JSON object.
        """
        try:
            data = self.path.read_bytes() if self.path.exists() else b""
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                with self.path.open("r+b") as file:
                    file.truncate(len(whole))
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror or error}; choose another --out") from error
        return [self._line(number, text) for number, text in enumerate(whole.decode(errors="replace").splitlines(), 1)]

    def _line(self, number: int, text: str) -> dict[str, Any]:
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise InputError(f"{self.path}, line {number} is not a JSON object; mend or remove that line")
        return content

    def add(self, line: Mapping[str, Any]) -> None:
        """Append one line and wait until the disk has it; InputError when the disk refuses."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write((json.dumps(line, allow_nan=False) + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(
                f"cannot write {self.path}: {error.strerror or error}; free some space and run the command again"
            ) from error
