"""NCCL through CuPy's own module, with a stand-in for the library. tests/gpu has tests of the real one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from emulator import available

from xpnet.backend import get_backend
from xpnet.distributed import get_communicator
from xpnet.distributed.communicator import single
from xpnet.distributed.nccl import connect
from xpnet.errors import DeviceError

TESTS = Path(__file__).resolve().parents[1]


def test_a_backend_without_nccl_is_named() -> None:
    with pytest.raises(DeviceError, match=r"nccl: a process cannot use it: rank 0, problem numpy:cpu has no NCCL;"):
        connect(single(), get_backend("cpu"))


def test_the_communicator_of_one_process_is_alone_on_any_backend() -> None:
    assert get_communicator("single", "cpu") is single()


def test_threads_exchange_arrays_through_cupys_module(tmp_path: Path) -> None:
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed: pip install 'cupy-cuda13x==14.2.*'")
    if not available():
        pytest.skip("the stand-in is compiled by g++: apt install g++")
    library = tmp_path / "libnccl.so.2"
    source = TESTS / "emulator" / "nccl.cpp"
    options = ["-shared", "-fPIC", "-std=c++17", "-O1", "-Wl,-soname,libnccl.so.2"]
    subprocess.run(["g++", *options, "-o", str(library), str(source)], check=True, timeout=120)
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}", "EMULATED_STREAM": "77"}
    done = subprocess.run(
        [sys.executable, str(TESTS / "distributed" / "nccl_threads.py"), str(library)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-3000:]
