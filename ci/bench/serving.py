"""The serve suite: requests a second and latency of `xpnet serve`, beside FastAPI, uvicorn and ONNX Runtime.

A network is trained on the digits for an epoch and exported, with its normalization and softmax, for the peer. Both
servers have the defaults of their libraries, are processes of their own, and answer the same request: a digit as a PNG
file in, the three most probable classes out; a connection a client, kept open. They take turns: each server answers one
client, then sixteen, for so many seconds, and the others are idle meanwhile. Clients are one process, which reads
sockets by select, so that it takes little of the servers' time.
"""

import json
import subprocess
import sys
import urllib.request
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rows import Results, of_runs
from runner import choose, say
from turns import HERE, ROOT, Worker, WorkerError, environment

from xpnet import data, export_onnx
from xpnet.train import RunConfig, open_run, train_run

MODELS = ("mlp", "cnn")
CLIENTS = (1, 16)
FIGURES = {"rate": ("requests/s", max), "p50": ("ms", min), "p99": ("ms", min)}
PEER = ("fastapi", "uvicorn", "onnxruntime", "onnx")  # packages


def serve(options: Namespace) -> Results:
    """Measure each network; without the peer's packages xpnet alone."""
    results = Results(options.json)
    results.note("Best process; p50 and p99 are latencies, of all requests of a process")
    missing = [name for name in PEER if not find_spec(name)]
    if missing:
        say(f"{', '.join(missing)} not installed: FastAPI is left out")
    for name in choose(options.only, {name: [name] for name in MODELS}):
        with TemporaryDirectory(prefix="xpnet-serve-") as folder:
            commands = prepared(name, Path(folder), not missing)
            found: dict[tuple[str, int], list[dict[str, float]]] = {}
            for _ in range(options.processes):
                for library, clients, figures in turn(commands, Path(folder) / "digit.png", options.seconds):
                    found.setdefault((library, clients), []).append(figures)
                    say(f"{name}, {library}, {clients} clients: {figures['rate']:.0f}/s, p50 {figures['p50']:.2f} ms")
        for (library, clients), each in found.items():
            case = f"{name}, {clients} client{'s' * (clients > 1)}"
            for figure, (unit, best) in FIGURES.items():
                results.add(of_runs("serve", figure, case, library, unit, [run[figure] for run in each], best))
    return results


def prepared(name: str, folder: Path, peer: bool) -> dict[str, list[str]]:
    """Train a network and draw a digit; return the command that serves it, by library."""
    import PIL.Image

    train_run(RunConfig(name, epochs=1), folder / "run")
    pixels = data.load("digits")[1].x[3, :, :, 0]
    PIL.Image.fromarray((pixels * (255 / 16)).round().astype(np.uint8)).save(folder / "digit.png")
    commands = {"xpnet": [sys.executable, "-m", "xpnet", "serve", str(folder / "run"), "--port", "0"]}
    if peer:
        trainer, meta = open_run(folder / "run")
        assert trainer.normalize is not None
        normalize = trainer.normalize.scaled(trainer.scale.white / 255.0)
        file, shape = folder / "model.onnx", tuple(meta["shape"])
        export_onnx(
            trainer.model, file, shape, inputs="nhwc", normalize=normalize, finish="softmax", classes=meta["classes"]
        )
        commands["fastapi"] = [sys.executable, str(HERE / "workers" / "fastapi_server.py"), str(file)]
    return commands


def turn(commands: dict[str, list[str]], image: Path, seconds: float) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Start the servers, see that they answer the same, and measure each; yield library, clients and figures."""
    with ExitStack() as stack:
        urls = {library: stack.enter_context(started(command)) for library, command in commands.items()}
        check_same({library: answer(url, image.read_bytes()) for library, url in urls.items()})
        for clients in CLIENTS:
            for library, url in urls.items():
                asked = {"url": f"{url}/predict", "body": str(image), "clients": clients}
                with Worker("http_load", environment()) as worker:
                    yield library, clients, worker.ask(do="measure", seconds=seconds, **asked)


@contextmanager
def started(command: list[str]) -> Iterator[str]:
    """Start a server, and give its address, the last word that begins with http in its first line."""
    env = {**environment(), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            found = [word for word in line.split() if word.startswith("http://")]
            if not found:
                raise WorkerError(f"{command[2]}: expected an address, got {line!r}")
            yield found[-1]
        finally:
            process.terminate()


def answer(url: str, body: bytes) -> Any:
    """Ask a server once."""
    request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)["predictions"][0]


def check_same(answers: dict[str, Any]) -> None:
    """Raise WorkerError unless all libraries predict the same, to 1e-4."""
    first = next(iter(answers.values()))
    for library, each in answers.items():
        if each["classes"] != first["classes"] or not np.allclose(
            each["probabilities"], first["probabilities"], atol=1e-4
        ):
            raise WorkerError(f"{library}: expected {first}, got {each}")
