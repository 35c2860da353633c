"""Taking turns: worker processes that stay alive, and run a burst of steps when asked.

One JSON object a line each way. Requests, and what answers them:

    {"do": "open", "layers": ..., "sample": ..., "classes": ..., "batch": ..., "layout": ..., "device": ..., "lr": ...,
     "momentum": ...}                    -> {"version", "parameters", "how", "loss"}
    {"do": "warm", "seconds": S}         -> {"ms", "loss"}      milliseconds a step, towards the end of S seconds
    {"do": "burst", "steps": n}          -> {"ms", "loss"}      milliseconds a step, over n steps
    {"do": "memory"}                     -> {"peak_mb"}

A request that fails is answered by {"error": one line}. A worker answers when its threads have gone idle (those of
OpenBLAS spin for up to 100 ms after their last task) and waits blocked on its standard input for the next turn.
"""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

REPLY_SECONDS = 300.0  # a first step may compile
BURST_SECONDS = 0.075
LEAST_BURSTS = 20
ROUNDS_SECONDS = 45.0  # where steps are so slow that LEAST_BURSTS rounds take longer, there are fewer
FEWEST_BURSTS = 8


class WorkerError(Exception):
    """A worker that could not do what it was asked; the message is one line."""


class Asked(Protocol):
    """Something that answers requests: a worker process, or a test's stand-in."""

    def ask(self, **request: Any) -> dict[str, Any]: ...


class Worker:
    """A worker script in a process of its own.

    Args:
        script: the worker's file.
        environment: its whole environment.
        patience: seconds to wait for an answer.
    """

    def __init__(self, script: Path, environment: dict[str, str], patience: float = REPLY_SECONDS) -> None:
        self.name, self.patience = script.stem, patience
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close)
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            WorkerError: the worker reports an error, ends, or does not answer.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        if not select.select([self._process.stdout], [], [], self.patience)[0]:
            raise WorkerError(f"{self.name}: no answer to {request['do']} in {self.patience:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(f"{self.name}: {reply['error']}")
        return reply

    def _ended(self) -> WorkerError:
        """Say how the process ended: the last line it wrote."""
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return WorkerError(f"{self.name}: ended with code {code}" + (f", {lines[-1]}" if lines else ""))

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream:
                stream.close()


def take_turns(
    workers: Mapping[str, Asked], seconds: float, fewest: int = FEWEST_BURSTS, within: float = ROUNDS_SECONDS
) -> dict[str, list[float]]:
    """Warm every worker up, then let each run a burst in turn (A B C, A B C, ...).

    Args:
        workers: opened workers by name.
        seconds: what the bursts of one worker add up to, > 0.
        fewest: the least rounds, however slow the steps.
        within: seconds that LEAST_BURSTS rounds may take, before there are fewer.
    Returns:
        For each worker milliseconds a step, one for each round: at least LEAST_BURSTS, where those fit in the time.
    Raises:
        WorkerError: a worker fails, or its loss is not finite.
    """
    rounds = max(LEAST_BURSTS, round(seconds / BURST_SECONDS))
    length = seconds / rounds
    latest = {name: _turn(name, w, do="warm", seconds=min(0.5, seconds)) for name, w in workers.items()}
    once = sum(ms / 1e3 + max(ms / 1e3, length) for ms in latest.values())  # an untimed step, then the burst
    rounds = min(rounds, max(fewest, int(within / once)))
    times: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            steps = max(1, round(length * 1e3 / latest[name]))
            latest[name] = _turn(name, worker, do="burst", steps=steps)
            times[name].append(latest[name])
    return times


def _turn(name: str, worker: Asked, **request: Any) -> float:
    reply = worker.ask(**request)
    if not math.isfinite(reply["loss"]):
        raise WorkerError(f"{name}: the loss is finite, got loss {reply['loss']}")
    return max(reply["ms"], 1e-6)


def worker_environment(root: Path, device: str, threads: int | None = None) -> dict[str, str]:
    """This process's environment, with the repository importable and, for the CPU, no GPU in sight.

    threads: how many a library may compute with; None: as many as it chooses.
    """
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    hidden = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"} if device == "cpu" else {}
    bound = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS") if threads}
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", **hidden, **bound}
