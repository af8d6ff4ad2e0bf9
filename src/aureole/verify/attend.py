"""A solver on a thread of its own, so that Ctrl-C and a good solution end the wait at once.

Solvers look up only between steps, and a step of HiGHS took up to 9.5 s; Python handles Ctrl-C on the main thread only.
"""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Protocol, runtime_checkable

import numpy as np

from aureole.verify.solver import Enough, Outcome, Status

PATIENCE = 1.0
"""Seconds that a stopped solver is waited for; after that it ends on its own, at the latest with its time limit."""


@runtime_checkable
class Search(Protocol):
    """One run of a solver."""

    def run(self, report: Callable[[np.ndarray], None]) -> Outcome:
        """Search on the thread that calls; every improving solution goes to `report`."""

    def stop(self) -> None:
        """End the search soon; from any thread."""


def attend(search: Search, enough: Enough) -> Outcome:
    """Run a search; `enough` judges its solutions on the thread that calls, and may raise."""
    news: SimpleQueue[np.ndarray | Outcome | BaseException] = SimpleQueue()

    def work() -> None:
        try:
            news.put(search.run(news.put))
        except BaseException as error:  # raised again by the one who waits
            news.put(error)

    # no daemon: Python must not shut down under a solver that still calls back
    thread = Thread(target=work, name="solver")
    ended = False
    try:
        thread.start()
        while True:
            match news.get():
                case np.ndarray() as solution:
                    if enough(solution):
                        return Outcome(Status.SOLUTION, solution, np.inf)
                case Outcome() as outcome:
                    ended = True
                    return outcome
                case BaseException() as error:
                    ended = True
                    raise error
    except KeyboardInterrupt:
        return Outcome(Status.INTERRUPTED, None, np.inf)
    finally:
        if not ended:
            search.stop()
            thread.join(PATIENCE)
