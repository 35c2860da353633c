"""Work on NumPy arrays, recorded while it runs, to be replayed without the Python code that led to it.

    program = Program()
    with program.recording():
        y = kernel(x)               # launches work that fills y
    x[...] = more
    program()                       # fills y again, in place

A program is to the host what a graph is to CUDA. Code that can be recorded takes memory for its results from ``empty``
and fills it through ``launch``, or calls a function through ``record_call``, whose results are copied. Code that cannot
calls ``this_thread.program.unsupported(name)``. The functions are in launching.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NoReturn, TypeVar

import numpy as np

from xpnet.backend.launching import this_thread

__all__ = [
    "HostRecorder",
    "Program",
    "Unsupported",
]

T = TypeVar("T")
Work = Callable[..., Any]


class Unsupported(Exception):
    """An op that cannot be recorded on the host was called while a program records; its name is the message."""


class Program:
    """A list of launched work, which a call runs again.

    The work may depend on shapes and settings, but not on the numbers in arrays. One thread's work is recorded; what it
    runs in parallel is recorded as a program for each thread, and runs in parallel again.

    Cost: a launch is one call from Python. All arrays of the work are kept for as long as the program.
    """

    def __init__(self) -> None:
        self._work: list[tuple[Work, tuple[Any, ...]]] = []
        self._allocated = 0  # bytes
        self._branches: list[Program] = []
        self.blocks: dict[str, np.ndarray] = {}  # scratch memory of kernels, by name

    def __call__(self) -> None:
        """Run all recorded work, in its order."""
        for work, arguments in self._work:
            work(*arguments)

    @property
    def launches(self) -> int:
        """How many launches were recorded, those that run in parallel as one."""
        return len(self._work)

    @property
    def nbytes(self) -> int:
        """Bytes of the memory that the recorded work was given."""
        blocks = sum(block.nbytes for block in self.blocks.values())
        return self._allocated + blocks + sum(branch.nbytes for branch in self._branches)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record what this thread launches within a with-block, while it runs."""
        before, this_thread.program = this_thread.program, self
        try:
            yield
        finally:
            this_thread.program = before

    def launch(self, work: Work, arguments: tuple[Any, ...]) -> None:
        """Call work and record the call; what it launches in turn is part of it."""
        self._run(work, *arguments)
        self._work.append((work, arguments))

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an array for launched work to fill."""
        array = np.empty(shape, dtype)
        self._allocated += array.nbytes
        return array

    def call(self, function: Work, arguments: tuple[Any, ...]) -> Any:
        """Call a function and record the call; see ``record_call``."""
        result = self._run(function, *arguments)
        each = result if isinstance(result, tuple) else (result,)
        outputs = tuple([a if a is None or any(a is x for x in arguments) else self._copy(a) for a in each])

        def call() -> None:
            result = function(*arguments)
            for output, a in zip(outputs, result if isinstance(result, tuple) else (result,), strict=True):
                if output is not None and output is not a:
                    output[...] = a

        self._work.append((call, ()))
        return outputs if isinstance(result, tuple) else outputs[0]

    def run_parallel(self, run: Work, tasks: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run tasks in parallel by ``run(tasks)``, and record each as a program."""
        programs = [Program() for _ in tasks]
        results = self._run(run, [partial(p._record, task) for p, task in zip(programs, tasks, strict=True)])
        self._work.append((run, (programs,)))
        self._branches.extend(programs)
        return results

    def unsupported(self, op: str) -> NoReturn:
        """Stop the recording: an op's result is not made by launched work, so a replay would not renew it.

        Args:
            op: the op's name, for the log.
        Raises:
            Unsupported: always.
        """
        raise Unsupported(op)

    def _record(self, task: Callable[[], Any]) -> Any:
        with self.recording():
            return task()

    def _run(self, work: Work, *arguments: Any) -> Any:
        """Call work without recording what it launches."""
        this_thread.program = None
        try:
            return work(*arguments)
        finally:
            this_thread.program = self

    def _copy(self, a: Any) -> np.ndarray:
        copy = np.array(a)
        self._allocated += copy.nbytes
        return copy


class HostRecorder:
    """Records work on NumPy arrays as a program; see backend.Recorder."""

    is_device = False
    warm_calls = 1

    def __init__(self) -> None:
        self._program = Program()

    @property
    def nbytes(self) -> int:
        """Bytes that the recording holds."""
        return self._program.nbytes

    def warm(self) -> AbstractContextManager[None]:
        """Run work before it is recorded."""
        return contextlib.nullcontext()

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        """Run work, record what it launches, and return its result and the program."""
        with self._program.recording():
            result = work()
        return result, self._program
