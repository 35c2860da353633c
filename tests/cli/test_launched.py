"""Runs in several processes: faults end all with one line, and a run that starts again comes to the same bits."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest

import xpnet as package
from xpnet.train import read_checkpoint

KILLS = 20 if "XPNET_FUZZ" in os.environ else 3  # of ci/test-long
PATIENCE = 120  # seconds until a group that hangs is killed
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
TRAIN = ("train", "softmax", "--epochs", 6, "--batch-size", 200, "--checkpoint-every", "2steps", "--quiet")

pytestmark = [
    pytest.mark.skipif(MPIEXEC is None, reason="mpiexec is not installed: pip install 'xpnet[mpi]'"),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds its processes in /proc"),
]

# Runs the command line in a process in which something goes wrong at a moment of training.
BROKEN = """
import os, pathlib, sys, time
import numpy as np
rank, where, what = int(os.environ["PMI_RANK"]), *sys.argv[1].split("=")
sys.argv = ["xpnet", *sys.argv[2:]]
if rank == int(where):
    if what == "late":
        time.sleep(4)
    from xpnet.train import Callback
    class Broken(Callback):
        def on_step(self, trainer):
            if trainer.epoch == 1:
                if what == "error":
                    raise LookupError("no such thing")
                if what == "exit":
                    sys.exit(3)
                if what == "interrupt":
                    raise KeyboardInterrupt
    if what == "full":
        from xpnet import writing
        class Full:
            def __getattr__(self, name):
                return getattr(os, name)
            def open(self, path, *rest):
                path = pathlib.Path(path)
                full = ".checkpoint.safetensors" in path.name and (path.parent / "checkpoint.safetensors").exists()
                return os.open("/dev/full", os.O_WRONLY) if full and "part" in path.name else os.open(path, *rest)
        writing.os = Full()
    elif what == "data":
        from xpnet.train.runs import training
        load = training.load_parts
        def other(*given):
            parts = load(*given)
            parts.train.y[5] = (parts.train.y[5] + 1) % 10
            return parts
        training.load_parts = other
    else:
        from xpnet.train.runs import training
        real = training.read_callbacks
        training.read_callbacks = lambda given: [*real(given), Broken()]
from xpnet import cli
cli.main()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text(BROKEN)
    return tmp_path


def start(*words: object, stdin: IO[str] | None = None) -> subprocess.Popen[str]:
    root = str(Path(package.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "xpnet", "launch", *map(str, words)]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """The exit code, and what was printed but for warnings; no process of it is left."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert not ranks()
    return process.returncode, out, [x for x in err.splitlines() if not x.startswith("xpnet: warning")]


def ranks() -> list[int]:
    """The processes that mpiexec started in this folder."""
    here, found = os.getcwd(), []
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            is_here = place.name.isdecimal() and os.readlink(place / "cwd") == here
            program = (place / "cmdline").read_bytes().partition(b"\0")[0] if is_here else b""
            if b"python" in program and b"\0XPNET_SUPERVISED=" in b"\0" + (place / "environ").read_bytes():
                found.append(int(place.name))
    return found


def same_bits(one: str, other: str) -> bool:
    a, b = (read_checkpoint(Path(run) / "checkpoint.safetensors") for run in (one, other))
    pairs = (a.model, b.model), (a.optimizer, b.optimizer)
    return all(x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) for k in x) for x, y in pairs)


@pytest.mark.parametrize(
    ("rank", "what", "code", "line"),
    [
        (1, "error", 1, r"xpnet: rank 1: LookupError: no such thing"),
        (0, "error", 1, r"xpnet: rank 0: LookupError: no such thing"),
        (1, "exit", 3, r"xpnet: rank 1: the process exits with code 3 while the others go on"),
        (1, "interrupt", 130, r"xpnet: rank 1: interrupted"),
        (0, "full", 2, r"xpnet: rank 0: run/checkpoint\.safetensors: the file cannot be written: .*space.*"),
        (1, "data", 2, r"xpnet: check_agreement: the processes differ in training data: .* rank 0 and .* rank 1.*"),
    ],
)  # fmt: skip
def test_a_fault_in_one_process_ends_all_with_one_line_and_the_last_checkpoint_is_whole(here, rank, what, code, line):
    began = time.monotonic()
    found, out, err = finish(start("-n", 2, "--", "broken.py", f"{rank}={what}", *TRAIN, "--out", "run"))
    assert time.monotonic() - began < PATIENCE
    assert (found, out) == (code, "")
    assert re.fullmatch(line, err[-1]), err
    assert len(err) == 1 or (what == "error" and err[0].startswith("Traceback"))
    if what != "data":
        assert read_checkpoint("run/checkpoint.safetensors").meta["progress"]["epoch"] >= 1 or what == "full"
    else:
        assert not Path("run").exists()


def test_a_process_that_starts_late_is_waited_for(here):
    code, out, err = finish(start("-n", 2, "--", "broken.py", "1=late", *TRAIN, "--out", "run"))
    assert (code, err) == (0, [])
    assert out.count("\n") == 1


def test_bad_input_and_ctrl_c_are_one_line_of_the_first_process(here):
    assert finish(start("-n", 2, "--restarts", 2, "--", "train", "mpl")) == (
        2, "", ["xpnet: model: expected the name of a model, got model 'mpl'; did you mean 'mlp'?"],
    )  # fmt: skip
    process = start("-n", 2, "--restarts", 2, "--", "train", "mlp", "--epochs", 100_000, "--out", "run", "--quiet")
    try:
        wait_for(lambda: Path("run/metrics.jsonl").exists() and Path("run/metrics.jsonl").stat().st_size, process)
        process.send_signal(signal.SIGINT)
    finally:
        code, out, err = finish(process)
    assert (code, err) == (130, [])
    assert out == "interrupted and saved; continue with: xpnet train --resume run\n"
    assert read_checkpoint("run/checkpoint.safetensors").meta["progress"]["shards"] == 8


def wait_for(condition, process) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_run_whose_processes_are_killed_at_any_moment_ends_with_the_bits_of_an_unbroken_one(here):
    began = time.monotonic()
    assert finish(start("-n", 1, "--", *TRAIN, "--out", "whole"))[0] == 0
    took = time.monotonic() - began
    draw = np.random.default_rng(int(os.environ.get("XPNET_SEED", "0")))
    for k in range(KILLS):
        processes = int(draw.integers(2, 5))
        process = start("-n", processes, "--restarts", 3, "--elastic", "--", *TRAIN, "--out", f"run{k}")
        try:
            wait_for(lambda processes=processes: len(ranks()) == processes, process)
            if k % 3:
                folder = Path(f"run{k}")
                wait_for(lambda folder=folder: (folder / "config.json").exists(), process)
                time.sleep(draw.uniform(0, 0.5 * took / 6))
            else:
                time.sleep(draw.uniform(0, took))
            if alive := ranks():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(draw.choice(alive)), signal.SIGKILL)
        finally:
            code, _, err = finish(process)
        assert code == 0, err
        print(k, processes, err)
        assert len(err) <= 1, err
        assert same_bits(f"run{k}", "whole")
        assert Path(f"run{k}/metrics.jsonl").read_text().count("\n") == 6
        assert {p.name for p in Path(f"run{k}").iterdir()} >= {"checkpoint.safetensors", "config.json", "result.json"}
        assert not [p for p in Path(f"run{k}").iterdir() if p.name.startswith(".")]


def test_a_run_is_evaluated_and_predicted_in_several_processes_as_in_one(here):
    assert finish(start("-n", 2, "--", *TRAIN, "--out", "run"))[0] == 0
    found = [finish(start("-n", n, "--", "evaluate", "run", "--csv", f"{n}.csv")) for n in (1, 3)]
    assert found[0][1].replace("1.csv", "3.csv") == found[1][1]
    assert Path("1.csv").read_bytes() == Path("3.csv").read_bytes()
    np.savez("new.npz", x=np.arange(5 * 64, dtype=np.uint8).reshape(5, 8, 8, 1) % 17)
    found = [finish(start("-n", n, "--", "predict", "run", "new.npz")) for n in (1, 2)]
    assert found[0] == found[1]
    assert found[0][1].count("\n") == 5
    Path("names").write_text("nowhere.png\n")
    with open("names") as names:  # reach all processes
        assert finish(start("-n", 2, "--", "predict", "run", "-", stdin=names)) == (
            2, "", ["xpnet: nowhere.png: no such image"],
        )  # fmt: skip
