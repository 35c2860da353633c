"""What only a process of its own shows: python -m xpnet, Ctrl-C, exit codes, a run that goes on after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import xpnet as package
from xpnet.train import read_checkpoint

KEYS = {
    "model", "data", "backend", "device", "precision", "epochs", "seed", "parameters",
    "task", "train_loss", "test_loss", "test_accuracy", "validation_loss", "validation_accuracy", "best_epoch",
    "chosen_by", "seconds", "images_per_second", "peak_memory_bytes", "run",
}  # fmt: skip
PATIENCE = 120  # seconds until a process that hangs is killed


@pytest.fixture(autouse=True)
def site(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no curves and no report, which would take most of the time: processes find no matplotlib."""
    folder = here.parent / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(folder), str(Path(package.__file__).parents[1]))))


def start(*words: object) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "xpnet", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, out, err


def wait_for_lines(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until a running process has written so many lines."""
    end = time.monotonic() + PATIENCE
    while not path.exists() or path.read_text().count("\n") < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the process wrote nothing"
        time.sleep(0.02)


def epochs(run: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_train_ends_with_one_json_object_and_exit_code_0(here):
    code, out, err = finish(start("train", "softmax", "--epochs", 1, "--json"))
    assert code == 0, err
    assert json.loads(out).keys() == KEYS
    assert "epoch 1/1" in err


def test_bad_input_is_one_line_and_exit_code_2(here):
    code, out, err = finish(start("train", "mpl"))
    assert (code, out) == (2, "")
    assert err == "xpnet: model: expected the name of a model, got model 'mpl'; did you mean 'mlp'?\n"
    assert list(here.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_saves_says_how_to_go_on_and_nothing_is_lost(here, xpnet):
    many = 100_000
    process = start("train", "mlp", "--epochs", many, "--out", "run", "--json")
    wait_for_lines(here / "run" / "metrics.jsonl", 2, process)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert code == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "interrupted and saved; continue with: xpnet train --resume run"
    done = json.loads(out)["epochs"]
    assert 2 <= done < many
    assert epochs(here / "run") == list(range(1, done + 1))
    assert {p.suffix for p in (here / "run").iterdir()} <= {".safetensors", ".json", ".jsonl", ".png", ".html"}

    resumed = xpnet("train", resume="run", epochs=done + 1, json=True)
    straight = xpnet("train", "mlp", epochs=done + 1, warmup=300, out="straight", json=True)
    assert resumed.code == 0
    assert resumed.json["train_loss"] == straight.json["train_loss"]
    assert epochs(here / "run") == list(range(1, done + 2))
    a, b = (read_checkpoint(here / name / "checkpoint.safetensors") for name in ("run", "straight"))
    assert all(np.array_equal(a.model[k], b.model[k]) for k in b.model)
    assert all(np.array_equal(a.optimizer[k], b.optimizer[k]) for k in b.optimizer)


INTERRUPTS = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

module, sys.argv = sys.argv[1], ["xpnet", "train", "mlp"]
sys.meta_path.insert(0, Finder())
from xpnet.cli import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("module", ["typer", "numpy.linalg", "xpnet.train.runs.training"])
def test_ctrl_c_while_modules_are_imported_is_one_line(here, module):
    done = subprocess.run([sys.executable, "-c", INTERRUPTS, module], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "xpnet: interrupted\n")
    assert list(here.iterdir()) == []


def test_a_killed_run_goes_on_from_its_last_epoch(here, xpnet):
    process = start("train", "softmax", "--epochs", 100_000, "--out", "run")
    wait_for_lines(here / "run" / "metrics.jsonl", 3, process)
    process.kill()
    code, _, _ = finish(process)
    assert code < 0 or os.name == "nt"
    done = read_checkpoint(here / "run" / "checkpoint.safetensors").meta["progress"]["epoch"]
    resumed = xpnet("train", resume="run", epochs=done + 1, json=True)
    straight = xpnet("train", "softmax", epochs=done + 1, warmup=300, json=True)
    assert resumed.code == 0
    assert resumed.json["train_loss"] == straight.json["train_loss"]
    assert epochs(here / "run") == list(range(1, done + 2))
