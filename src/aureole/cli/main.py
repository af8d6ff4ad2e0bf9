"""The entry point: runs a command and turns every failure that a user can mend into one line."""

import os
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from aureole.cli.interrupted import Interrupted
from aureole.cli.lazy import LazyGroup

BAD_INPUT = 2
INTERRUPTED = 130

app = typer.Typer(cls=LazyGroup, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def _print_version(value: bool) -> bool:
    if value:
        typer.echo(f"aureole {version('aureole')}")
        raise typer.Exit
    return value


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """How far may an image change around one object before a classifier loses another? Answered with a proof."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status: 0, 2 for bad input (one line on stderr), 130 after Ctrl-C."""
    command = typer.main.get_command(app)
    try:
        status = command.main(args=list(arguments) or ["--help"], prog_name="aureole", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", INTERRUPTED)
    except Interrupted as end:
        return _complain(str(end), INTERRUPTED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}", BAD_INPUT)
    except Exception as error:
        message = _told(error)
        if message is None:
            raise
        return _complain(message, BAD_INPUT)
    if status == INTERRUPTED:  # how newer typers tell of Ctrl-C
        return _complain("interrupted", INTERRUPTED)
    return status if isinstance(status, int) else 0


def _told(error: Exception) -> str | None:
    """What to tell the user about bad input; None for an error that is the program's own."""
    usage = getattr(error, "format_message", None)  # usage errors of click, or of the copy of it inside newer typers
    if usage is not None:
        return str(usage())
    from aureole.core.errors import InputError  # imports torch: not before something has gone wrong

    return str(error) if isinstance(error, InputError) else None


def _complain(message: str, status: int) -> int:
    print(f"aureole: {' '.join(message.split())}", file=sys.stderr)
    return status


def main() -> None:
    """The `aureole` command."""
    # One torch thread, unless the user says otherwise: the tensors are small, and OpenMP threads that wait for each
    # other on a busy machine made a proof 50 times slower (1.2 times faster on an idle one). Results then do not
    # depend on the number of cores either.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    status = run(sys.argv[1:])
    if threading.active_count() > 1:
        # a solver that was told to stop may be seconds from its next look; all is printed, nobody waits for it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
