"""Threads of the CPU: how many there are, and work done in several of them at once.

    def part(start, stop):
        np.multiply(x[start:stop], 2.0, out=y[start:stop])

    split(len(x), 4096, part)               # a stretch a core
    together([first, second])               # or different works, whose results come back in order

NumPy, BLAS and nogil kernels let go of Python's lock while they compute, so threads of Python keep the cores busy. BLAS
would start threads of its own for each product; within ``run_parallel`` it is held to the thread that asks.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from xpnet.backend.blas import single_threaded
from xpnet.backend.recording import current_program
from xpnet.errors import ConfigError

__all__ = ["available_cores", "cores", "run_parallel", "shut_down_workers", "split", "use_cores"]

T = TypeVar("T")

IDLE = 0.2  # seconds without work after which a thread ends by itself

_cores: contextvars.ContextVar[int | None] = contextvars.ContextVar("xpnet_cores", default=None)
_within: contextvars.ContextVar[bool] = contextvars.ContextVar("xpnet_together", default=False)


# How many.


def cores() -> int:
    """Return how many threads may compute at once, >= 1.

    As many processors as this process may run on, by its affinity and the quota of its control group, but no more than
    OMP_NUM_THREADS where that is set. Found out once; use_cores says otherwise.
    """
    return _cores.get() or _found()


@contextlib.contextmanager
def use_cores(n: int) -> Iterator[None]:
    """Let ``n`` threads compute within a with-block, in this thread and task only.

    Raises:
        ConfigError: n < 1.
    """
    if n < 1:
        raise ConfigError("use_cores", "n >= 1", n=n)
    token = _cores.set(n)
    try:
        yield
    finally:
        _cores.reset(token)


def available_cores() -> int:
    """Return how many threads work may be shared out to from here: one, within ``run_parallel``; else cores()."""
    return 1 if _within.get() else cores()


@cache
def _found() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    most = len(affinity(0)) if affinity else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    wanted = int(asked) if asked.isdecimal() and int(asked) else most
    return max(1, math.ceil(min(most, wanted, _quota())))


def _quota(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors' worth of time that the control group grants, infinity for any number."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (root / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota, period = (int((root / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else math.inf
    return math.inf


# At once.


def run_parallel(works: Sequence[Callable[[], T]]) -> list[T]:
    """Do several works at once, the first in this thread and each other in a thread of its own; wait for all.

    In each, BLAS computes in that thread alone, and context variables (precision, moment, no_grad, errstate, ...) are
    as they are here. One work alone runs as it would without; so do, one after the other, works within a work. Works
    do not wait for each other: one that no thread has begun when this one has nothing left to do is done here too.

    Args:
        works: functions without arguments, safe to run beside each other.
    Returns:
        What they returned, in their order.
    Raises:
        The first error in the order of works, after all have ended. KeyboardInterrupt, which comes to the main thread,
        waits for the others likewise.
    Cost: 40 to 140 us for two on two cores, nearly all of it the system's time to wake a thread. Threads wait for more
        work, and end when none comes for a while, or by dismiss. Where it is noted, each work is a program of its own.
    """
    if len(works) < 2 or _within.get():
        return [work() for work in works]
    program = current_program()
    if program is not None:
        return program.run_parallel(run_parallel, works)
    jobs = [_Job(work) for work in works]
    interrupt: BaseException | None = None
    with single_threaded():
        try:
            for job in jobs[1:]:
                _hand_on(job)
            for job in jobs:
                if job.is_mine() and not job.run():
                    break
        except BaseException as error:
            interrupt = error
        for job in jobs:
            while not job.is_mine() and not job.ended:
                try:
                    job.end.acquire()
                except BaseException as error:
                    interrupt = interrupt or error
    errors = [e for e in (interrupt, *(job.error for job in jobs)) if e is not None]
    try:
        if errors:
            raise errors[0]
        return [job.result for job in jobs]
    finally:
        for job in jobs:
            job.error = None
        del errors, interrupt  # an error holds this frame, which must not hold the error


def split(n: int, least: int, work: Callable[[int, int], Any]) -> None:
    """Do work on stretches of 0 .. n at once, one a core: ``work(start, stop)``.

    Args:
        n: how many there are, >= 0.
        least: how many a thread should have at least, >= 1; fewer than twice as many stay in this thread.
        work: safe to run beside itself on other stretches. What it returns is dropped.
    Raises: as together.
    """
    parts = min(available_cores(), n // least)
    if parts < 2:
        work(0, n)
    else:
        run_parallel([partial(work, i * n // parts, (i + 1) * n // parts) for i in range(parts)])


class _Job:
    """One work, in a copy of the context that it was given in."""

    __slots__ = ("context", "end", "ended", "error", "owner", "result", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.context = contextvars.copy_context()
        self.context.run(_within.set, True)
        self.owner: dict[str, int] = {}
        self.end = threading.Lock()
        self.end.acquire()
        self.ended = False
        self.result: Any = None
        self.error: BaseException | None = None

    def is_mine(self) -> bool:
        """Whether it is this thread's to run, which it is to the thread that asks first."""
        me = threading.get_ident()
        return self.owner.setdefault("thread", me) == me

    def run(self) -> bool:
        """Do the work, note result or error, and tell whether it went well."""
        try:
            self.result = self.context.run(self.work)
            return True
        except BaseException as error:
            self.error = error
            return False


# The threads.

_workers: list[_Worker] = []
_idle: list[_Worker] = []


class _Worker(threading.Thread):
    """Runs jobs as they are handed on; ends when dismissed, or after a while without any.

    A job that comes at the moment when its thread ends is not lost: who gave it finds that nobody has begun it.
    """

    def __init__(self) -> None:
        super().__init__(name="xpnet")
        self.job: _Job | None = None
        self.wake = threading.Lock()
        self.wake.acquire()
        self.leaving = False

    def run(self) -> None:
        while self.wake.acquire(timeout=IDLE):
            job, self.job = self.job, None
            mine = job is not None and job.is_mine()
            if job is not None and mine:
                job.run()
            if not self.leaving:
                _idle.append(self)  # before the end is told, so that the next call finds this thread
            if job is not None and mine:
                job.ended = True
                job.end.release()
            del job
            if self.leaving:
                break
        for who in (_idle, _workers):
            with contextlib.suppress(ValueError):
                who.remove(self)


def _hand_on(job: _Job) -> None:
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
        try:
            worker.start()
        except RuntimeError:  # the system has no thread to give: the job is done by who gave it
            return
        _workers.append(worker)
    worker.job = job
    with contextlib.suppress(RuntimeError):  # it was dismissed meanwhile
        worker.wake.release()


def shut_down_workers() -> None:
    """End the threads that ``run_parallel`` started, and wait for that; its next call starts others."""
    for worker in _workers.copy():
        worker.leaving = True
        with contextlib.suppress(RuntimeError):  # it is awake already
            worker.wake.release()
        worker.join()
