"""Worker processes for many independent jobs, where a worker that dies costs its own job one more try and no other.

(`concurrent.futures.ProcessPoolExecutor` breaks as a whole when one worker dies, and does not tell which job it had.)
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

_TRIES = 2
_START = 300.0  # seconds that a process may take until it is ready for its first job


@dataclass(frozen=True)
class Failed:
    """A job without a result, and why, in words."""

    why: str


class _Ready:
    """What a process says first: its job's time begins now."""


@dataclass
class _Worker:
    """A process, the parent's end of its pipe, the number of its job and since when it has it."""

    process: SpawnProcess
    pipe: Connection
    job: int | None = None
    since: float = 0.0
    starting: bool = True


def run_all(
    prepare: Callable[[], Callable[[Any], Any]], jobs: Sequence[Any], workers: int, *, patience: float
) -> Iterator[tuple[int, Any]]:
    """Do the jobs in so many processes; yields (number of the job, result) as they end, in any order.

    prepare:  called once in each process; returns what does a job. Both it and the jobs must be picklable
    patience: seconds after which a worker that has not answered is killed

    A job whose worker dies or is killed is tried once more; after that its result is `Failed`. An exception in a job is
    `Failed` at once. Ctrl-C reaches this process alone, and ending the iteration ends the workers.
    """
    waiting = deque(range(len(jobs)))
    tries = [0] * len(jobs)
    crew: list[_Worker] = []
    try:
        while waiting or any(worker.job is not None for worker in crew):
            while waiting and len(crew) < workers and all(worker.job is not None for worker in crew):
                crew.append(_hire(prepare))
            for worker in crew:
                if worker.job is None and waiting:
                    _give(worker, waiting.popleft(), jobs)
            for worker in _answering(crew, patience):
                number, result = worker.job, _result(worker)
                if isinstance(result, _Ready):
                    worker.since, worker.starting = time.monotonic(), False
                    continue
                assert number is not None
                if result is None:  # it died
                    crew.remove(worker)
                    tries[number] += 1
                    if tries[number] < _TRIES:
                        waiting.append(number)
                        continue
                    result = Failed(f"the worker {_death(worker, patience)}, twice")
                worker.job = None
                yield number, result
    finally:
        for worker in crew:
            _end(worker)


def _hire(prepare: Callable[[], Callable[[Any], Any]]) -> _Worker:
    context = get_context("spawn")  # torch's threads do not survive a fork
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(prepare, theirs), daemon=True)
    process.start()
    theirs.close()  # so that its death closes the pipe
    return _Worker(process, ours)


def _serve(prepare: Callable[[], Callable[[Any], Any]], pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    solve = prepare()
    pipe.send(_Ready())
    while True:
        try:
            job = pipe.recv()
        except EOFError:  # the parent is gone
            return
        try:
            result = solve(job)
        except Exception as error:
            result = Failed(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        pipe.send(result)


def _give(worker: _Worker, number: int, jobs: Sequence[Any]) -> None:
    worker.job, worker.since = number, time.monotonic()
    with suppress(OSError):  # where it is dead already, its pipe will say so
        worker.pipe.send(jobs[number])


def _answering(crew: Sequence[_Worker], patience: float) -> list[_Worker]:
    """Wait until a worker has answered, died, or used up the patience; returns all those."""
    busy = [worker for worker in crew if worker.job is not None]
    left = min(worker.since + _limit(worker, patience) for worker in busy) - time.monotonic()
    ready = wait([worker.pipe for worker in busy], timeout=max(0.0, left))
    return [worker for worker in busy if worker.pipe in ready or _late(worker, patience)]


def _limit(worker: _Worker, patience: float) -> float:
    return _START if worker.starting else patience


def _late(worker: _Worker, patience: float) -> bool:
    return time.monotonic() - worker.since >= _limit(worker, patience)


def _result(worker: _Worker) -> Any:
    """What a worker has answered; None, and the end of its process, when it is dead or late."""
    try:
        if worker.pipe.poll():
            return worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(timeout=5.0)  # its own end, so that its exit status is its own too
    _end(worker)
    return None


def _death(worker: _Worker, patience: float) -> str:
    if _late(worker, patience):
        return f"gave no answer within {_limit(worker, patience):g} s"
    code = worker.process.exitcode or 0
    return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"


def _end(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.join(timeout=0.2 if worker.job is None else 0.0)
    if worker.process.is_alive():
        worker.process.kill()
    worker.process.join()
