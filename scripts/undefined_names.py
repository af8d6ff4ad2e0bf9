"""Tell names that are used and nowhere defined: ruff's F821, but for the shapes that jaxtyping writes as strings."""

import json
import subprocess
import sys
import tokenize
from pathlib import Path

FOLDERS = ("src", "tests", "benchmarks", "examples", "scripts")


def formatted(literal: str) -> bool:
    """Whether a string's prefix says that it holds names."""
    return "f" in literal[: literal.index(literal[-1])].lower()


def main() -> int:
    """Print them; 1 if there are any."""
    command = ["ruff", "check", "--select", "F821", "--output-format", "json", *FOLDERS]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode > 1:
        print(told.stderr, file=sys.stderr)
        return told.returncode
    strings: dict[str, list[tuple[tuple[int, int], tuple[int, int]]]] = {}
    found = 0
    for each in json.loads(told.stdout):
        name, place = each["filename"], (each["location"]["row"], each["location"]["column"] - 1)
        if name not in strings:
            with Path(name).open("rb") as file:
                tokens = [*tokenize.tokenize(file.readline)]
            strings[name] = [(t.start, t.end) for t in tokens if t.type == tokenize.STRING and not formatted(t.string)]
        if not any(start <= place < end for start, end in strings[name]):
            print(f"{Path(name).relative_to(Path.cwd())}:{place[0]}: {each['message']}")
            found += 1
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())
