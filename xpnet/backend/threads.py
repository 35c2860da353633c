"""Threads of the CPU: how many there are, and tasks that run in them in parallel.

    def double(start, stop):
        np.multiply(x[start:stop], 2.0, out=y[start:stop])

    split(len(x), 4096, double)             # a slice a core
    run_parallel([first, second])           # or different tasks; results are returned in order

NumPy, BLAS and nogil kernels release Python's lock while they compute, so Python threads keep the cores busy. BLAS
would start its own threads for each product; within ``run_parallel`` it computes in the calling thread.
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

from xpnet.arguments import count
from xpnet.backend.blas import single_threaded
from xpnet.backend.launching import this_thread

__all__ = [
    "available_cores",
    "cores",
    "processors",
    "run_alone",
    "run_parallel",
    "shut_down_workers",
    "split",
    "use_cores",
]

T = TypeVar("T")

IDLE = 0.2  # seconds without a task after which a thread ends

_cores: contextvars.ContextVar[int | None] = contextvars.ContextVar("xpnet_cores", default=None)
_in_task: contextvars.ContextVar[bool] = contextvars.ContextVar("xpnet_in_task", default=False)


# How many.


def cores() -> int:
    """Return how many threads may compute at once, >= 1.

    As many as there are processors, but no more than OMP_NUM_THREADS where that is set; read once. Within use_cores,
    what that says.
    """
    return _cores.get() or _found()


@contextlib.contextmanager
def use_cores(n: int) -> Iterator[None]:
    """Let ``n`` threads compute within a with-block, in this thread and task only.

    Raises:
        ConfigError: n < 1.
    """
    token = _cores.set(count("use_cores", "n", n))
    try:
        yield
    finally:
        _cores.reset(token)


def available_cores() -> int:
    """Return how many threads this code may use: one within ``run_parallel``, cores() elsewhere."""
    return 1 if _in_task.get() else cores()


@cache
def processors() -> int:
    """Return how many processors this process may run on, by its affinity and its control group's quota; read once."""
    affinity = getattr(os, "sched_getaffinity", None)
    most = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(most, _quota())))


@cache
def _found() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    wanted = int(asked) if asked.isdecimal() and int(asked) else processors()
    return min(processors(), wanted)


def _quota(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors' worth of time that the control group grants, infinity for any number."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (root / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota, period = (int((root / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else math.inf
    return math.inf


# In parallel.


def run_parallel(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Run tasks in parallel, the first in this thread and each other in another thread; wait for all.

    In each, BLAS computes in that thread alone, and context variables (precision, step context, no_grad, errstate, ...)
    have their values of here. A single task, and tasks within a task, run one after the other in this thread. A task
    that no other thread has begun when this thread is free runs in this thread.

    Args:
        tasks: functions without arguments, safe to run in parallel.
    Returns:
        What they returned, in their order.
    Raises:
        The first error in the order of tasks, after all have ended. KeyboardInterrupt, which comes to the main thread,
        waits for the others likewise.
    Cost: 40 to 140 us for two on two cores, nearly all of it the system's time to wake a thread. Idle threads end after
        IDLE seconds, or by shut_down_workers. Where a program records, each task is recorded as a program.
    """
    if len(tasks) < 2 or _in_task.get():
        return [task() for task in tasks]
    program = this_thread.program
    if program is not None:
        return program.run_parallel(run_parallel, tasks)
    jobs = [_Job(task) for task in tasks]
    interrupt: BaseException | None = None
    with single_threaded():
        try:
            for job in jobs[1:]:
                _submit(job)
            for job in jobs:
                if job.claim() and not job.run():
                    break
        except BaseException as error:
            interrupt = error
        for job in jobs:
            while not job.claim() and not job.ended:
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


def run_alone(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Run tasks as run_parallel does; each computes in one thread, a single task too.

    So the results do not depend on how many cores there are, nor on which tasks run at once.
    """
    program = this_thread.program
    if program is not None:
        return program.run_parallel(run_alone, tasks)
    with single_threaded(), use_cores(1):
        return run_parallel(tasks)


def split(n: int, least: int, task: Callable[[int, int], Any]) -> None:
    """Run a task on slices of 0 .. n in parallel, one a core: ``task(start, stop)``.

    Args:
        n: the whole range, >= 0.
        least: the least size of a slice, >= 1; below twice that, the task runs in this thread.
        task: safe to run in parallel on other slices; its result is dropped.
    Raises: as run_parallel.
    """
    parts = min(available_cores(), n // least)
    if parts < 2:
        task(0, n)
    else:
        run_parallel([partial(task, i * n // parts, (i + 1) * n // parts) for i in range(parts)])


class _Job:
    """A task, with a copy of the context that it was submitted in."""

    __slots__ = ("context", "end", "ended", "error", "owner", "result", "task")

    def __init__(self, task: Callable[[], Any]) -> None:
        self.task = task
        self.context = contextvars.copy_context()
        self.context.run(_in_task.set, True)
        self.owner: dict[str, int] = {}
        self.end = threading.Lock()
        self.end.acquire()
        self.ended = False
        self.result: Any = None
        self.error: BaseException | None = None

    def claim(self) -> bool:
        """Claim the task, and tell whether this thread runs it: the first thread that claims it does."""
        me = threading.get_ident()
        return self.owner.setdefault("thread", me) == me

    def run(self) -> bool:
        """Run the task, keep its result or error, and tell whether it succeeded."""
        try:
            self.result = self.context.run(self.task)
            return True
        except BaseException as error:
            self.error = error
            return False


# The threads.

_workers: list[_Worker] = []
_idle: list[_Worker] = []


class _Worker(threading.Thread):
    """Runs jobs that are submitted; ends when it is shut down, or after IDLE seconds without one.

    A job submitted at the moment when its thread ends is not lost: the submitter finds it unclaimed, and runs it.
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
            mine = job is not None and job.claim()
            if job is not None and mine:
                job.run()
            if not self.leaving:
                _idle.append(self)  # before the end is signalled, so that the next call finds this thread
            if job is not None and mine:
                job.ended = True
                job.end.release()
            del job
            if self.leaving:
                break
        for who in (_idle, _workers):
            with contextlib.suppress(ValueError):
                who.remove(self)


def _submit(job: _Job) -> None:
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
        try:
            worker.start()
        except RuntimeError:  # the system has no more threads: the submitter runs the job
            return
        _workers.append(worker)
    worker.job = job
    with contextlib.suppress(RuntimeError):  # it was shut down meanwhile
        worker.wake.release()


def _forget_workers() -> None:
    _workers.clear()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_workers)


def shut_down_workers() -> None:
    """End the threads that ``run_parallel`` started, and wait for that; its next call starts others."""
    for worker in _workers.copy():
        worker.leaving = True
        with contextlib.suppress(RuntimeError):  # it is awake already
            worker.wake.release()
        worker.join()
