"""ci/test-gpu itself, and the matrix's options that it uses; none of this needs a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

STAND_IN = """#!/usr/bin/env bash
case "$*" in
  -) cat >/dev/null; echo "$LACKS" ;;
  "-c import xdist") [ -n "$XDIST" ] ;;
  *) echo "$*" ;;
esac
"""


def script(tmp_path: Path, *arguments: str, lacks: str = "", xdist: str = "") -> subprocess.CompletedProcess[str]:
    """Run ci/test-gpu with a Python that prints what it is asked to run."""
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "LACKS": lacks, "XDIST": xdist}
    command = [str(ROOT / "ci" / "test-gpu"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_missing_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = script(tmp_path, lacks="cupy-cuda13x array-api-compat")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "lacks: cupy-cuda13x array-api-compat; install them, or put them on PYTHONPATH" in done.stderr


def test_the_whole_of_it_runs_on_cupy_and_numpy(tmp_path: Path) -> None:
    done = script(tmp_path, xdist="yes")
    assert done.returncode == 0, done.stderr
    assert "--require-backend cupy --only-backend cupy --only-backend numpy --numprocesses 6" in done.stdout
    named = [word for word in done.stdout.split() if word.startswith("tests/")]
    assert named[0] == "tests/gpu"
    assert all((ROOT / name).exists() for name in named)


def test_what_is_named_runs_alone_and_without_xdist_in_one_process(tmp_path: Path) -> None:
    done = script(tmp_path, "tests/gpu", "-x")
    assert done.stdout.endswith("--only-backend numpy tests/gpu -x\n")


def collected(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/ops/test_reduction.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def test_only_the_rows_that_are_named_are_run() -> None:
    done = collected("--only-backend", "numpy")
    tests = [line for line in done.stdout.splitlines() if "::" in line]
    assert tests
    assert not any(row in line for line in tests for row in ("strict-", "torch", "jax", "emulator", "cupy"))
    assert "deselected" in done.stdout


def test_a_row_that_is_not_there_is_refused() -> None:
    done = collected("--only-backend", "nunpy")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--only-backend: no such backend, got nunpy; choose from numpy," in done.stderr
