"""The worker's side of the pipe: answer requests (ci/bench/turns.py lists them) around one library's training step."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any, NamedTuple

import numpy as np


class Job(NamedTuple):
    """A model and its batch, ready to train.

    Args:
        version: of the library.
        parameters: how many numbers the model learns.
        step: run forward, loss, backward and update once, or for inference forward alone; may return before the
            device is done.
        loss: wait until the device is done, and read the loss that step returned; of inference the mean score.
        peak: the most memory that was in use, in MB; this process's by default, and the device's where that is a GPU.
        how: what the library chose to run a step by, where it says so.
    """

    version: str
    parameters: int
    step: Callable[[], Any]
    loss: Callable[[Any], float]
    peak: Callable[[], float] | None = None
    how: str = ""


def batch_of(request: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Draw the batch that every library gets: x float32 (N, ...) uniform over [0, 1), labels int64 (N,)."""
    rng = np.random.default_rng(0)
    x = rng.random((request["batch"], *request["sample"]), dtype=np.float32)
    return x, rng.integers(0, request["classes"], request["batch"])


def peak_mb() -> float:
    """The most memory (resident set) that this process ever had, in MB of 2**20 bytes.

    Linux's VmHWM starts anew with the program; ru_maxrss would take over what its parent had before.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10
    except (OSError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)


def serve(build: Callable[[dict[str, Any]], Job]) -> None:
    """Answer requests from standard input until it ends; build makes the Job of an "open" request."""
    job: Job | None = None

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal job
        if request["do"] == "open":
            job = build(request)
            about = {"version": job.version, "parameters": job.parameters, "how": job.how}
            return {**about, "loss": job.loss(job.step())}
        assert job is not None, "open comes first"
        said = _answer(job, request)
        wait_until_idle()
        return said

    answer(reply)


def answer(reply: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer each line of standard input with a line, until it ends; what fails is answered by {"error": one line}."""
    # What a library prints goes to the log, not between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            said = reply(json.loads(line))
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


def wait_until_idle(cpu_seconds: Callable[[], float] = process_time, pause: Callable[[float], None] = sleep) -> None:
    """Wait, half a second at most, until the threads of this process have used no processor time for 30 ms."""
    quiet = 0
    for _ in range(50):
        before = cpu_seconds()
        pause(0.01)
        quiet = quiet + 1 if cpu_seconds() - before < 0.001 else 0
        if quiet == 3:
            return


def _answer(job: Job, request: dict[str, Any]) -> dict[str, float]:
    if request["do"] == "memory":
        return {"peak_mb": job.peak() if job.peak else peak_mb()}
    if request["do"] == "burst":
        return _burst(job, request["steps"])
    end = perf_counter() + request["seconds"]  # "warm"
    reply = _burst(job, 1)
    while (left := end - perf_counter()) > 0:
        reply = _burst(job, max(1, round(0.2 * left * 1e3 / reply["ms"])))
    return reply


def _burst(job: Job, steps: int) -> dict[str, float]:
    job.loss(job.step())  # untimed: the turn before this one was another process's
    start = perf_counter()
    result = None
    for _ in range(steps):
        result = job.step()
    loss = job.loss(result)
    return {"ms": (perf_counter() - start) * 1e3 / steps, "loss": loss}
