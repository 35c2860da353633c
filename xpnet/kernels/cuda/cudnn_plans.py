"""cuDNN's plans: built once for each problem, kept for the process and on disk, and run.

What cuDNN cannot do is remembered too, with one line in the log, so that it is asked once only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.kernels.cuda import cudnn_graphs, driver
from xpnet.kernels.cuda.cudnn_graphs import Problem

__all__ = ["Library", "Plan", "Shelf"]

_ALIGNED = 16  # bytes: what the plans count on of every array's address

_log = logging.getLogger("xpnet")


class Plan(NamedTuple):
    """A graph whose plan is built, the bytes that it works in, and whether it was found on disk."""

    graph: Any
    workspace: int
    found: bool


class Library:
    """The module cudnn as one process uses it, from all its threads.

    Args:
        cudnn: the frontend's module.
    Raises:
        RuntimeError: the module finds no libcudnn, or that does not start on the current device.
    """

    def __init__(self, cudnn: Any) -> None:
        self._cudnn = cudnn
        self._version = cudnn.backend_version()
        self._plans: dict[tuple[int, Problem], Plan | None] = {}
        self._places: dict[int, _Place] = {}
        self._lock = threading.Lock()
        self._place()

    def can(self, problem: Problem) -> bool:
        """Whether there is a plan for a problem on the current device; at first it is built, or read from disk."""
        key = (driver.current().device(), problem)
        if key not in self._plans:
            if driver.current().capturing():  # building one is nothing to record; a step is warmed up before
                return False
            with self._lock:
                if key not in self._plans:
                    self._plans[key] = self._find(problem)
        return self._plans[key] is not None

    def run(self, problem: Problem, arrays: dict[int, Any]) -> bool:
        """Queue the plan of a problem that can be; False where that fails, and the problem can no longer be.

        Args:
            problem: for which can() is true.
            arrays: contiguous, by their numbers in the graph.
        """
        number = driver.current().device()
        with self._lock:
            plan = self._plans[number, problem]
            while plan is not None:
                try:
                    self._execute(plan, arrays)
                    return True
                except Exception as error:  # out of memory, or what cuDNN says only now
                    plan = self._find(problem, stored=False) if plan.found else self._without(problem, error)
                    self._plans[number, problem] = plan
        return False

    def _execute(self, plan: Plan, arrays: dict[int, Any]) -> None:
        place = self._place()
        held = {number: _aligned(array) for number, array in arrays.items()}
        pointers = {number: driver.current().pointer(array) for number, array in held.items()}
        plan.graph.execute(pointers, place.room(plan.workspace), handle=place.handle)

    def _find(self, problem: Problem, stored: bool = True) -> Plan | None:
        """Read a problem's plan from disk, or build it and write it there; None, and a line, where it cannot be."""
        try:
            place = self._place()
            shelf = Shelf((self._cudnn.__version__, self._version, driver.current().model(), problem))
            graph = self._read(shelf, place) if stored else None
            if graph is not None:
                return Plan(graph, graph.get_workspace_size(), True)
            graph = cudnn_graphs.build(self._cudnn, place.handle, problem)
            plan = Plan(graph, graph.get_workspace_size(), False)
        except Exception as error:  # cuDNN's own classes of them, RuntimeError, ValueError
            return self._without(problem, error)
        try:
            shelf.write(bytes(graph.serialize()))
        except Exception as error:  # a plan that cannot be written is as good in this process
            _log.debug("cuDNN: the plan for %s is not kept on disk: %s", problem, _one_line(error))
        return plan

    def _read(self, shelf: Shelf, place: _Place) -> Any:
        """The graph that a shelf holds, None where it holds none that can be used."""
        found = shelf.read()
        if found is None:
            return None
        try:
            graph = self._cudnn.pygraph(handle=place.handle)
            graph.deserialize(place.handle, list(found))
            return graph
        except Exception as error:
            _log.debug("cuDNN: the plan in %s is made anew: %s", shelf.file, _one_line(error))
            return None

    def _without(self, problem: Problem, error: Exception) -> None:
        fused = problem.bias or problem.relu
        level = logging.INFO if fused else logging.WARNING  # of two passes, cuDNN may still do the longer one
        then = "bias and activation are a pass of their own" if fused else "unrolled columns and a product do it"
        _log.log(level, "cuDNN does not do conv2d's %s: %s; %s", problem, _one_line(error), then)

    def _place(self) -> _Place:
        number = driver.current().device()
        if number not in self._places:
            self._places[number] = _Place(self._cudnn)
        place = self._places[number]
        place.follow(driver.current().stream())
        return place


class _Place:
    """A device as cuDNN knows it: a handle, the stream it works on, and room to work in."""

    def __init__(self, cudnn: Any) -> None:
        self._cudnn = cudnn
        self.handle = cudnn.create_handle()
        self._stream: int | None = None
        self._rooms: dict[int | None, list[Any]] = {}

    def follow(self, stream: int) -> None:
        """Work on a stream from now on."""
        if stream != self._stream:
            self._cudnn.set_stream(handle=self.handle, stream=stream)
            self._stream = stream

    def room(self, size: int) -> int:
        """Return the address of at least so many bytes, in which only this stream works; 0 for none.

        A room that has become too small is kept: a recorded step may work in it still. Each is at least twice the one
        before, so that all of them together are less than twice the last.
        """
        if not size:
            return 0
        rooms = self._rooms.setdefault(self._stream, [])
        if not rooms or rooms[-1].size < size:
            rooms.append(driver.empty((max(size, 2 * rooms[-1].size if rooms else 0),), np.uint8))
        return driver.current().pointer(rooms[-1])


class Shelf:
    """The file of one plan, in the cache of the operating system.

    The first line says what the plan is for and the checksum of the rest, so that a file of another device, version or
    problem, or one that was cut short, is as good as none.

    Args:
        key: all that the plan depends on.
    """

    def __init__(self, key: tuple[Any, ...]) -> None:
        self._key = json.dumps(key)
        name = hashlib.sha256(self._key.encode()).hexdigest()[:32]
        self.file = _folder() / f"{name}.plan"

    def read(self) -> bytes | None:
        """Return what was written, None where nothing was or it is not whole."""
        try:
            head, _, plan = self.file.read_bytes().partition(b"\n")
        except OSError:
            return None
        if head == self._head(plan):
            return plan
        _log.debug("cuDNN: %s is not a plan as xpnet wrote it, and is made anew", self.file)
        return None

    def write(self, plan: bytes) -> None:
        """Write a plan to a temporary file, and rename that; OSError where it cannot be."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.file.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._head(plan) + b"\n" + plan)
            os.replace(temporary, self.file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _head(self, plan: bytes) -> bytes:
        return json.dumps([self._key, hashlib.sha256(plan).hexdigest()]).encode()


def _folder() -> Path:
    import pooch

    return Path(pooch.os_cache("xpnet")) / "cudnn"


def _aligned(array: Any) -> Any:
    """The array itself, or a copy where its address is no multiple of 16, as that of a part of a buffer may not be."""
    if driver.current().pointer(array) % _ALIGNED == 0:
        return array
    copy = driver.empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def _one_line(error: Exception) -> str:
    """What an error says, after its class, in one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
