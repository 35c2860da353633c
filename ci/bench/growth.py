"""How the cost of a training step grows with the batch, on one core and on more, beside PyTorch and the GEMM floor.

    floor = FLOPs of the step's products and convolutions / FLOPs a second of a large product, measured in the same run

A series (a model on a number of cores) goes up by doubling the batch, and ends where the next point would take longer
than it may, or more memory than there is; the file says where, and why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import typer
from report import about, compare, cores, write_facts
from turns import Worker, WorkerError, take_turns, worker_environment
from workloads import LEARNING_RATE, MOMENTUM, PEERS, WORKLOADS, XPNET, Workload

from xpnet import models, nn
from xpnet.errors import ConfigError, nearest
from xpnet.viz import summarize

HERE = Path(__file__).resolve().parent
NAMES = ("lenet5", "alexnet")
FEWEST, WITHIN = 3, 20.0  # rounds of turns, and the seconds they should take
STEPS = 4 + 2 * FEWEST  # that a worker runs at the least: to open, to warm up, untimed and timed


def choose(only: str) -> list[str]:
    """List the models that --only names; all when it is empty."""
    names = [name.strip() for name in only.split(",")] if only else list(NAMES)
    for name in names:
        if name not in NAMES:
            raise ConfigError("--only", "no such model", nearest(name, NAMES), only=repr(name))
    return list(dict.fromkeys(names))


def flops(name: str) -> int:
    """The operations of a training step that are products, for one example: forward, and back to weights and inputs."""
    model = models.build(name)
    learned = {path for path, layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    layers = summarize(model, WORKLOADS[name].sample, 1).layers
    return sum(row.flops_forward + row.flops_backward for row in layers if row.name in learned)


class Growth:
    """One run of it.

    Args:
        names: of models.
        most: the largest batch.
        seconds: of bursts for each process of a point.
        limit: seconds that a point may take; a series ends before a longer one.
        json: the file that takes the results, after each point.
    """

    def __init__(self, names: list[str], most: int, seconds: float, limit: float, json: Path | None) -> None:
        self.names, self.seconds, self.limit, self.json = names, seconds, limit, json
        self.batches = [2**i for i in range(most.bit_length())]
        self.facts: dict[str, Any] = {**about(os.getloadavg()[0]), "gemm_gflop_s": {}, "growth": [], "ended": []}

    def run(self) -> bool:
        """Measure and write; False where a series failed."""
        fine = True
        for threads in range(1, cores() + 1):
            environment = worker_environment(HERE.parents[1], "cpu", threads)
            with closing(Worker(HERE / "workers" / "gemm.py", environment)) as worker:
                rate = worker.ask(do="measure")["gflop_s"]
            self.facts["gemm_gflop_s"][str(threads)] = rate
            typer.echo(f"{_cores(threads)}: products of {rate:.0f} GFLOP/s", err=True)
            for name in self.names:
                try:
                    for row in self._series(name, threads, environment):
                        self.facts["growth"].append(row)
                        self._keep()
                except WorkerError as error:
                    typer.echo(f"{name}, {_cores(threads)}: {error}", err=True)
                    fine = False
        self._keep()
        return fine

    def _series(self, name: str, threads: int, environment: dict[str, str]) -> Iterator[dict[str, Any]]:
        workload, took, held = WORKLOADS[name], 0.0, 0.0
        for batch in self.batches:
            why = ""
            if 2 * took > self.limit:
                why = f"it would take about {2 * took:.0f} s"
            elif 2 * held > (free := available_mb()):
                why = f"it may need {2 * held:.0f} MB, and {free:.0f} are free"
            if why:
                line = f"{name}, {_cores(threads)}: ends before batch {batch}, for {why}"
                self.facts["ended"].append(line)
                typer.echo(line, err=True)
                return
            typer.echo(f"{name}, batch {batch}, {_cores(threads)} ...", err=True)
            row, slowest = self._point(workload, batch, threads, environment)
            took = slowest * STEPS  # what must be done; what is left of the time goes to more rounds
            held = row["xpnet_peak_mb"] + row["peer_peak_mb"] * row.pop("processes")
            typer.echo(
                f"  {row['xpnet_ms']:.2f} ms, PyTorch {row['peer_ms']:.2f}, floor {row['floor_ms']:.2f}", err=True
            )
            yield row

    def _point(
        self, workload: Workload, batch: int, threads: int, environment: dict[str, str]
    ) -> tuple[dict[str, Any], float]:
        """Time one batch size: the row, and the seconds that a step of every process takes together."""
        request = {"layers": workload.layers, "sample": workload.sample, "classes": workload.classes, "batch": batch}
        request |= {"device": "cpu", "lr": LEARNING_RATE, "momentum": MOMENTUM}
        with ExitStack() as stack:
            workers = {}
            for peer, layout in [(XPNET, ""), *((PEERS["torch"], layout) for layout in PEERS["torch"].layouts)]:
                worker = workers[layout] = Worker(HERE / "workers" / peer.worker, environment)
                stack.callback(worker.close)
                said = worker.ask(do="open", layout=layout, mode=peer.mode, **request)
                self.facts["versions"][peer.package] = said["version"]
            bursts = take_turns(workers, self.seconds, FEWEST, WITHIN)
            peaks = {layout: worker.ask(do="memory")["peak_mb"] for layout, worker in workers.items()}
        found = {layout: compare(bursts[""], bursts[layout]) for layout in bursts if layout}
        best = min(found, key=lambda layout: found[layout]["peer_ms"])
        rate = self.facts["gemm_gflop_s"][str(threads)]
        row = {"name": workload.name, "batch": batch, "cores": threads, "peer": "torch", "peer_layout": best}
        row |= {"floor_ms": flops(workload.name) * batch / rate / 1e6, **found[best]}
        row |= {"xpnet_peak_mb": peaks[""], "peer_peak_mb": peaks[best], "processes": len(found)}
        return row, sum(max(times) for times in bursts.values()) / 1e3

    def _keep(self) -> None:
        if self.json is not None:
            write_facts(self.json, self.facts)


def available_mb() -> float:
    """Memory that is free or can be made so, in MB; without bound where the system does not tell."""
    try:
        return int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) / 2**10
    except (OSError, IndexError):
        return float("inf")


def _cores(threads: int) -> str:
    return f"{threads} core{'s' * (threads > 1)}"
