"""The matrix: every test that takes the fixture `backend` runs once on each array backend that is here.

pytest -k numpy                     one backend
pytest --require-backend cupy       fail, instead of skipping, where there is no GPU
pytest --only-backend cupy          no other row of the matrix; may be repeated
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import importlib.util
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import emulator
import hypothesis
import numpy as np
import pytest

from xpnet.backend import Backend, get_backend, register_backend
from xpnet.errors import DeviceError
from xpnet.kernels.cuda import driver

# jax compiles a lot here, and computes little: once for all processes
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
_compiled = Path(tempfile.gettempdir()) / f"xpnet-jax-{os.getuid()}"
_compiled.mkdir(mode=0o700, exist_ok=True)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_compiled))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

hypothesis.settings.register_profile(
    "matrix",
    deadline=None,
    derandomize=True,
    max_examples=20,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("matrix")


class Strict(Backend):
    """array-api-strict: NumPy underneath, and nothing allowed that the standard does not promise."""

    def to_numpy(self, array: Any) -> np.ndarray:
        return np.array(self.xp.asarray(array, device=self.xp.Device("CPU_DEVICE")))


def open_strict(device: str | None) -> Backend:
    import array_api_strict as xp

    try:
        return Strict("array-api-strict", xp, xp.Device(device or "CPU_DEVICE"))
    except ValueError:
        raise DeviceError("get_backend", "array-api-strict has no such device", device=device) from None


register_backend("array-api-strict", open_strict, install="pip install array-api-strict")
register_backend("emulator", emulator.open_emulator, install="apt install g++")


class Row(NamedTuple):
    """One row of the matrix: what get_backend is asked for, and the flags of array-api-strict meanwhile."""

    spec: str
    package: str
    flags: dict[str, Any]


HERE = Path(__file__).parent

# data-dependent shapes and boolean indexing cannot be captured or compiled, so one of the strict rows forbids them
MATRIX = {
    "numpy": Row("numpy", "numpy", {}),
    "strict-2024.12": Row("array-api-strict:device1", "array-api-strict", {"api_version": "2024.12"}),
    "strict-2025.12": Row(
        "array-api-strict:device1",
        "array-api-strict",
        {"api_version": "2025.12", "boolean_indexing": False, "data_dependent_shapes": False},
    ),
    "strict-no_float64": Row("array-api-strict:no_float64", "array-api-strict", {"api_version": "2025.12"}),
    "emulator": Row("emulator", "emulator", {}),
    "torch": Row("torch", "torch", {}),
    "jax": Row("jax:cpu", "jax", {}),
    "cupy": Row("cupy", "cupy", {}),
}

# rows left out of files above the ops, which call an array library through ops alone; the first that begins so counts
LEFT_OUT = {
    "viz/test_boundary": ("strict-2024.12", "strict-no_float64"),
    "viz/": ("strict-2024.12", "strict-no_float64", "jax"),
    "models/": ("strict-2024.12", "strict-no_float64"),
    "exercises/": ("strict-2024.12",),
    "optim/test_groups": ("strict-2024.12", "strict-no_float64", "jax"),
    "optim/": ("strict-2024.12",),
    "train/test_gradient_flow": ("strict-2024.12", "jax"),
    "train/": ("strict-2024.12",),
    "test_tape_memory": ("strict-2024.12", "strict-no_float64"),
}


@cache
def problem(name: str) -> str:
    """Why a row of the matrix cannot run; empty when it can."""
    try:
        with flags(name):
            backend = get_backend(MATRIX[name].spec)
            backend.synchronize()
    except (DeviceError, ImportError) as error:
        return str(error)
    if name == "torch":
        import torch

        torch.set_num_threads(1)  # a second thread pool beside BLAS slows both, and these arrays are tiny
    return ""


@cache
def _cupys_driver() -> driver.Driver:
    return driver.Driver()


def own_driver(opened: Backend) -> contextlib.AbstractContextManager[Any]:
    """Set CuPy's driver for a test on CuPy: the emulator, if it was opened, set its own."""
    return driver.use_driver(_cupys_driver()) if opened.name == "cupy" else contextlib.nullcontext()


def flags(name: str) -> contextlib.AbstractContextManager[Any]:
    """Hold array-api-strict to the version and the limits of a row of the matrix."""
    row = MATRIX[name]
    if not row.flags or importlib.util.find_spec("array_api_strict") is None:
        return contextlib.nullcontext()
    import array_api_strict

    return array_api_strict.ArrayAPIStrictFlags(**row.flags)


@pytest.fixture(autouse=True, scope="session")
def _interrupts_are_heard() -> Iterator[None]:
    """Hear Ctrl-C, which some tests send: a shell starts what it runs in the background deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def _nothing_compiled_ahead() -> Iterator[None]:
    """Let tests that count threads meet none that compiles kernels; loops are compiled as they are called."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("numba"):
            patch.setattr("xpnet.kernels.numba.compiling._preparing", threading.main_thread())  # it is begun, then
        yield


@pytest.fixture(params=list(MATRIX))
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each backend of the matrix, open."""
    why = problem(request.param)
    if why:
        pytest.skip(why)
    found = get_backend(MATRIX[request.param].spec)
    with flags(request.param), own_driver(found), found.active():
        yield found


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-backend",
        action="append",
        default=[],
        metavar="NAME",
        help=f"fail if this backend cannot run; may be repeated; one of {', '.join(MATRIX)}",
    )
    parser.addoption(
        "--only-backend",
        action="append",
        default=[],
        metavar="NAME",
        help="run the matrix on this backend only; may be repeated; tests outside the matrix run",
    )


def pytest_configure(config: pytest.Config) -> None:
    for option in ("--require-backend", "--only-backend"):
        for name in config.getoption(option):
            if name not in MATRIX:
                raise pytest.UsageError(f"{option}: no such backend, got {name}; choose from {', '.join(MATRIX)}")
    for name in config.getoption("--require-backend"):
        if problem(name):
            raise pytest.UsageError(f"--require-backend {name}: {problem(name)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out rows that are not asked for, that cannot run here, and those of LEFT_OUT."""
    only = config.getoption("--only-backend") or [name for name in MATRIX if name != "cupy" or not problem(name)]
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        row = getattr(item, "callspec", None) and item.callspec.params.get("backend")  # type: ignore[attr-defined]
        file = str(item.path.relative_to(HERE)) if item.path.is_relative_to(HERE) else ""
        fewer = next((rows for start, rows in LEFT_OUT.items() if file.startswith(start)), ())
        fits = row not in MATRIX or (row in only and (row not in fewer or config.getoption("--only-backend")))
        (kept if fits else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def pytest_collection_finish() -> None:
    """Take what was collected, a million objects, out of all later searches for cycles."""
    gc.collect()
    gc.freeze()


def pytest_report_header(config: pytest.Config) -> list[str]:
    runs, lines = [], []
    for name, row in MATRIX.items():
        # CuPy may be installed where there is no GPU; of the others the version says enough, without the import
        if importlib.util.find_spec(row.package.replace("-", "_")) is None or name == "cupy":
            why = problem(name)
            if why:
                lines.append(f"{name} skipped: {why}")
                continue
        try:
            runs.append(f"{name} ({importlib.metadata.version(row.package)})")
        except importlib.metadata.PackageNotFoundError:  # cupy's wheels bear the CUDA version in their name
            runs.append(name)
    return ["backends: " + ", ".join(runs), *lines]
