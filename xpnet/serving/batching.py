"""Requests that arrive at the same time are predicted at once: a thread joins them, calls the model, and splits."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from xpnet.output import counted
from xpnet.serving.messages import HttpError

__all__ = ["Batcher"]

_SHORT = 0.05  # seconds
Predict = Callable[[Sequence[Any]], list[Any]]  # examples of each request -> the scores of each


class _Job:
    """The examples of one request, and what became of them."""

    def __init__(self, x: Any) -> None:
        self.x, self.n = x, len(x)
        self.done = threading.Lock()  # free once it is; cheaper than an Event
        self.done.acquire()
        self.scores: Any = None
        self.error: BaseException | None = None


class Batcher:
    """Predicts for several threads, in a thread of its own.

    A batch is predicted as soon as all requests that are expected have arrived, or it is full, or its first request has
    waited long enough; so one client alone never waits. If a batch fails, its requests are predicted one by one, so
    that one request never fails another's. A request that is alone, and that should take less than 50 ms by the time of
    the last batch, is predicted in the thread that asks, which saves two changes of threads; it is not given up when
    its time is over.

    Args:
        predict: takes the examples of each request, arrays (n, ...), and returns the scores of each.
        most: examples of a batch; a request of more is predicted alone.
        wait: seconds that the first request of a batch waits for others.
        queue: examples that may wait.
    """

    def __init__(self, predict: Predict, *, most: int = 64, wait: float = 0.004, queue: int = 1024) -> None:
        self._predict, self._most, self._wait, self._queue = predict, most, wait, queue
        self._jobs: deque[_Job] = deque()
        self._waiting = 0  # examples in jobs
        self._expected = 0  # requests that are being read or that wait
        self._changed = threading.Condition()
        self._closed = False
        self._busy = False  # whether a batch is computed
        self._each = math.inf  # seconds an example, of the last batch
        self.batches = 0
        self._thread = threading.Thread(target=self._work, name="xpnet-batches", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def expected(self) -> Iterator[None]:
        """Count a request while its examples are read, and until it is answered."""
        with self._changed:
            self._expected += 1
        try:
            yield
        finally:
            with self._changed:
                self._expected -= 1
                if self._jobs and self._is_complete():
                    self._changed.notify()

    def predict(self, x: Any, timeout: float) -> Any:
        """Return the scores of the examples of one request.

        Args:
            x: (n, ...), n >= 1, an array of the model's backend.
            timeout: seconds.
        Raises:
            HttpError: 503, too many examples wait, or there is no answer in time. Else what the model raises.
        """
        job = _Job(x)
        with self._changed:
            if self._closed:
                raise HttpError(503, "server: it is shutting down", Retry_After="1")
            alone = self._expected <= 1 and not self._jobs and not self._busy and job.n * self._each < _SHORT
            if alone:
                self._busy = True
        if alone:
            return self._alone(job)
        with self._changed:
            if self._jobs and self._waiting + job.n > self._queue:
                raise HttpError(
                    503, f"server: {counted(self._waiting, 'example')} wait already; try later", Retry_After="1"
                )
            self._jobs.append(job)
            self._waiting += job.n
            if len(self._jobs) == 1 or self._is_complete():  # else the thread waits for others anyway
                self._changed.notify()
        if not job.done.acquire(timeout=timeout):
            with self._changed:
                if job in self._jobs:  # else it is being computed
                    self._jobs.remove(job)
                    self._waiting -= job.n
            raise HttpError(503, f"server: no answer in {timeout:g} s; try later", Retry_After="1")
        if job.error is not None:
            raise job.error
        return job.scores

    def close(self) -> None:
        """Predict what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _alone(self, job: _Job) -> Any:
        """Predict one request in this thread."""
        try:
            self._answer([job])
            return job.scores
        finally:
            self._end()

    def _end(self) -> None:
        with self._changed:
            self._busy = False
            if self._jobs or self._closed:
                self._changed.notify()

    def _work(self) -> None:
        while jobs := self._next():
            try:
                self._answer(jobs)
            except BaseException as error:
                if len(jobs) == 1:
                    jobs[0].error = error
                else:
                    self._one_by_one(jobs)
            self._end()
            for job in jobs:
                job.done.release()

    def _answer(self, jobs: list[_Job]) -> None:
        self.batches += 1
        start = time.monotonic()
        for job, scores in zip(jobs, self._predict([job.x for job in jobs]), strict=True):
            job.scores = scores
        self._each = (time.monotonic() - start) / sum(job.n for job in jobs)

    def _one_by_one(self, jobs: list[_Job]) -> None:
        for job in jobs:
            try:
                self._answer([job])
            except BaseException as error:
                job.error = error

    def _next(self) -> list[_Job]:
        """Wait for jobs and return those of the next batch; none at the end."""
        with self._changed:
            found: list[_Job] = []
            while not found:
                self._changed.wait_for(lambda: not self._busy and (self._jobs or self._closed))
                if not self._jobs:
                    break
                end = time.monotonic() + self._wait
                while not self._is_complete() and (left := end - time.monotonic()) > 0:
                    self._changed.wait(left)
                count = 0
                while self._jobs and (not found or count + self._jobs[0].n <= self._most):
                    found.append(self._jobs.popleft())
                    count += found[-1].n
                self._waiting -= count
                self._busy = True
            return found

    def _is_complete(self) -> bool:
        return self._closed or len(self._jobs) >= self._expected or self._waiting >= self._most
