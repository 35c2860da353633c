"""A disk that fills, a folder that goes, a process that is killed: a run ends in one line, and goes on bit for bit."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpnet import cli, writing
from xpnet.train import SaveCheckpoint, read_checkpoint

EPOCHS, KILLS = 3, 50 if "XPNET_FUZZ" in os.environ else 10  # of ci/test-long
TRAIN = ("train", "softmax", "--epochs", EPOCHS, "--batch-size", 64)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs /dev/full and fork")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no curves and no report."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def straight(xpnet: Callable[..., Any], here: Path) -> Any:
    """The checkpoint of a run without a fault."""
    assert xpnet(*TRAIN, out="straight").code == 0
    return read_checkpoint(here / "straight" / "checkpoint.safetensors")


@pytest.fixture
def goes_on(xpnet: Callable[..., Any], here: Path, straight: Any) -> Callable[[], None]:
    """Continue the run in "run", or begin it where nothing was saved; it must end as the one without a fault."""

    def check() -> None:
        saved = here / "run" / "checkpoint.safetensors"
        if saved.exists():
            result = xpnet("train", resume="run", epochs=EPOCHS)
        else:  # an epoch is saved before its figures are written
            figures = here / "run" / "metrics.jsonl"
            assert not figures.exists() or not figures.read_text()
            result = xpnet(*TRAIN, out="run")
        assert result.code == 0, result
        got = read_checkpoint(saved)
        for a, b in ((got.model, straight.model), (got.optimizer, straight.optimizer)):
            assert a.keys() == b.keys()
            assert all(np.array_equal(a[name], b[name]) for name in a)
        names = {path.name for path in (here / "run").iterdir()}
        assert names == {"checkpoint.safetensors", "config.json", "metrics.jsonl", "result.json"}
        assert (here / "run" / "metrics.jsonl").read_text().count("\n") == EPOCHS

    return check


class Calls:
    """Stands for the module os, and counts the calls of some functions; the call numbered ``nth`` is replaced."""

    def __init__(self, names: tuple[str, ...], nth: int = 0, instead: Callable[..., Any] | None = None) -> None:
        self.names, self.nth, self.instead, self.count = names, nth, instead, 0

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        if name not in self.names:
            return function

        def call(*arguments: Any) -> Any:
            self.count += 1
            return (self.instead if self.instead and self.count == self.nth else function)(*arguments)

        return call


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_is_full_at_any_write_costs_an_epoch_at_most(xpnet, here, goes_on, monkeypatch):
    counting = Calls(("open",))
    monkeypatch.setattr(writing, "os", counting)
    assert xpnet(*TRAIN, out="run").code == 0
    assert counting.count > 2 * EPOCHS
    for full in range(1, counting.count + 1):
        shutil.rmtree(here / "run")
        monkeypatch.setattr(writing, "os", Calls(("open",), full, lambda *_: os.open("/dev/full", os.O_WRONLY)))
        result = xpnet(*TRAIN, out="run")
        if result.code:  # else the file was none that a run needs, such as that of its lock
            assert result.code == 2
            assert "written" in result.err.splitlines()[-1], result
        monkeypatch.setattr(writing, "os", os)
        goes_on()


def test_a_folder_that_is_removed_meanwhile_is_one_line(xpnet, here, monkeypatch):
    def remove_first(self, trainer, figures):
        shutil.rmtree(here / "run", ignore_errors=True)
        on_epoch(self, trainer, figures)

    on_epoch = SaveCheckpoint.on_epoch
    monkeypatch.setattr(SaveCheckpoint, "on_epoch", remove_first)
    result = xpnet(*TRAIN, out="run")
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("xpnet: run/checkpoint.safetensors: the file cannot be written")


def test_a_run_that_is_killed_at_any_moment_goes_on_bit_for_bit(here, goes_on):
    took = _train_in_child()
    for moment in np.random.default_rng(0).uniform(0, took, KILLS):
        shutil.rmtree(here / "run", ignore_errors=True)
        _train_in_child(moment)
        goes_on()


def test_a_run_that_is_killed_between_any_two_operations_on_its_files_goes_on(xpnet, here, goes_on, monkeypatch):
    names = ("open", "fsync", "replace")
    counting = Calls(names)
    monkeypatch.setattr(writing, "os", counting)
    assert xpnet(*TRAIN, out="run").code == 0
    for nth in range(1, counting.count + 1):
        shutil.rmtree(here / "run", ignore_errors=True)
        monkeypatch.setattr(writing, "os", Calls(names, nth, lambda *_: os.kill(os.getpid(), signal.SIGKILL)))
        _train_in_child()
        monkeypatch.setattr(writing, "os", os)
        goes_on()


def _train_in_child(seconds: float | None = None) -> float:
    """Train in a child process, killed after some seconds if given; return how long it ran."""
    began = time.monotonic()
    child = os.fork()
    if not child:
        try:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (1, 2):
                os.dup2(nowhere, stream)
            sys.argv = ["xpnet", *map(str, TRAIN), "--out", "run"]
            cli.main()
        finally:
            os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return time.monotonic() - began
