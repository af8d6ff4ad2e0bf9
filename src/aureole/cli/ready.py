"""What has to be done before any clock starts."""

import sys

from rich.console import Console

from aureole.verify import prepare


def ready() -> None:
    """Compile the search. The first command after an installation waits some 15 s for it, and says so on a terminal."""
    console = Console(stderr=True)
    if console.is_terminal and sys.stderr.isatty():
        with console.status("compiling the search (this once)"):
            prepare()
    else:
        prepare()
