"""The benchmark on a GPU: what the device can do at best, then each training step beside PyTorch's, then op by op."""

from __future__ import annotations

import importlib.util
import platform
import re
import time
from contextlib import ExitStack, closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import floors
import typer
from gpu_report import ceilings_line, learned, markdown, result, title, verdicts
from gpu_workloads import GPU_PEERS, GPU_TIMINGS, GPU_WORKLOADS, GPU_XPNET, Timing
from report import write_facts
from turns import REPLY_SECONDS, Worker, WorkerError, take_turns, worker_environment
from workloads import LEARNING_RATE, MOMENTUM

from xpnet.backend import get_backend
from xpnet.errors import ConfigError, DeviceError, nearest

HERE = Path(__file__).resolve().parent
PACKAGES = {"cupy": "cupy-cuda13x", "torch": "torch", "array_api_compat": "array-api-compat"}  # what must import
COMPILING = 100.0  # seconds that must be left where a model is to be compiled, which takes up to so long


def missing(device: str) -> str:
    """Why nothing can be measured on a device; empty where it can."""
    needed = PACKAGES if device.startswith("cuda") else {"torch": "torch"}
    absent = [name for package, name in needed.items() if importlib.util.find_spec(package) is None]
    if absent:
        return f"gpu: needs {' and '.join(absent)}, not installed here; pip install {' '.join(absent)}"
    try:
        get_backend(device)
    except DeviceError as error:
        return f"gpu: {error}"
    return ""


def choose_timings(only: str) -> list[Timing]:
    """List the timings that --only names, by label or workload; all of them when it is empty."""
    if not only:
        return list(GPU_TIMINGS)
    picked: list[Timing] = []
    for name in (part.strip() for part in only.split(",")):
        found = [t for t in GPU_TIMINGS if name in (t.label, t.name, f"{t.name}-{t.batch}")]
        if not found:
            raise ConfigError(
                "--only", "no such workload", nearest(name, [t.label for t in GPU_TIMINGS]), only=repr(name)
            )
        picked += [t for t in found if t not in picked]
    return picked


def choose_peers(names: str) -> list[str]:
    """List the named peers."""
    found = [name.strip() for name in names.split(",") if name.strip()]
    for name in found:
        if name not in GPU_PEERS:
            raise ConfigError("--peers", "no such peer", nearest(name, GPU_PEERS), peers=repr(name))
    return found


def results_file(device: str) -> Path:
    """Where the results of a device are kept, by its name, such as gpu-nvidia-h100-80gb-hbm3.json."""
    return HERE / "results" / f"gpu-{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}.json"


class Bench:
    """One run of the benchmark.

    Args:
        device: "cuda" or "cuda:N"; "cpu" runs the same code where there is no GPU, and says nothing of one.
        peers: names of GPU_PEERS.
        seconds: of bursts for each process of a workload.
        minutes: after so many nothing new is begun.
        json: where the results go, written anew after each part; None: by the device's name.
        data_dir: the folder of MNIST's files; None: XPNET_DATA_DIR.
    """

    def __init__(
        self, device: str, peers: list[str], seconds: float, minutes: float, json: Path | None, data_dir: str | None
    ) -> None:
        self.device, self.peers, self.seconds, self.json, self.data_dir = device, peers, seconds, json, data_dir
        self.deadline = time.monotonic() + 60 * minutes
        self.failed = False
        self.environment = worker_environment(HERE.parents[1], device)
        self.facts: dict[str, Any] = {
            "machine": {"system": f"{platform.system()} {platform.machine()}"},
            "versions": {"python": platform.python_version(), **_versions(device)},
            "ceilings": {},
            "results": [],
            "turns": [],
            "ops": [],
            "mnist": None,
        }

    def left(self) -> float:
        """Seconds until nothing new is begun."""
        return self.deadline - time.monotonic()

    def run(self, timings: list[Timing], *, ops: bool = True, mnist: bool = True) -> bool:
        """Measure, print and write; False where a part failed."""
        precisions = sorted({"fp32", *(t.precision for t in timings)})
        try:
            self.facts["ceilings"] = self._ask("ceilings.py", do="measure", precisions=precisions)
        except WorkerError as error:
            typer.echo(f"what the device can do: {error}", err=True)
            return False
        typer.echo(ceilings_line(self.facts["ceilings"]))
        if mnist:
            self._learn()
        for timing in timings:
            self._part(timing.label, self._time, timing)
        for timing in timings if ops else ():
            self._part(f"{timing.label}, op by op", self._ops, timing)
        typer.echo("\n" + markdown(self.facts))
        return not self.failed

    def _part(self, label: str, work: Any, timing: Timing) -> None:
        """Do one part, unless the time is up; one that fails is said, and the next goes on."""
        if self.left() < 0:
            typer.echo(f"{label}: left out, the time is up", err=True)
            return
        typer.echo(f"{label} ...", err=True)
        try:
            work(timing)
        except WorkerError as error:
            typer.echo(f"{label}: {error}", err=True)
            self.failed = True
        except Exception as error:  # whatever it is, the other parts go on
            typer.echo(f"{label}: {type(error).__name__}: {error}", err=True)
            self.failed = True
        self._keep()

    def _keep(self) -> None:
        write_facts(self.json or results_file(self.facts["ceilings"]["device"]), self.facts)

    def _worker(self, script: str, patience: float = REPLY_SECONDS) -> Worker:
        """Start a worker, and wait for each of its answers hardly longer than there is time."""
        return Worker(HERE / "workers" / script, self.environment, max(30.0, min(patience, self.left() + 30)))

    def _request(self, timing: Timing) -> dict[str, Any]:
        workload = GPU_WORKLOADS[timing.name]
        request = {"layers": workload.layers, "sample": workload.sample, "classes": workload.classes}
        request |= {"batch": timing.batch, "precision": timing.precision, "cudnn": timing.cudnn}
        return request | {"device": self.device, "lr": LEARNING_RATE, "momentum": MOMENTUM}

    def _ask(self, script: str, patience: float = REPLY_SECONDS, **request: Any) -> dict[str, Any]:
        with closing(self._worker(script, patience)) as worker:
            return worker.ask(**{"device": self.device, **request})

    def _time(self, timing: Timing) -> None:
        """Time a training step of xpnet and of its peers, in turn, and say what it was to reach."""
        wanted = {"xpnet": GPU_XPNET, **{name: GPU_PEERS[name] for name in self.peers}}
        if self.left() < COMPILING and wanted.pop("torch-compiled", None):
            typer.echo(f"{timing.label}: torch-compiled is left out, too little time is left to compile", err=True)
        request, opened = self._request(timing), {}
        with ExitStack() as stack:
            started = {}  # all at once, for they import for seconds
            for name, peer in wanted.items():
                started[name] = self._worker(peer.worker)
                stack.callback(started[name].close)
            for name, worker in started.items():
                peer = wanted[name]
                try:
                    said = worker.ask(do="open", layout=peer.layouts[0], mode=peer.mode, **request)
                except WorkerError as error:
                    if name == "xpnet":
                        raise
                    typer.echo(f"{timing.label}: {name} is left out; {error}", err=True)
                    worker.close()
                    continue
                count = opened.setdefault("parameters", said["parameters"])
                if said["parameters"] != count:
                    raise WorkerError(f"all have {count} parameters, got {name} {said['parameters']}")
                self.facts["versions"][peer.package] = said["version"]
                opened[name] = worker
            workers = {name: worker for name, worker in opened.items() if name != "parameters"}
            bursts = take_turns(workers, self.seconds)
            peaks = {name: worker.ask(do="memory")["peak_mb"] for name, worker in workers.items()}
        row = result(timing, bursts, peaks)
        self.facts["results"].append(row)
        self.facts["turns"].append({**timing._asdict(), "bursts_ms": bursts})
        typer.echo(f"{title(row)}, {timing.precision}: {row['xpnet_ms']:.4f} ms, {'; '.join(verdicts(row))}")

    def _ops(self, timing: Timing) -> None:
        """Time a workload op by op, beside each op's floor."""
        ops = self._ask("xpnet_ops.py", do="measure", **self._request(timing))["ops"]
        found = floors.with_floors(ops, timing.precision, self.facts["ceilings"])
        self.facts["ops"].append({**timing._asdict(), "ops": found})
        typer.echo("\n".join(["", timing.label, *floors.lines(found)]))

    def _learn(self) -> None:
        """Let LeNet-5 learn MNIST against the clock, where its files are."""
        typer.echo("LeNet-5 on MNIST ...", err=True)
        try:
            asked = {"do": "learn", "data_dir": self.data_dir, "seeds": 3, "precision": "fp32"}
            said = self._ask("xpnet_mnist.py", 100.0, **asked)
        except WorkerError as error:
            typer.echo(f"LeNet-5 on MNIST is left out; {error}", err=True)
            return
        self.facts["mnist"] = {**said, "precision": "fp32"}
        typer.echo(learned(self.facts["mnist"]))
        self._keep()


def _versions(device: str) -> dict[str, str]:
    """The versions of what xpnet stands on, for a GPU with cuDNN's frontend, "absent" where it is."""
    names = ["numpy"]
    if device.startswith("cuda"):
        names += [f"cupy-cuda{n}x" for n in (13, 12) if _version(f"cupy-cuda{n}x")] + ["nvidia-cudnn-frontend"]
    return {name: _version(name) or "absent" for name in names}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
