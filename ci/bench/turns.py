"""Taking turns: worker processes that stay alive, and run a burst of steps when asked.

One JSON object a line each way. Requests, and their answers:

    {"do": "open", "layers", "sample", "classes", "batch", "task", "device", "lr", "momentum", ...}
                                         -> {"parameters", "loss"}
    {"do": "burst", "seconds": S}        -> {"ms", "loss"}      milliseconds a step, over about S seconds
    {"do": "memory"}                     -> {"peak_mb"}

A request that fails is answered by {"error": one line}. A worker answers when its threads are idle (those of OpenBLAS
spin for up to 100 ms after their last task), and then waits for the next request.
"""

import contextlib
import json
import math
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REPLY_SECONDS = 300.0  # a first step may compile
SHORT, LONG = 0.075, 1.0  # seconds of a turn
FEWEST = 3  # short turns of a process, however slow the steps


class WorkerError(Exception):
    """A worker that failed; the message is one line."""


class Worker:
    """A worker script in a process of its own; its log goes to this process's standard error.

    Args:
        module: of ci/bench/workers.
        environment: its whole environment.
        patience: seconds to wait for an answer.
        processes: more than 1: so many, started by mpiexec.
    """

    def __init__(
        self, module: str, environment: dict[str, str], patience: float = REPLY_SECONDS, processes: int = 1
    ) -> None:
        self.name, self.patience = module, patience
        command = [sys.executable, str(HERE / "workers" / "serve.py"), module]
        if processes > 1:
            mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
            command = [mpiexec or "mpiexec", "-n", str(processes), *command, "mpi"]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer; WorkerError where it fails, ends, or does not answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin
        assert stdout
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        if not select.select([stdout], [], [], self.patience)[0]:
            raise WorkerError(f"{self.name}: no answer in {self.patience:.0f} s")
        line = stdout.readline()
        reply: dict[str, Any] = json.loads(line) if line else {"error": f"ended with code {self._process.wait()}"}
        if "error" in reply:
            raise WorkerError(f"{self.name}: {reply['error']}")
        if not math.isfinite(reply.get("loss", 0.0)):
            raise WorkerError(f"{self.name}: expected a finite loss, got {reply['loss']}")
        return reply

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def take_turns(workers: Mapping[str, Any], seconds: float, within: float = 20.0) -> dict[str, dict[str, list[float]]]:
    """Warm every worker up, then let each run a burst in turn (A B C, A B C, ...).

    Args:
        workers: opened workers by name.
        seconds: of the short turns of a worker, > 0; one long turn for each 0.75 s of them.
        within: seconds that the short turns of all may take; where steps are slow there are fewer turns.
    Returns:
        For each worker {"short", "long"}: milliseconds a step of each turn.
    """
    slowest = 0.0
    for worker in workers.values():
        worker.ask(do="burst", seconds=0.1)
        slowest += worker.ask(do="burst", seconds=0.4)["ms"] / 1e3
    count = min(max(1, round(seconds / SHORT)), max(FEWEST, int(within / (2 * slowest))))  # an untimed step before each
    turns: dict[str, dict[str, list[float]]] = {name: {"short": [], "long": []} for name in workers}
    for kind, length, times in (("short", SHORT, count), ("long", LONG, max(1, round(seconds / 0.75)))):
        for _ in range(times):
            for name, worker in workers.items():
                turns[name][kind].append(worker.ask(do="burst", seconds=length)["ms"])
    return turns


def environment(device: str = "cpu", threads: int = 0, root: Path = ROOT) -> dict[str, str]:
    """This process's environment, with a checkout of xpnet importable and, for the CPU, no GPU visible.

    threads: how many a library may compute with; 0: as many as it chooses.
    """
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    hidden = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"} if device == "cpu" else {}
    bound = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS") if threads}
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", **hidden, **bound}
