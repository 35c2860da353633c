"""The benchmark on the processor: each training step and each forward pass beside its peers', process by process."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import typer
import whole_process
from cpu_report import Row, markdown, results, said, steps
from report import about, compare, cores, cpu_name, write_facts
from turns import BURST_SECONDS, LEAST_BURSTS, Worker, WorkerError, take_turns, worker_environment
from workloads import CASES, LEARNING_RATE, MOMENTUM, PEERS, XPNET, Case, Peer

from xpnet.errors import ConfigError, nearest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROCESS = "process"  # as --only names the whole process
_START = {"xpnet": 1.0, "torch": 4.0, "jax": 3.0, "sklearn": 2.0}  # seconds that a worker takes to import and to open
_FLOPS = 5e10  # a second, with which to guess how long a step takes; JAX is slower still


def check_writable(json: Path | None) -> None:
    """Raise ConfigError where --json names a file that cannot be written."""
    if json is not None and not (json.parent.is_dir() and os.access(json.parent, os.W_OK) and not json.is_dir()):
        raise ConfigError("--json", "a file in a folder that can be written to", json=json)


def check_seconds(seconds: float) -> None:
    """Raise ConfigError where --seconds is no time to measure for."""
    if not 0 < seconds < float("inf"):
        raise ConfigError("--seconds", "a number of seconds above 0", seconds=seconds)


def choose(only: str) -> tuple[list[Case], bool]:
    """List the cases that --only names, and whether the whole process is to be timed; all when it is empty.

    A name is a workload, WORKLOAD-BATCH, WORKLOAD-BATCH-inference, training, inference or process.
    """
    if not only:
        return list(CASES), True
    names, picked = [name.strip() for name in only.split(",")], []
    for name in names:
        found = [case for case in CASES if name in (case.label, case.workload.name, case.task)]
        if not found and name != PROCESS:
            known = [*(case.label for case in CASES), PROCESS, "training", "inference"]
            hint = nearest(name, known if "-" in name else [*{case.workload.name: 0 for case in CASES}, *known[-3:]])
            raise ConfigError("--only", "no such workload", hint, only=repr(name))
        picked += [case for case in found if case not in picked]
    return picked, PROCESS in names


def choose_peers(names: str) -> dict[str, Peer]:
    """List the named peers that are installed, and say which are not."""
    found = {}
    for name in filter(None, (n.strip() for n in names.split(","))):
        if name not in PEERS:
            raise ConfigError("--peers", "no such peer", nearest(name, PEERS), peers=repr(name))
        if importlib.util.find_spec(PEERS[name].package) is None:
            typer.echo(f"{name} is not installed, left out; {PEERS[name].install}", err=True)
        else:
            found[name] = PEERS[name]
    if not found:
        raise ConfigError("--peers", "at least one peer is named and installed", peers=repr(names))
    return found


def ours() -> dict[str, bool]:
    """The ways that xpnet is run, by name, and whether with compiled loops: they need numba installed."""
    compiled = importlib.util.find_spec("numba") is not None
    return {**({"xpnet": True} if compiled else {}), "xpnet-numpy": False}


class Bench:
    """One run of the benchmark on the processor.

    Args:
        peers: to compare with, by name.
        seconds: of bursts for each process of a case.
        json: the file that takes the results, after each case.
        data_dir: where MNIST's files lie; None: XPNET_DATA_DIR.
        repeats: runs of the whole process.
    """

    def __init__(
        self, peers: dict[str, Peer], seconds: float, json: Path | None, data_dir: str | None, repeats: int
    ) -> None:
        self.peers, self.seconds, self.json, self.repeats = peers, seconds, json, repeats
        self.data_dir = data_dir or os.environ.get("XPNET_DATA_DIR")
        self.environment = worker_environment(ROOT, "cpu")
        self.facts = {**about(os.getloadavg()[0]), "process": None}
        self.rows: list[Row] = []

    def run(self, cases: list[Case], process: bool) -> bool:
        """Measure, print and write; False where a part failed."""
        facts, ended = self.facts, True
        load = facts["machine"]["load_before"]
        expected = sum(self.estimate(case) for case in cases) + (self.repeats + 1) * 25.0 * process
        typer.echo(
            f"{cpu_name()}, {cores()} cores, float32, load {load:.1f} before; about {_minutes(expected)}", err=True
        )
        if load > cores() / 2:
            typer.echo(f"the machine is busy, load {load:.1f} on {cores()} cores: trust no wide spread", err=True)
        if facts["threads"] != "default":
            typer.echo(f"every library is held to OMP_NUM_THREADS {facts['threads']}", err=True)
        began, done, whole = time.monotonic(), 0.0, expected
        for i, case in enumerate(cases, 1):
            left = f", {_minutes(whole - (time.monotonic() - began))} left" if done else ""
            typer.echo(f"[{i}/{len(cases)}] {case.label} ...{left}", err=True)
            try:
                rows = list(self.compare(case))
                self.rows += rows
                for group in steps(results(rows)).values():
                    typer.echo(f"{case.label}: {said(group)}", err=True)
            except WorkerError as error:
                typer.echo(f"{case.label}: {error}", err=True)
                ended = False
            done += self.estimate(case)
            whole = expected * max(1.0, (time.monotonic() - began) / done)
            self._keep()
        if process:
            ended = self.process() and ended
        typer.echo(markdown({**facts, **results(self.rows)}))
        return ended

    def estimate(self, case: Case) -> float:
        """Guess the seconds that a case takes."""
        layouts = {name: len(self._layouts(peer, case)) for name, peer in self.peers.items() if peer.runs(case)}
        step = case.batch * _weights_used(case) * (6 if case.task == "training" else 2) / _FLOPS
        turns = max(LEAST_BURSTS, round(self.seconds / BURST_SECONDS)) * 0.08 + self.seconds + 0.5
        each = turns if step < self.seconds / LEAST_BURSTS else max(turns, 2 * 8 * step)
        starts = sum(_START[name] * n for name, n in {**layouts, "xpnet": len(ours()) + 1}.items())
        return starts + (sum(layouts.values()) + len(ours())) * (each + 4 * step)

    def compare(self, case: Case) -> Iterator[Row]:
        """Time one case, and yield a row for each way of xpnet's and each peer that can run it.

        Raises:
            WorkerError: xpnet fails, or a peer builds another model; a peer that fails to start is left out.
        """
        workload = case.workload
        request = {"layers": workload.layers, "sample": workload.sample, "classes": workload.classes}
        request |= {"batch": case.batch, "task": case.task, "device": "cpu", "lr": LEARNING_RATE, "momentum": MOMENTUM}
        with closing(Worker(HERE / "workers" / XPNET.worker, self.environment)) as first:
            first.ask(do="open", layout="", mode=XPNET.mode, **request)  # whoever comes later finds loops compiled
        wanted = [(name, XPNET, "", {"fast": fast}) for name, fast in ours().items()]
        for name, peer in self.peers.items():
            if peer.runs(case):
                wanted += [(name, peer, layout, {}) for layout in self._layouts(peer, case)]
        with ExitStack() as stack:
            workers: dict[tuple[str, str], Worker] = {}
            how: dict[str, str] = {}
            count, missing = 0, set()
            for name, peer, layout, options in wanted:
                if name in missing:
                    continue
                worker = Worker(HERE / "workers" / peer.worker, self.environment)
                stack.callback(worker.close)
                try:
                    opened = worker.ask(do="open", layout=layout, mode=peer.mode, **request, **options)
                except WorkerError as error:
                    if peer is XPNET:
                        raise
                    typer.echo(f"{case.label}: {name} is left out; {error}", err=True)
                    missing.add(name)
                    continue
                self.facts["versions"][peer.package] = opened["version"]
                count = count or opened["parameters"]
                if opened["parameters"] != count:
                    raise WorkerError(f"all have {count} parameters, got {name} {opened['parameters']}")
                workers[name, layout], how[name] = worker, opened["how"]
            times = take_turns({" ".join(key): w for key, w in workers.items()}, self.seconds)
            bursts = {key: times[" ".join(key)] for key in workers}
            peaks = {key: w.ask(do="memory")["peak_mb"] for key, w in workers.items()}
        for mine, fast in ours().items():
            for name in self.peers:
                rivals = {key: compare(bursts[mine, ""], bursts[key]) for key in bursts if key[0] == name}
                if not rivals:
                    continue
                best = min(rivals, key=lambda key: rivals[key]["peer_ms"])
                yield Row(
                    *case.key,
                    fast=fast,
                    xpnet_how=how[mine],
                    peer=name,
                    peer_layout=best[1],
                    xpnet_peak_mb=peaks[mine, ""],
                    peer_peak_mb=peaks[best],
                    xpnet_bursts_ms=bursts[mine, ""],
                    peer_bursts_ms=bursts[best],
                    **rivals[best],
                )

    def process(self) -> bool:
        """Time the whole process; False where it failed. Without MNIST's files it is left out, and said so."""
        folder = whole_process.mnist_folder(self.data_dir)
        if folder is None:
            typer.echo(f"process: left out, no files of MNIST in {self.data_dir}; give --data-dir", err=True)
            return True
        names = [*ours(), *(["torch"] if "torch" in self.peers else [])]
        typer.echo(f"from python to LeNet-5 at {whole_process.RECIPE['accuracy']:.0%} on MNIST ...", err=True)
        try:
            found = whole_process.measure(
                folder, names, self.repeats, self.environment, lambda line: typer.echo(line, err=True)
            )
        except WorkerError as error:
            typer.echo(f"process: {error}", err=True)
            return False
        self.facts["process"] = found
        self._keep()
        return True

    def _layouts(self, peer: Peer, case: Case) -> tuple[str, ...]:
        """The layouts that make a difference: images have two, vectors one, which has no name."""
        return ("",) if case.workload.dense else peer.layouts

    def _keep(self) -> None:
        if self.json is not None:
            write_facts(self.json, {**self.facts, **results(self.rows)})


def _weights_used(case: Case) -> float:
    """Multiply-adds of an example, roughly: AlexNet's are known, the others' hardly count."""
    return 7e8 if case.workload.name == "alexnet" else 4e6


def _minutes(seconds: float) -> str:
    return f"{max(seconds, 0.0) / 60:.1f} minutes"
