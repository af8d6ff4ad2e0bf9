"""Questions in the lines of a file, answers in the lines of another that a later run goes on with."""

import codecs
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from aureole.cli.output import json_line
from aureole.core import InputError
from aureole.core.files import read_bytes, write_bytes

START = b'{"line": '
"""How every answer begins."""


@dataclass(frozen=True)
class Line:
    """A line as it stands in the file: its number, counted from 1, and its bytes."""

    number: int
    data: bytes

    @cached_property
    def head(self) -> dict[str, Any]:
        """What an answer says about the line that it belongs to."""
        return {"line": self.number, "sha256": hashlib.sha256(self.data).hexdigest()}


def read_lines(path: Path) -> list[Line]:
    """Every line that is not blank; InputError when there is none."""
    data = read_bytes(path, "a file with one JSON object per line").removeprefix(codecs.BOM_UTF8)
    found = [Line(i, part.strip()) for i, part in enumerate(data.split(b"\n"), 1) if part.strip()]
    if not found:
        raise InputError(f"{path} is empty; write one JSON object per line")
    return found


def read_answers(out: Path, lines: Sequence[Line], path: Path) -> dict[int, dict[str, Any]]:
    """The answers that `out` holds, by the number of their line; none when it is not there.

    Of several to a line the last one counts. An error does not bind: the line may have been mended since. InputError
    where an answer is to a line that is no longer there.

    path: the file of the lines, for the message
    """
    whole, rest = _parts(out)
    if not rest.startswith(START[: len(rest)]):
        raise InputError(f"{out} is no file of answers; choose another --out")
    answers: dict[int, dict[str, Any]] = {}
    heads = {line.number: line.head for line in lines}
    for i, text in enumerate(whole):
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or "line" not in answer:
            raise InputError(f"line {i + 1} of {out} is no answer of an earlier run; choose another --out")
        head = heads.get(answer["line"]) if isinstance(answer["line"], int) else None
        if "error" in answer and head is not None:
            continue
        if head is None or any(answer.get(key) != value for key, value in head.items()):
            raise InputError(
                f"{out} answers other cases than {path} holds now (see its line {answer['line']}); choose another --out"
            )
        answers[answer["line"]] = answer
    return answers


def put_in_order(out: Path, lines: Sequence[Line]) -> None:
    """Write the answers of `out` anew, one per line and in their order, where they are not so."""
    whole, _ = _parts(out)
    texts = {json.loads(text)["line"]: text for text in whole}
    wanted = [texts[line.number] for line in lines]
    if wanted != whole:
        write_bytes(out, b"".join(text + b"\n" for text in wanted))


def read_objects(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file that a `writer` began, none when it is not there; InputError for a line of others."""
    found = []
    for number, text in enumerate(_parts(path)[0], 1):
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise InputError(f"{path}, line {number} is not a JSON object; mend or remove that line")
        found.append(content)
    return found


@contextmanager
def writer(out: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Writes one object per line, each whole and on the disk before the next; without `out`, to standard output.

    What a killed run left at the end of `out`, half a line, goes.
    """
    if out is None:
        yield lambda content: print(json_line(content), flush=True)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    keep = sum(len(text) + 1 for text in _parts(out)[0])
    with out.open("ab") as file:
        file.truncate(keep)

        def write(content: dict[str, Any]) -> None:
            file.write(json_line(content).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

        yield write


def _parts(out: Path) -> tuple[list[bytes], bytes]:
    """The whole lines of a file, and what stands after the last."""
    if not out.exists():
        return [], b""
    *whole, rest = read_bytes(out, "a file of answers, or one that is not there yet").split(b"\n")
    return whole, rest
