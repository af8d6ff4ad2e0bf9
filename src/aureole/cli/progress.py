"""A progress line on standard error, for terminals and for work that lasts."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress_bar import ProgressBar

_PATIENCE = 2.0  # seconds before anything is shown: short work needs no progress line

OnProgress = Callable[[float, float], None]


class _ElapsedBar(ProgressColumn):
    """How much of the time limit is gone."""

    def render(self, task: Task) -> ProgressBar:
        return ProgressBar(total=task.total, completed=task.elapsed or 0.0, width=30)


def terminal() -> Console | None:
    """Standard error, if people read it."""
    console = Console(stderr=True)
    return console if console.is_terminal and sys.stderr.isatty() else None


@contextmanager
def progress(text: str, timeout: float, patience: float = _PATIENCE) -> Iterator[OnProgress]:
    """Show `text`, the time gone and the best size so far while the block runs; yields the callback for sizes.

    Silent when standard error is no terminal.
    """
    console = terminal()
    if console is None:
        yield lambda seconds, size: None
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        _ElapsedBar(),
        TimeElapsedColumn(),
        TextColumn(f"of {timeout:g} s {{task.fields[best]}}"),
        console=console,
        transient=True,
    )
    task = bar.add_task(text, total=timeout, best="")
    starter = threading.Timer(patience, bar.start)
    starter.daemon = True
    starter.start()
    try:
        yield lambda seconds, size: bar.update(task, best=f"best size {size:.4g}")
    finally:
        starter.cancel()
        starter.join()
        bar.stop()


@contextmanager
def counting(text: str, total: int, done: int) -> Iterator[Callable[..., None]]:
    """Show how many of `total` cases are done while the block runs; yields the callback for one more and its name.

    Silent when standard error is no terminal.
    """
    console = terminal()
    if console is None:
        yield lambda name="": None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[name]}"))  # fmt: skip
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(text, total=total, completed=done, name="")
        yield lambda name="": bar.update(task, advance=1, name=name)
