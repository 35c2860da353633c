"""From `python` to LeNet-5 at an accuracy on MNIST: the whole process, imports and files included, beside PyTorch's.

Each script (workers/xpnet_process.py, workers/torch_process.py) reads MNIST's files, trains LeNet-5 with the same
batch, rate and spread of first weights, looks at the whole test set every so many steps, and ends at the first look
that reaches the accuracy. The time is the wall clock's from the start of the process to its end. The scripts take
turns; seeds differ from turn to turn, for a seed decides how many steps it takes. A first run of each is not counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from turns import WorkerError
from workloads import NUMPY_SHARE, PROCESS_TARGET

RECIPE = {"batch": 64, "lr": 0.02, "momentum": 0.9, "every": 100, "accuracy": 0.98, "steps": 5000}
SCRIPTS = {
    "xpnet": ("xpnet_process.py", {"fast": True}),
    "xpnet-numpy": ("xpnet_process.py", {"fast": False}),
    "torch": ("torch_process.py", {}),
}
PATIENCE = 600.0  # seconds a process may take
_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_TITLES = {"xpnet": "xpnet", "xpnet-numpy": "xpnet, NumPy alone", "torch": "PyTorch"}


def mnist_folder(data_dir: str | None) -> Path | None:
    """The folder of a data folder where MNIST's four files lie, gzipped or not; None where they do not."""
    root = Path(data_dir or "").expanduser()
    for folder in (root, root / "mnist") if data_dir else ():
        if all((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in _FILES):
            return folder
    return None


def measure(
    folder: Path, names: Iterable[str], repeats: int, environment: dict[str, str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Run each script once uncounted, then some times in turn.

    Args:
        folder: where MNIST's files lie.
        names: of SCRIPTS.
        repeats: >= 1.
        say: told of each run as it ends.
    Returns:
        {"recipe", "runs": [{"name", "seed", "seconds", "steps", "accuracy", "peak_mb"}]}.
    Raises:
        WorkerError: a script fails, or does not reach the accuracy.
    """
    names, runs = list(names), []
    for seed in range(-1, repeats):
        for name in names if seed % 2 else names[::-1]:
            run = {"name": name, "seed": max(seed, 0), **_run(name, folder, max(seed, 0), environment)}
            counted = "" if seed >= 0 else ", not counted"
            say(f"{name}: {run['seconds']:.2f} s, {run['steps']} steps, {run['accuracy']:.2%}{counted}")
            if seed >= 0:
                runs.append(run)
    return {"recipe": RECIPE, "runs": runs}


def _run(name: str, folder: Path, seed: int, environment: dict[str, str]) -> dict[str, Any]:
    script, options = SCRIPTS[name]
    request = {"folder": str(folder), "seed": seed, **RECIPE, **options}
    command = [sys.executable, str(Path(__file__).parent / "workers" / script), json.dumps(request)]
    began = perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise WorkerError(f"{name}: not done in {PATIENCE:.0f} s") from None
    seconds = perf_counter() - began
    lines = (done.stderr.strip() or "nothing said").splitlines()
    if done.returncode:
        raise WorkerError(f"{name}: ended with code {done.returncode}, {lines[-1]}")
    said = json.loads(done.stdout.splitlines()[-1])
    if said["accuracy"] < RECIPE["accuracy"]:
        raise WorkerError(f"{name}: {RECIPE['accuracy']:.0%} is not reached in {said['steps']} steps, {said}")
    return {"seconds": seconds, **said}


def ratio(facts: dict[str, Any], name: str) -> float | None:
    """The median over turns of PyTorch's time / xpnet's; None where one of them did not run."""
    ours, theirs = ([run["seconds"] for run in facts["runs"] if run["name"] == who] for who in (name, "torch"))
    return median(t / o for o, t in zip(ours, theirs, strict=True)) if ours and theirs else None


def markdown(facts: dict[str, Any]) -> str:
    """Make the README's table of it: a line a script, medians over its runs."""
    recipe = facts["recipe"]
    heads = [
        f"from `python` to LeNet-5 at {recipe['accuracy']:.0%} on MNIST",
        "seconds",
        "steps",
        "PyTorch's time / it",
    ]
    heads += ["to reach", "peak memory"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    peaks = {name: _median(facts, name, "peak_mb") for name in _TITLES}
    for name, peak in peaks.items():
        if not peak:
            continue
        title = _TITLES[name]
        cells = [title, f"{_median(facts, name, 'seconds'):.2f}", f"{_median(facts, name, 'steps'):.0f}", "", ""]
        found = ratio(facts, name) if name != "torch" else None
        if found is not None:
            target = PROCESS_TARGET * (1 if name == "xpnet" else NUMPY_SHARE)
            cells[3:] = [f"{found:.2f}x", f"{target:.3g}x, {'met' if found >= target else '**missed**'}"]
        over = 0 < peaks["torch"] < peak
        lines.append("| " + " | ".join([*cells, f"{peak:.0f} MB{', **missed**' if over else ''}"]) + " |")
    return "\n".join(lines)


def _median(facts: dict[str, Any], name: str, key: str) -> float:
    """Of a script's runs; 0 where it did not run."""
    return median([run[key] for run in facts["runs"] if run["name"] == name] or [0])
