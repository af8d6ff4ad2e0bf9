"""What has to be done before any clock starts."""

from contextlib import nullcontext

from aureole.cli.progress import terminal
from aureole.verify import prepare


def ready() -> None:
    """Compile the search. The first command after an installation waits some 15 s for it, and says so on a terminal."""
    console = terminal()
    with console.status("compiling the search (this once)") if console else nullcontext():
        prepare()
