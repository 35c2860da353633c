"""The feed through staging buffers, alone and under compute-sanitizer, which sees accesses out of bounds and races."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xpnet.backend import Backend

SCRIPT = Path(__file__).with_name("feed_steps.py")


def run(*before: str) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, str(SCRIPT), os.environ.get("XPNET_GPU", "cuda")]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_staged_batches_are_the_hosts(cuda: Backend) -> None:
    done = run()
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_the_sanitizer_finds_nothing_in_the_feed(cuda: Backend, tool: str) -> None:
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed; it comes with CUDA's toolkit")
    done = run(sanitizer, "--tool", tool, "--error-exitcode", "9")
    output = done.stdout + done.stderr
    if "not supported" in output:
        pytest.skip(f"compute-sanitizer does not run on this machine: {output.strip().splitlines()[-1]}")
    assert done.returncode == 0, output
    assert "the same" in output
