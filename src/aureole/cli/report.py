"""`aureole report`: draw the pictures of a record again."""

from pathlib import Path
from typing import Annotated

import typer

from aureole.cli import options
from aureole.cli.output import print_json
from aureole.core import InputError
from aureole.core.record import JSON_NAME
from aureole.report import draw


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A record's folder, or a folder of such folders.")],
    json: options.Json = False,
) -> None:
    """Draw the pictures of a record, or of every record one folder below, from what is stored there."""
    folders = [folder]
    if not (folder / JSON_NAME).exists() and folder.is_dir():
        folders = sorted(path.parent for path in folder.glob(f"*/{JSON_NAME}"))
        if not folders:
            raise InputError(f"{folder} holds no {JSON_NAME}; pass a folder written by an aureole command")
    pictures = [str(path) for place in folders for path in draw(place)]
    if json:
        print_json({"pictures": pictures})
    else:
        for path in pictures:
            print(path)
