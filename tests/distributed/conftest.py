"""Starts processes by mpiexec. XPNET_MPIEXEC names another one, such as Open MPI's with its options."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120  # after which processes are ended


class Finished(NamedTuple):
    """What processes came to."""

    code: int
    out: str
    err: str
    seconds: float


Start = Callable[..., Finished]


def mpiexec_command() -> list[str]:
    """Return the command that starts processes, or skip the test."""
    if importlib.util.find_spec("mpi4py") is None:
        pytest.skip("mpi4py is not installed: pip install 'xpnet[mpi]'")
    command = shlex.split(os.environ.get("XPNET_MPIEXEC", ""))
    beside = Path(sys.executable).parent / "mpiexec"  # of the mpich wheel, which mpi4py finds first
    found = command or ([str(beside)] if beside.exists() else list(filter(None, [shutil.which("mpiexec")])))
    if not found:
        pytest.skip("there is no mpiexec: pip install 'xpnet[mpi]'")
    return found


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Run a script, a text, in n processes; end them when the time is up."""
    command = mpiexec_command()

    def run(n: int, text: str, *arguments: str, seconds: float = SECONDS, **variables: str) -> Finished:
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(text))
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])  # where pytest finds what tests share
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables}
        began = time.monotonic()
        process = subprocess.Popen(
            [*command, "-n", str(n), sys.executable, str(script), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=seconds)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return Finished(process.returncode, out, err, time.monotonic() - began)

    return run
