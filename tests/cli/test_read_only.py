"""Folders that may not be written: each command that writes there ends in one line, and what is there stays."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpnet.train import JsonLines, read_checkpoint

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no modes of folders")

RIGHTS = (1 << 1) | (1 << 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of Linux: root reads and writes everywhere
VERSION = 0x20080522  # of the structures below


@contextlib.contextmanager
def bound_by_modes() -> Iterator[None]:
    """Within a with-block this thread may write only what the modes of files and folders allow, also as root."""
    if os.geteuid():
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root writes everywhere")
    libc = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(VERSION, 0)
    before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the same of numbers from 32 on
    if libc.capget(head, before):
        pytest.skip(f"the rights of root cannot be read: {os.strerror(ctypes.get_errno())}")
    fewer = (ctypes.c_uint32 * 6)(*before)
    fewer[0] &= ~RIGHTS
    if libc.capset(head, fewer):
        pytest.skip(f"the rights of root cannot be given up: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        assert libc.capset(head, before) == 0


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


WRITING = {
    "train --out": "train softmax --epochs 1 --out locked",
    "train --out below": "train softmax --epochs 1 --out locked/a/b",
    "train --log-dir": "train softmax --epochs 1 --out new --log-dir locked",
    "train --log-dir below": "train softmax --epochs 1 --out new --log-dir locked/logs",
    "train --cache-folder": "train softmax --data photos --epochs 1 --out new --cache-folder locked/cache",
    "predict --csv": "predict run photos/dark/0.png --csv locked/new.csv",
    "predict --csv, a file": "predict run photos/dark/0.png --csv locked/old.csv",
    "evaluate --csv": "evaluate run --csv locked/old.csv",
    "export -o": "export run -o locked/new.onnx",
    "export -o, a file": "export run -o locked/old.onnx",
    "data -o": "data digits -o locked/page.html",
    "draw -o": "draw mlp -o locked/mlp.svg",
    "compare -o": "compare run -o locked/curves.png",
}


@pytest.mark.parametrize("words", WRITING.values(), ids=WRITING.keys())
def test_a_folder_that_may_not_be_written_is_one_line_and_nothing_is_lost(words, xpnet, here, trained, write_images):
    if "run" in words.split():
        trained(epochs=1)
    if "photos" in words:
        (here / "photos").symlink_to(write_images(size=8))
    folder = here / "locked"
    folder.mkdir()
    for name in ("old.csv", "old.onnx"):
        (folder / name).write_text("precious")
    before = contents(here)
    folder.chmod(0o500)
    try:
        with bound_by_modes():
            result = xpnet(*words.split())
    finally:
        folder.chmod(0o700)
    assert result.code == 2, result
    *others, line = result.err.splitlines()
    assert line.startswith("xpnet: "), result.err
    assert "locked" in line
    assert "ermission" in line or "cannot be written" in line
    assert not any(text.startswith("xpnet: ") and "warning" not in text for text in others)
    assert contents(here) == before


def test_a_run_without_a_place_for_its_folder_is_one_line(xpnet, here):
    here.chmod(0o500)
    try:
        with bound_by_modes():
            result = xpnet("train", "softmax", epochs=1)
    finally:
        here.chmod(0o700)
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("xpnet: runs: the folder cannot be written")
    assert not list(here.iterdir())


def resumed(xpnet: Any, here: Path) -> Any:
    result = xpnet("train", resume="run", epochs=3)
    assert result.code == 0, result
    return read_checkpoint(here / "run" / "checkpoint.safetensors").model


def test_a_run_that_may_not_be_written_any_more_is_one_line_and_goes_on_later(xpnet, here, run, monkeypatch):
    checkpoint, folder = here / "run" / "checkpoint.safetensors", here / "run"
    before, first = contents(folder), checkpoint.read_bytes()
    folder.chmod(0o500)
    with bound_by_modes():
        result = xpnet("train", resume="run", epochs=3)
    folder.chmod(0o700)
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("xpnet: run: the folder cannot be written")
    assert contents(folder) == before
    wanted = resumed(xpnet, here)

    def lock_folder(self, trainer):  # after the lock of the run was taken
        start(self, trainer)
        folder.chmod(0o500)

    start = JsonLines.on_start
    checkpoint.write_bytes(first)
    with monkeypatch.context() as patch, bound_by_modes():
        patch.setattr(JsonLines, "on_start", lock_folder)
        result = xpnet("train", resume="run", epochs=3)
    folder.chmod(0o700)
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("xpnet: run/checkpoint.safetensors: the file cannot be written")
    assert checkpoint.read_bytes() == first
    got = resumed(xpnet, here)
    assert all(np.array_equal(got[name], wanted[name]) for name in wanted)
