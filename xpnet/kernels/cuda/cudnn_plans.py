"""cuDNN's plans: built once for each problem, kept for the process and on disk, and run.

A problem that cuDNN has no plan for is kept too, with one line in the log, so that it is tried once only.
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
from xpnet.kernels.cuda.cudnn_graphs import RESULT, Problem
from xpnet.kernels.cuda.driver import DeviceArray

__all__ = ["Library", "Plan", "PlanFile"]

_ALIGNED = 16  # bytes: what the plans require of every array's address

_log = logging.getLogger("xpnet")


class Plan(NamedTuple):
    """A graph whose plan is built, the bytes of its workspace, and whether it was read from disk."""

    graph: Any
    workspace: int
    from_disk: bool


class Library:
    """The module cudnn as one process uses it, from all its threads.

    Args:
        cudnn: the frontend's module.
    Raises:
        RuntimeError: the module finds no libcudnn, or that does not start on the current device.
    """

    def __init__(self, cudnn: Any) -> None:
        self._cudnn = cudnn
        self._versions = cudnn.__version__, cudnn.backend_version()
        self._plans: dict[tuple[int, Problem], Plan | None] = {}
        self._handles: dict[int, _Handle] = {}
        self._lock = threading.Lock()
        self._handle()

    def run(self, problem: Problem, arrays: dict[int, DeviceArray]) -> DeviceArray | None:
        """Return what a problem asks for, on the current device and stream; None where there is no plan that runs.

        The plan is read from disk or built the first time, but not while a stream is captured: that cannot be captured.

        Args:
            problem: what to compute.
            arrays: contiguous, by their numbers in the graph.
        """
        key = (driver.current().device(), problem)
        with self._lock:
            if key not in self._plans and driver.current().capturing():
                return None
            plan, result = self._plans[key] if key in self._plans else self._find(problem), None
            while plan is not None:
                try:
                    result = driver.empty(problem.result, problem.dtype)
                    self._execute(plan, {**arrays, RESULT: result})
                    break
                except Exception as error:  # out of memory, or what cuDNN finds only now
                    plan = self._build(problem) if plan.from_disk else self._unavailable(problem, error)
            self._plans[key] = plan
        return None if plan is None else result

    def _execute(self, plan: Plan, arrays: dict[int, DeviceArray]) -> None:
        handle = self._handle()
        held = {number: _aligned(array) for number, array in arrays.items()}
        pointers = {number: driver.pointer(array) for number, array in held.items()}
        plan.graph.execute(pointers, handle.workspace(plan.workspace), handle=handle.handle)

    def _find(self, problem: Problem) -> Plan | None:
        """Read a problem's plan from disk, or build it."""
        try:
            stored = PlanFile(self._key(problem)).read()
            if stored is not None:
                graph = self._cudnn.pygraph(handle=self._handle().handle)
                graph.deserialize(self._handle().handle, list(stored))
                return Plan(graph, graph.get_workspace_size(), True)
        except Exception as error:
            _log.debug("cuDNN: the plan for %s is built again: %s", problem, _one_line(error))
        return self._build(problem)

    def _build(self, problem: Problem) -> Plan | None:
        """Build a problem's plan and write it to disk; None, with a line in the log, where that is impossible."""
        try:
            graph = cudnn_graphs.build(self._cudnn, self._handle().handle, problem)
            plan = Plan(graph, graph.get_workspace_size(), False)
        except Exception as error:  # cuDNN's own classes, RuntimeError, ValueError
            return self._unavailable(problem, error)
        try:
            PlanFile(self._key(problem)).write(bytes(graph.serialize()))
        except Exception as error:  # this process does not need it on disk
            _log.debug("cuDNN: the plan for %s is not kept on disk: %s", problem, _one_line(error))
        return plan

    def _unavailable(self, problem: Problem, error: Exception) -> None:
        fused = problem.bias or problem.relu
        level = logging.INFO if fused else logging.WARNING  # cuDNN may still do the convolution of two passes
        then = "bias and activation are a separate pass" if fused else "unrolled columns and a product do it"
        _log.log(level, "cuDNN does not do conv2d's %s: %s; %s", problem, _one_line(error), then)

    def _key(self, problem: Problem) -> tuple[Any, ...]:
        """All that a plan depends on."""
        return (*self._versions, driver.current().model(), problem)

    def _handle(self) -> _Handle:
        """The current device's handle, on the current stream."""
        number = driver.current().device()
        if number not in self._handles:
            self._handles[number] = _Handle(self._cudnn)
        self._handles[number].use_stream(driver.current().stream())
        return self._handles[number]


class _Handle:
    """cuDNN's handle of a device, the stream it queues on, and workspaces."""

    def __init__(self, cudnn: Any) -> None:
        self._cudnn = cudnn
        self.handle = cudnn.create_handle()
        self._stream: int | None = None
        self._workspaces: dict[int | None, list[DeviceArray]] = {}

    def use_stream(self, stream: int) -> None:
        """Queue on a stream from now on."""
        if stream != self._stream:
            self._cudnn.set_stream(handle=self.handle, stream=stream)
            self._stream = stream

    def workspace(self, size: int) -> int:
        """Return the address of at least so many bytes, which only this stream uses; 0 for none.

        A workspace that became too small is kept, because a recorded step may still use it. Each is at least twice the
        one before, so all of them together are less than twice the last.
        """
        if not size:
            return 0
        made = self._workspaces.setdefault(self._stream, [])
        if not made or made[-1].size < size:
            made.append(driver.empty((max(size, 2 * made[-1].size if made else 0),), np.uint8))
        return driver.pointer(made[-1])


class PlanFile:
    """A plan on disk, in the cache of the operating system.

    The first line holds the key and a checksum of the rest, so a file of another device, version or problem, or one
    that was cut short, counts as none.

    Args:
        key: all that the plan depends on.
    """

    def __init__(self, key: tuple[Any, ...]) -> None:
        import pooch

        self._key = json.dumps(key)
        name = hashlib.sha256(self._key.encode()).hexdigest()[:32]
        self.path = Path(pooch.os_cache("xpnet")) / "cudnn" / f"{name}.plan"

    def read(self) -> bytes | None:
        """Return what was written, None where nothing was or it is damaged."""
        try:
            head, _, plan = self.path.read_bytes().partition(b"\n")
        except OSError:
            return None
        return plan if head == self._head(plan) else None

    def write(self, plan: bytes) -> None:
        """Write a plan to a temporary file, and rename that; OSError where it cannot be."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._head(plan) + b"\n" + plan)
            os.replace(temporary, self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _head(self, plan: bytes) -> bytes:
        return json.dumps([self._key, hashlib.sha256(plan).hexdigest()]).encode()


def _aligned(array: DeviceArray) -> DeviceArray:
    """The array itself, or a copy where its address is no multiple of 16, such as that of a part of a buffer."""
    if driver.pointer(array) % _ALIGNED == 0:
        return array
    copy = driver.empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def _one_line(error: Exception) -> str:
    """What an error says, after its class, in one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
