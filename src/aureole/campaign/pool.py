"""Worker processes for many independent jobs, where a worker that dies costs its own job one more try and no other.

(`concurrent.futures.ProcessPoolExecutor` breaks as a whole when one worker dies, and does not tell which job it had.)
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from multiprocessing.resource_tracker import ensure_running
from typing import Any

from aureole.core.errors import unforeseen

_TRIES = 2
_START = 300.0  # seconds that a process may take until it is ready for its first job
_LONGEST = 3600.0  # seconds: the system takes no wait without end


@dataclass(frozen=True)
class Failed:
    """A job without a result, and why, in words."""

    why: str


class _Ready:
    """What a process says first: its job's time begins now."""


class _Dead:
    """Instead of an answer."""


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

    ValueError for less than one worker.
    """
    if workers < 1:
        raise ValueError(f"{workers} workers do no jobs; pass at least 1")
    waiting = deque(range(len(jobs)))
    tries = [0] * len(jobs)
    crew: list[_Worker] = []
    try:
        while waiting or any(worker.job is not None for worker in crew):
            for worker in [idle for idle in crew if idle.job is None and not idle.process.is_alive()]:
                crew.remove(worker)  # it died between two jobs, which is no job's fault
                _end(worker)
            idle = sum(worker.job is None for worker in crew)
            crew += [_hire(prepare) for _ in range(min(workers - len(crew), len(waiting) - idle))]
            for worker in crew:
                if worker.job is None and waiting:
                    _give(worker, waiting.popleft(), jobs)
            for worker in _answering(crew, patience):
                number, result = worker.job, _result(worker)
                if isinstance(result, _Ready):
                    worker.since, worker.starting = time.monotonic(), False
                    continue
                assert number is not None
                if isinstance(result, _Dead):
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
    ensure_running()  # the first start would start it, and let Ctrl-C through again
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(prepare, theirs), daemon=True)
    with _deaf():
        process.start()
    theirs.close()  # so that its death closes the pipe
    return _Worker(process, ours)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that start here never hear Ctrl-C, the first second included; this one hears it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(prepare: Callable[[], Callable[[Any], Any]], pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever unblocks it
    with suppress(EOFError, ConnectionError):  # the parent is gone
        unprepared, solve = None, None
        try:
            solve = prepare()
        except Exception as error:
            unprepared = Failed(unforeseen(error))
        pipe.send(_Ready())
        while True:
            job = pipe.recv()
            try:
                answer = ForkingPickler.dumps(unprepared if solve is None else solve(job))
            except Exception as error:  # of the job, or of an answer that no pipe takes
                answer = ForkingPickler.dumps(Failed(unforeseen(error)))
            pipe.send_bytes(answer)


def _give(worker: _Worker, number: int, jobs: Sequence[Any]) -> None:
    worker.job, worker.since = number, time.monotonic()
    with suppress(OSError):  # where it is dead already, its pipe will say so
        worker.pipe.send(jobs[number])


def _answering(crew: Sequence[_Worker], patience: float) -> list[_Worker]:
    """Wait until a worker has answered, died, or used up the patience; returns all those, none after a long time."""
    busy = [worker for worker in crew if worker.job is not None]
    left = min(worker.since + _limit(worker, patience) for worker in busy) - time.monotonic()
    ready = wait([worker.pipe for worker in busy], timeout=min(max(0.0, left), _LONGEST))
    return [worker for worker in busy if worker.pipe in ready or _late(worker, patience)]


def _limit(worker: _Worker, patience: float) -> float:
    return _START if worker.starting else patience


def _late(worker: _Worker, patience: float) -> bool:
    return time.monotonic() - worker.since >= _limit(worker, patience)


def _result(worker: _Worker) -> Any:
    """What a worker has answered; `_Dead`, and the end of its process, when it is dead or late."""
    try:
        if worker.pipe.poll():
            return worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(timeout=5.0)  # its own end, so that its exit status is its own too
    _end(worker)
    return _Dead()


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
