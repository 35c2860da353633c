"""Work on NumPy arrays, recorded while it runs, to be replayed without the Python code that led to it.

    program = Program()
    with program.recording():
        y = kernel(x)               # launches work that fills y
    x[...] = more
    program()                       # y is filled anew, in place

It is to the host what a graph is to CUDA. Code that can be noted keeps its results in arrays from ``empty`` and works
on them through ``launch``; views of arrays are made once. Other code goes through ``record_call``, which
computes it each time and copies it to where it was at first. Without a program all three cost next to nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np

__all__ = ["Program", "Unsupported", "current_program", "empty", "launch", "record_call"]

Work = Callable[..., Any]


class Unsupported(Exception):
    """An op that cannot be recorded on the host was called while a program records; its name is the message."""


class _Now(threading.local):
    program: Program | None = None


_now = _Now()


def current_program() -> Program | None:
    """Return the program that notes what this thread launches, or None."""
    return _now.program


def launch(work: Work, *arguments: Any) -> None:
    """Do work that writes its results into arrays among its arguments, or that it knows; noted, it is done again."""
    program = _now.program
    if program is None:
        work(*arguments)
    else:
        program.do(work, arguments)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array of the host for launched work to fill: each time the same one, where the work is noted."""
    program = _now.program
    return np.empty(shape, dtype) if program is None else program.keep(np.empty(shape, dtype))


def record_call(function: Work, *arguments: Any) -> Any:
    """Return a function's arrays, one or a tuple of them; noted, it is called again, and results are copied.

    A result that is one of the arguments was written in place, and stays.
    """
    program = _now.program
    return function(*arguments) if program is None else program.value(function, arguments)


class Program:
    """A list of launched work, which a call does again.

    What is noted may depend on shapes and settings, but not on the numbers in arrays. One thread's work is noted; what
    that hands to other threads through launched work is done again by as many.

    Cost: a launch is one call from Python. All arrays of the work are kept for as long as the program.
    """

    def __init__(self) -> None:
        self._work: list[tuple[Work, tuple[Any, ...]]] = []
        self._kept: dict[int, np.ndarray] = {}  # by id: arrays that launched work fills
        self.blocks: dict[str, np.ndarray] = {}  # memory that launched work needs for a moment, by what for

    def __call__(self) -> None:
        """Do all that was noted, in its order."""
        for work, arguments in self._work:
            work(*arguments)

    @property
    def launches(self) -> int:
        """How many were noted, those of branches as one."""
        return len(self._work)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Note what this thread launches within a with-block, while it is done."""
        before, _now.program = _now.program, self
        try:
            yield
        finally:
            _now.program = before

    def do(self, work: Work, arguments: tuple[Any, ...]) -> None:
        """Do work and note it; what it launches in turn is part of it."""
        self._unnoted(work, *arguments)
        self._work.append((work, arguments))

    def _unnoted(self, work: Work, *arguments: Any) -> Any:
        _now.program = None
        try:
            return work(*arguments)
        finally:
            _now.program = self

    def unsupported(self, op: str) -> NoReturn:
        """Stop the recording: an op's result is not made by launched work, so a replay would not renew it.

        Args:
            op: the op's name, for the log.
        Raises:
            Unsupported: always.
        """
        raise Unsupported(op)

    def keep(self, array: np.ndarray) -> np.ndarray:
        """Hold an array that launched work fills, and return it."""
        self._kept[id(array)] = array
        return array

    def value(self, function: Work, arguments: tuple[Any, ...]) -> Any:
        """Call a function and note that; see ``record_call``."""
        made = self._unnoted(function, *arguments)
        each = made if isinstance(made, tuple) else (made,)
        places = [a if a is None or any(a is x for x in arguments) else self.keep(np.array(a)) for a in each]

        def call() -> None:
            made = function(*arguments)
            _fill(places, made if isinstance(made, tuple) else (made,))

        self._work.append((call, ()))
        return tuple(places) if isinstance(made, tuple) else places[0]

    def branch(self, run_parallel: Work, works: Sequence[Callable[[], Any]]) -> list[Any]:
        """Do works at once, each noted as a program of its own, and note that those are done at once."""
        programs = [Program() for _ in works]
        results = self._unnoted(
            run_parallel, [partial(p._noted, work) for p, work in zip(programs, works, strict=True)]
        )
        self._work.append((run_parallel, (programs,)))
        return results

    def _noted(self, work: Callable[[], Any]) -> Any:
        with self.recording():
            return work()

    def apply(self, op: Work, inputs: list[Any], options: dict[str, Any]) -> tuple[Any, Any]:
        """Apply an op, ``op(*inputs, **options) -> (y, vjp)``, and note it; what vjp does is noted when it is called.

        An op that gives a view, or what it launched, needs nothing more. Another's results are copied.
        """
        mark = len(self._work)
        y, vjp = op(*inputs, **options)
        made, noted = [vjp], self._is_noted(y, inputs)
        if not noted:
            del self._work[mark:]
            y = self.keep(np.array(y))

            def call() -> None:
                new, made[0] = op(*inputs, **options)
                y[...] = new

            self._work.append((call, ()))

        def back(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
            program = self if _now.program is None else _now.program  # another's, where another thread goes back
            return program._back(made, noted, dy, needs)

        return y, back

    def _back(self, made: list[Work], noted: bool, dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        """Call the newest vjp and note what it launches, or that it was called."""
        mark = len(self._work)
        gradients = made[0](dy, needs)
        if noted and all(g is None or self._is_noted(g, [dy]) for g in gradients):
            return gradients
        del self._work[mark:]
        places = [None if g is None else self.keep(np.array(g)) for g in gradients]
        self._work.append((lambda: _fill(places, made[0](dy, needs)), ()))
        return tuple(places)

    def _is_noted(self, result: Any, inputs: list[Any]) -> bool:
        """Whether an array is filled by launched work, or is a view of one of some inputs."""
        if not isinstance(result, np.ndarray):
            return False
        owner = _owner(result)
        return id(owner) in self._kept or any(owner is _owner(x) for x in inputs if isinstance(x, np.ndarray))


def _fill(places: list[Any], arrays: tuple[Any, ...]) -> None:
    for place, a in zip(places, arrays, strict=True):
        if place is not a:
            place[...] = a


def _owner(x: np.ndarray) -> np.ndarray:
    """The array whose memory a view shows."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x
