"""A solver on a thread of its own, so that Ctrl-C, a good solution and the time limit end the wait at once.

Solvers look up only between steps, and a step of HiGHS took up to 9.5 s; Python handles Ctrl-C on the main thread only.
"""

from collections.abc import Callable
from math import inf
from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX, Thread
from time import monotonic
from typing import Protocol, runtime_checkable

import numpy as np

from aureole.verify.solver import Enough, Outcome, Status

PATIENCE = 1.0
"""Seconds that a solver is waited for when it is stopped or its time is over; after that it ends on its own."""


@runtime_checkable
class Search(Protocol):
    """One run of a solver."""

    def run(self, report: Callable[[np.ndarray], None]) -> Outcome:
        """Search on the thread that calls; every improving solution goes to `report`."""

    def stop(self) -> None:
        """End the search soon; from any thread."""


def attend(search: Search, enough: Enough, seconds: float) -> Outcome:
    """Run a search; `enough` judges its solutions on the thread that calls, and may raise.

    seconds: after which the search ends by itself, at its next look at the clock
    """
    late = monotonic() + seconds + PATIENCE
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
            match news.get(timeout=min(max(late - monotonic(), 0.0), TIMEOUT_MAX)):
                case np.ndarray() as solution:
                    if enough(solution):
                        return Outcome(Status.SOLUTION, solution, inf)
                case Outcome() as outcome:
                    ended = True
                    return outcome
                case BaseException() as error:
                    ended = True
                    raise error
    except Empty:
        return Outcome(Status.TIME, None, inf)
    except KeyboardInterrupt:
        return Outcome(Status.INTERRUPTED, None, inf)
    finally:
        if not ended:
            search.stop()
            thread.join(PATIENCE)
