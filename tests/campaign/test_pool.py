"""The pool with jobs that end well, raise, die and hang."""

import math
import multiprocessing
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from aureole.campaign import Failed, run_all


def _solve(job):
    kind, value = job
    match kind:
        case "double":
            return 2 * value
        case "pid":
            time.sleep(0.05)
            return os.getpid()
        case "raise":
            raise ValueError(f"no {value}\nreally")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die once":
            marker = Path(value)
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return "second try"
        case "die soon":
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
            return "done"
        case "no pickle":
            return lambda: value
        case "hang":
            time.sleep(60)
    return None


def prepare():
    return _solve


def test_every_job_has_one_result_whatever_happens_to_the_others(tmp_path):
    jobs = [("double", 1), ("die", 0), ("double", 2), ("raise", "way"), ("die once", str(tmp_path / "marker"))]
    results = list(run_all(prepare, jobs, 2, patience=60.0))
    assert sorted(number for number, _ in results) == list(range(len(jobs)))
    assert dict(results) == {
        0: 2,
        1: Failed("the worker was killed by signal 9, twice"),
        2: 4,
        3: Failed("ValueError: no way really"),
        4: "second try",
    }


def test_a_worker_that_hangs_is_killed():
    results = list(run_all(prepare, [("hang", 0)], 2, patience=0.5))
    assert results == [(0, Failed("the worker gave no answer within 0.5 s, twice"))]


def test_no_more_workers_than_asked_and_they_end():
    (pid,) = {pid for _, pid in run_all(prepare, [("pid", 0)] * 3, 1, patience=60.0)}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_leaving_early_ends_the_workers():
    results = run_all(prepare, [("pid", 0), ("hang", 0), ("hang", 0)], 2, patience=60.0)
    _, pid = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_jobs():
    assert list(run_all(prepare, [], 2, patience=1.0)) == []


def test_no_result_is_a_result_too():
    assert list(run_all(prepare, [("nothing", 0)], 1, patience=60.0)) == [(0, None)]


def test_a_worker_that_dies_between_jobs_costs_none():
    found = {}
    for number, result in run_all(prepare, [("die soon", 0)] * 3, 1, patience=60.0):
        found[number] = result
        time.sleep(0.6)
    assert found == dict.fromkeys(range(3), "done")


def test_an_answer_that_no_pipe_takes():
    ((_, failed),) = run_all(prepare, [("no pickle", 0)], 1, patience=60.0)
    assert isinstance(failed, Failed) and "pickle" in failed.why


def unable():
    raise OSError("no disk")


def meet(folder: Path):
    """Ready once another process is here too."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 60.0
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > end:
            raise TimeoutError("no other")
        time.sleep(0.02)
    return _solve


def test_workers_start_side_by_side(tmp_path):
    assert dict(run_all(partial(meet, tmp_path), [("double", 1)] * 2, 2, patience=60.0)) == {0: 2, 1: 2}


def test_a_worker_that_cannot_begin_fails_every_job():
    results = run_all(unable, [("double", 1)] * 2, 1, patience=60.0)
    assert dict(results) == dict.fromkeys(range(2), Failed("OSError: no disk"))


def test_patience_without_end():
    assert list(run_all(prepare, [("double", 4)], 1, patience=math.inf)) == [(0, 8)]


def test_no_workers_are_told():
    with pytest.raises(ValueError, match="at least 1"):
        list(run_all(prepare, [("double", 4)], 0, patience=1.0))


def test_ctrl_c_reaches_no_worker_while_it_starts():
    """The whole terminal's processes get it; here, a worker is sent it from its first moment on."""
    heard = threading.Event()

    def send():
        while not heard.is_set():
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGINT)
            time.sleep(0.01)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        assert list(run_all(prepare, [("double", 4)] * 2, 1, patience=60.0)) == [(0, 8), (1, 8)]
    finally:
        heard.set()
        sender.join()
