"""The worker's side of the pipe: answer requests, listed in turns.py, with a module named on the command line.

The module has build(request), which makes a Job whose steps are timed, or measure(request), which is one answer. A
worker of several processes, which mpiexec starts, is named with a second word; see ranks.
"""

import importlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any, NamedTuple

import numpy as np


class Job(NamedTuple):
    """A model and its batch, ready to run.

    Args:
        parameters: how many numbers the model learns.
        run: run steps, as many as the iterator says, then as many as it says next, until it ends. A step is forward,
            loss, backward and update, or for inference forward alone.
        wait: wait until the device is done, and return the loss of the last step; of inference the mean score.
        peak: the most memory in use, in MB; this process's by default.
    """

    parameters: int
    run: Callable[[Iterator[int]], None]
    wait: Callable[[], float]
    peak: Callable[[], float] | None = None


class Done(Exception):
    """Training has gone on for long enough; raised by a callback."""


def repeated(parameters: int, step: Callable[[], Any], read: Callable[[Any], float], peak: Any = None) -> Job:
    """Make the job that calls step; read waits for the device and turns a step's result into a number."""
    result = None

    def run(counts: Iterator[int]) -> None:
        nonlocal result
        for count in counts:
            for _ in range(count):
                result = step()

    return Job(parameters, run, lambda: read(result), peak)


def batch_of(request: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Draw the batch that every library gets: x float32 (N, ...) uniform over [0, 1), labels int64 (N,)."""
    rng = np.random.default_rng(0)
    x = rng.random((request["batch"], *request["sample"]), dtype=np.float32)
    return x, rng.integers(0, request["classes"], request["batch"])


def counts(
    job: Job, requests: Iterator[str], reply: Callable[[dict[str, Any]], None], agree: Callable[[float], float]
) -> Iterator[int]:
    """Yield how many steps to run next, and answer requests. agree: gives the number of one process to all."""
    yield 1
    opened = {"parameters": job.parameters, "loss": job.wait()}
    ms = 1e3
    wait_until_idle(120.0)  # kernels may still be compiled or loaded in the background
    reply(opened)
    for request in map(json.loads, requests):
        if request["do"] == "memory":
            reply({"peak_mb": (job.peak or peak_mb)()})
            continue
        yield 1  # untimed: the turn before this one was another process's
        job.wait()
        start, steps = perf_counter(), max(1, math.ceil(request["seconds"] * 1e3 / ms))
        yield steps
        loss = job.wait()
        ms = agree((perf_counter() - start) * 1e3 / steps)
        wait_until_idle()
        reply({"ms": ms, "loss": loss})


def peak_mb() -> float:
    """The most memory (resident set) that this process ever had, in MB of 2**20 bytes; 0 where Linux does not tell.

    VmHWM starts anew with the program; getrusage's ru_maxrss would include the peak of its parent.
    """
    status = Path("/proc/self/status")
    return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10 if status.exists() else 0.0


def wait_until_idle(
    most: float = 0.5, cpu_seconds: Callable[[], float] = process_time, pause: Callable[[float], None] = sleep
) -> None:
    """Wait, some seconds at most, until the threads of this process have used no processor time for 30 ms."""
    quiet = 0
    for _ in range(round(most / 0.01)):
        before = cpu_seconds()
        pause(0.01)
        quiet = quiet + 1 if cpu_seconds() - before < 0.001 else 0
        if quiet == 3:
            return


def main(name: str, several: bool = False) -> None:
    """Answer requests until standard input ends; what a library prints goes to the log, not between the answers."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    reply: Callable[[dict[str, Any]], None] = lambda said: print(json.dumps(said), file=answers, flush=True)  # noqa: E731
    requests, agree = sys.stdin, float
    if several:
        import ranks

        requests, agree, reply = ranks.requests(sys.stdin), ranks.agree, ranks.replying(reply)

    request = json.loads(next(requests))
    try:
        module = importlib.import_module(name)
        if hasattr(module, "measure"):
            reply(module.measure(request))
        else:
            job = module.build(request)
            job.run(counts(job, requests, reply, agree))
    except Exception as error:
        reply({"error": f"{type(error).__name__}: {error}".splitlines()[0]})


if __name__ == "__main__":
    main(sys.argv[1], len(sys.argv) > 2)
