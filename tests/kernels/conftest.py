"""The emulated device, with a stand-in for cuDNN's library where a test asks for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import emulator
import numpy as np
import pytest
from emulator.cudnn_frontend import CuDNN, DriverWithCuDNN

from tests.conftest import own_driver
from xpnet import kernels
from xpnet.backend import Backend, backend_of, get_backend
from xpnet.errors import DeviceError
from xpnet.kernels.cuda import cublaslt, driver


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The operating system's cache, in a folder of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(params=["emulator", "cupy"])
def device(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each backend whose kernels are CUDA's, with its own driver."""
    try:
        found = get_backend(request.param)
    except DeviceError as error:
        pytest.skip(str(error))
    with own_driver(found):
        yield found


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Backend:
    """The emulator alone, with float32 numbers only: cuDNN computes nothing wider."""
    if not emulator.available():
        pytest.skip("the emulator compiles kernels with g++")
    monkeypatch.setattr("xpnet.exercises.checking.float_types", lambda backend: [np.float32])
    cublaslt.warn_once.cache_clear()
    emulator.TAPE.launches.clear()
    opened = get_backend("emulator")
    assert backend_of(opened.xp.zeros(1)) == opened  # opens it under its other name too: that puts a driver there
    return opened


@pytest.fixture
def cudnn(emulated: Backend) -> Iterator[CuDNN]:
    """The stand-in, as cuDNN of the driver in use."""
    fake = CuDNN()
    with driver.use_driver(DriverWithCuDNN(fake)):
        yield fake


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    """The lines that xpnet logs, as (level, text)."""
    caplog.set_level(logging.INFO, "xpnet")
    return lambda: [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "xpnet"]


@pytest.fixture(params=["numba", "numpy"])
def folder(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each folder of kernels that serves NumPy's arrays, first in line."""
    if request.param == "numba":
        pytest.importorskip("numba")
        yield "numba"
    else:
        with kernels.disable("numba"):
            yield "numpy"
