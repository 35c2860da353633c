"""Runs in several processes: faults end all with one line, and a run that starts again comes to the same bits.

A start takes seconds, so each shows several things: the faults of one run follow each other over its restarts.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import pytest

import xpnet as package
from xpnet.output import counted
from xpnet.train import read_checkpoint

RUNS = 10 if "XPNET_FUZZ" in os.environ else 1  # that are killed, twice each; of ci/test-long
PATIENCE = 240  # seconds until a command that hangs is killed
BOUND = 30  # seconds from a fault to the end of all, promised within 10; more where other programs share the cores
EPOCHS = 100  # of a run that is killed: a kill falls into the first 40
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
TRAIN = ("train", "softmax", "--data", "tiny.npz", "--batch-size", "16", "--checkpoint-every", "2steps", "--quiet")
FILES = {"checkpoint.safetensors", "config.json", "metrics.jsonl", "result.json"}

pytestmark = [
    pytest.mark.skipif(MPIEXEC is None, reason="mpiexec is not installed: pip install 'xpnet[mpi]'"),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds its processes in /proc"),
]

# Runs the command line in a process in which something goes wrong: "rank=what", one for each start of the group.
BROKEN = """
import os, pathlib, sys, time
rank, start = int(os.environ["PMI_RANK"]), int(os.environ["XPNET_RESTART"])
where, what = sys.argv[1].split(",")[start].split("=")
sys.argv = ["xpnet", *sys.argv[2:]]
if rank == 0:
    pathlib.Path(f"began-{start}").write_text(str(time.monotonic()))
def failing():
    pathlib.Path(f"failed-{start}").write_text(str(time.monotonic()))
if rank == int(where):
    if what == "late":
        time.sleep(4)
    from xpnet.train import Callback
    class Broken(Callback):
        def on_step(self, trainer):
            if trainer.epoch >= 1 and what != "late":
                failing()
                if what == "error":
                    raise LookupError("no such thing")
                if what == "exit":
                    sys.exit(3)
                raise KeyboardInterrupt
    from xpnet.train.runs import training
    if what == "full":
        from xpnet import writing
        class Full:
            def __getattr__(self, name):
                return getattr(os, name)
            def open(self, path, *rest):
                path = pathlib.Path(path)
                full = ".checkpoint.safetensors" in path.name and (path.parent / "checkpoint.safetensors").exists()
                if not full or "part" not in path.name:
                    return os.open(path, *rest)
                failing()
                return os.open("/dev/full", os.O_WRONLY)
        writing.os = Full()
    elif what == "data":
        load = training.load_parts
        def other(*given):
            parts = load(*given)
            parts.train.y[5] = (parts.train.y[5] + 1) % 3
            failing()
            return parts
        training.load_parts = other
    else:
        real = training.read_callbacks
        training.read_callbacks = lambda given: [*real(given), Broken()]
from xpnet import cli
cli.main()
"""

# Runs two commands in the same processes.
BOTH = """
import contextlib, sys
from xpnet import cli
for words in (["evaluate", "run", "--csv", sys.argv[1]], ["predict", "run", "new.npz"]):
    sys.argv = ["xpnet", *words]
    with contextlib.suppress(SystemExit):
        cli.main()
"""


@pytest.fixture(autouse=True)
def run_in(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny set. Runs draw no curves and no report, which would take most of the time."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (here.parent / "site").mkdir()
    (here.parent / "site" / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n")
    (here / "broken.py").write_text(BROKEN)
    (here / "both.py").write_text(BOTH)
    draw = np.random.default_rng(0)
    np.savez("tiny.npz", x=draw.integers(0, 17, (48, 4, 4, 1)).astype(np.uint8), y=np.arange(48) % 3)
    return here


def start(*words: object, stdin: IO[str] | None = None) -> subprocess.Popen[str]:
    paths = Path.cwd().parent / "site", Path(package.__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "xpnet", "launch", *map(str, words)]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """The exit code, and what was printed but for warnings; no process of it is left."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert not group("")
    return process.returncode, out, [x for x in err.splitlines() if not x.startswith("xpnet: warning")]


def group(program: str) -> dict[int, int]:
    """The processes in this folder that xpnet launch started, and of how many each is one; 0: it is mpiexec's own."""
    here, found = os.getcwd(), {}
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if place.name.isdecimal() and os.readlink(place / "cwd") == here:
                environ = b"\0" + (place / "environ").read_bytes()
                first = (place / "cmdline").read_bytes().partition(b"\0")[0].decode()
                if program in first and b"\0XPNET_SUPERVISED=" in environ:
                    size = re.search(rb"\0PMI_SIZE=(\d+)", environ)
                    found[int(place.name)] = int(size[1]) if size else 0
    return found


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def lines(run: str) -> list[str]:
    """The epochs of a run so far."""
    path = Path(run) / "metrics.jsonl"
    return [x for x in path.read_text().splitlines(True) if x.endswith("\n")] if path.exists() else []


def figures(run: str) -> list[tuple[int, float]]:
    return [(record["epoch"], record["train_loss"]) for record in map(json.loads, lines(run))]


def same_bits(one: str, other: str) -> bool:
    a, b = (read_checkpoint(Path(run) / "checkpoint.safetensors") for run in (one, other))
    pairs = (a.model, b.model), (a.optimizer, b.optimizer)
    return all(x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) for k in x) for x, y in pairs)


def took(restart: int, end: float) -> None:
    """All ended within the bound after a fault."""
    seconds = end - float(Path(f"failed-{restart}").read_text())
    print(f"start {restart}: all had ended after {seconds:.1f} s")
    assert 0 < seconds < BOUND


def test_a_fault_in_one_process_ends_all_with_one_line_and_the_run_goes_on_where_it_was(xpnet):
    options = (*TRAIN, "--epochs", 6)
    assert xpnet(*options, shards=8, out="whole").code == 0
    faults = "1=error,0=error,1=exit,1=interrupt,1=late"  # the last is waited for
    code, out, err = finish(start("-n", 2, "--restarts", 4, "--", "broken.py", faults, *options, "--out", "run"))
    assert (code, out.count("\n")) == (0, 1), err
    said = [
        (1, r"rank 1: LookupError: no such thing"),
        (1, r"rank 0: LookupError: no such thing"),
        (3, r"rank 1: the process exits with code 3 while the others go on"),
        (130, r"rank 1: interrupted"),
    ]
    place = re.escape(str(Path("run").absolute()))
    expected = [
        rf"xpnet: {line}\nxpnet: launch: (a process|process \d) ended( all)? with exit code {code}: "
        rf"restart {i} of 4, 2 processes, from {place}"
        for i, (code, line) in enumerate(said, 1)
    ]
    assert re.fullmatch("\n".join(expected), "\n".join(x for x in err if x.startswith("xpnet: "))), err
    assert sum(x.startswith("Traceback") for x in err) == 2, "of LookupError alone"
    for restart in range(4):
        took(restart, float(Path(f"began-{restart + 1}").read_text()))
    assert same_bits("run", "whole")
    assert figures("run") == figures("whole")


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("0=full", r"xpnet: rank 0: run/checkpoint\.safetensors: the file cannot be written: .*space.*"),
        ("1=data", r"xpnet: check_agreement: the processes differ in training data: .* rank 0 and .* rank 1.*"),
    ],
    ids=["full", "data"],
)
def test_what_a_user_must_mend_ends_all_with_one_line_and_is_not_started_again(fault, line):
    words = ("-n", 2, "--restarts", 2, "--", "broken.py", fault, *TRAIN, "--epochs", 6, "--out", "run")
    code, out, err = finish(start(*words))
    took(0, time.monotonic())
    assert (code, out, len(err)) == (2, "", 1), err
    assert re.fullmatch(line, err[0])
    if "full" in fault:
        read_checkpoint("run/checkpoint.safetensors")
    else:
        assert not Path("run").exists()


def test_ctrl_c_saves_in_all_processes_and_is_one_line_of_the_first():
    process = start("-n", 2, "--restarts", 2, "--", *TRAIN, "--epochs", 1_000_000, "--out", "run")
    try:
        wait_for(lambda: lines("run"), process)
        process.send_signal(signal.SIGINT)
    finally:
        code, out, err = finish(process)
    assert (code, err) == (130, [])
    assert out == "interrupted and saved; continue with: xpnet train --resume run\n"
    assert read_checkpoint("run/checkpoint.safetensors").meta["progress"]["shards"] == 8


def test_a_run_whose_processes_are_killed_goes_on_from_its_checkpoint_to_the_bits_of_an_unbroken_one(xpnet):
    options = (*TRAIN, "--epochs", EPOCHS)
    assert xpnet(*options, shards=8, out="whole").code == 0
    seed = int(os.environ.get("XPNET_SEED", "0"))
    for k in range(RUNS):
        draw = np.random.default_rng([seed, k])
        size = int(draw.integers(2, 5)) if k else 3
        while_training = [k % 2 == 0, k % 2 == 1]  # the other kill falls at any moment, mostly of the start
        kill_twice(f"run{k}", size, while_training, options, draw)
        assert same_bits(f"run{k}", "whole")
        assert figures(f"run{k}") == figures("whole")
        assert {path.name for path in Path(f"run{k}").iterdir()} == FILES


def is_started(before: set[int], count: int) -> bool:
    return len(group("python").keys() - before) >= count


def has_lines(run: str, count: int) -> bool:
    return len(lines(run)) >= count


def kill_twice(run: str, size: int, while_training: list[bool], options: tuple, draw: np.random.Generator) -> None:
    """Start a run, kill a process twice, and see that each restart keeps each epoch that was trained."""
    began, takes = time.monotonic(), 2.0
    process = start("-n", size, "--restarts", 3, "--elastic", "--", *options, "--out", run)
    before, seen, starts = set[int](), list[str](), list[str]()
    try:
        for is_training in (*while_training, None):
            expected = max(1, size - len(starts))
            wait_for(partial(is_started, before, expected), process)
            alive = {pid: count for pid, count in group("python").items() if pid not in before}
            assert set(alive.values()) == {expected}, "elastic: a process fewer at each start"
            if is_training is None:
                break
            if is_training:
                wait_for(partial(has_lines, run, len(seen) + int(draw.integers(3, 20))), process)
                takes = time.monotonic() - began
            else:
                time.sleep(draw.uniform(0, takes))
            kept = (Path(run) / "checkpoint.safetensors").exists()
            seen = lines(run) or seen
            assert len(seen) < EPOCHS
            os.kill(int(draw.choice(sorted(alive))), signal.SIGKILL)
            before |= alive.keys()
            place = re.escape(f"from {Path(run).absolute()}") + ("" if kept else "|from the beginning")
            left = counted(max(1, expected - 1), "process")
            starts.append(rf"restart {len(starts) + 1} of 3, {left}, ({place})")
    finally:
        code, _, err = finish(process)
    print(f"{size} processes, {len(seen)} epochs before the last kill", *err, sep="\n")
    assert code == 0, err
    killed = r"xpnet: launch: (a process|process \d of \d) was killed by signal 9 \(SIGKILL\): "
    assert re.fullmatch("\n".join(killed + line for line in starts), "\n".join(err)), err
    assert lines(run)[: len(seen)] == seen, "these epochs, with the seconds that they took, are not trained again"


def test_a_run_is_evaluated_and_predicted_in_several_processes_as_in_one(xpnet):
    assert xpnet(*TRAIN, "--epochs", 6, shards=8, out="run").code == 0
    np.savez("new.npz", x=np.arange(5 * 16, dtype=np.uint8).reshape(5, 4, 4, 1) % 17)
    one = xpnet("evaluate", "run", csv="1.csv").out + xpnet("predict", "run", "new.npz").out
    assert finish(start("-n", 3, "--", "both.py", "3.csv")) == (0, one.replace("1.csv", "3.csv"), [])
    assert len(one.splitlines()) >= 5 + 2
    assert Path("1.csv").read_bytes() == Path("3.csv").read_bytes()
    Path("names").write_text("nowhere.png\n")
    with open("names") as names:  # reach all processes
        bad = finish(start("-n", 2, "--restarts", 2, "--", "predict", "run", "-", stdin=names))
        assert bad == (2, "", ["xpnet: nowhere.png: no such image"]), "bad input is not started again"
