"""Backends: device strings, transfer, namespaces by type, the default, and what is said when something is missing."""

from __future__ import annotations

import contextvars
import dataclasses
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.harness import raises
from xpnet.backend import (
    Backend,
    add_at,
    backend_of,
    current_backend,
    describe_backends,
    get_backend,
    is_out_of_memory,
    namespace,
    register_backend,
    set_at,
    use_backend,
)
from xpnet.backend import registry as backends
from xpnet.errors import ConfigError, DeviceError, DTypeError

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"]


@pytest.fixture
def registry(monkeypatch):
    """A registry that may be written: what the test adds is gone afterwards."""
    for name in ("REGISTRY", "_OPENED", "_NAMESPACE", "_FAMILY"):
        monkeypatch.setattr(backends, name, dict(getattr(backends, name)))
    yield
    backends._open.cache_clear()


class Mine(Backend):
    """NumPy under another name, for the registry."""


def open_mine(device):
    return Mine("mine", np, device or "cpu")


def open_other(device):
    return Mine("other", np, "cpu")


# Device strings.


@pytest.mark.parametrize("spec", ["cpu", "numpy", "numpy:cpu"])
def test_the_cpu_is_numpy(spec):
    backend = get_backend(spec)
    assert (backend.name, backend.xp, backend.device, backend.spec) == ("numpy", np, "cpu", "numpy:cpu")


def test_asking_twice_gives_the_same_backend(backend):
    assert get_backend(backend.spec) is get_backend(backend.spec)
    assert get_backend("cpu") is get_backend("numpy")


def test_the_spec_of_a_backend_opens_an_equal_one(backend):
    assert get_backend(backend.spec) == backend


def test_a_backend_given_for_a_spec_is_returned_as_it_is(backend):
    assert get_backend(backend) is backend


def test_a_backend_cannot_be_changed(backend):
    with pytest.raises(dataclasses.FrozenInstanceError):
        backend.device = "elsewhere"


def test_a_backend_shows_its_spec(backend):
    assert repr(backend) == f"<xpnet backend {backend.spec}>"


def test_devices_of_one_library_are_different_backends():
    pytest.importorskip("array_api_strict")
    assert get_backend("array-api-strict:device1") != get_backend("array-api-strict:device2")


@pytest.mark.parametrize("spec", ["torch", "torch:cpu"])
def test_torch_is_on_the_cpu_unless_told(spec):
    pytest.importorskip("torch")
    assert get_backend(spec).spec == "torch:cpu"


# What is said when something is missing.


@pytest.mark.parametrize(("name", "nearest"), [("nunpy", "'numpy'"), ("tocrh", "'torch'"), ("gpu", "'cpu'")])
def test_an_unknown_backend_is_an_error_that_names_the_nearest(name, nearest):
    with raises(ConfigError, "get_backend", repr(name), nearest):
        get_backend(name)


def test_a_device_that_numpy_does_not_have_is_an_error():
    with raises(DeviceError, "get_backend", "cuda", "cpu"):
        get_backend("numpy:cuda")


@pytest.mark.parametrize("device", ["cuda:9", "nowhere"])
def test_a_device_that_torch_does_not_have_is_an_error(device):
    pytest.importorskip("torch")
    with raises(DeviceError, "get_backend", device):
        get_backend(f"torch:{device}")


@pytest.mark.parametrize("device", ["cpu:99", "nowhere", "cpu:x"])
def test_a_device_that_jax_does_not_have_is_an_error(device):
    pytest.importorskip("jax")
    with raises(DeviceError, "get_backend", device, "cpu:0"):
        get_backend(f"jax:{device}")


def test_a_device_that_array_api_strict_does_not_have_is_an_error():
    pytest.importorskip("array_api_strict")
    with raises(DeviceError, "get_backend", "device9"):
        get_backend("array-api-strict:device9")


@pytest.mark.parametrize("spec", ["cuda", "cuda:1", "cupy"])
def test_cuda_without_cupy_is_an_error_with_the_command_that_installs_it(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # importing it now raises ImportError
    backends._open.cache_clear()
    try:
        with raises(DeviceError, "get_backend", repr(spec), "pip install 'xpnet[cuda13]'"):
            get_backend(spec)
    finally:
        backends._open.cache_clear()


def test_a_library_that_is_installed_but_broken_is_an_error_with_its_reason(registry):
    def open_broken(device):
        raise ImportError("libfoo.so.3: cannot open shared object file")

    register_backend("numpy", open_broken, install="pip install --force-reinstall numpy")
    with raises(DeviceError, "get_backend", "'numpy'", "libfoo.so.3", "pip install --force-reinstall numpy"):
        get_backend("numpy")


# Registering.


def test_a_registered_backend_opens_by_its_name_and_device(registry):
    register_backend("mine", open_mine)
    assert get_backend("mine") == get_backend("mine:cpu") == Mine("mine", np, "cpu")


def test_a_registered_backend_is_told_what_follows_its_name(registry):
    told = []
    register_backend("mine", lambda device: told.append(device) or open_mine(None))
    get_backend("mine")
    get_backend("mine:there:1")
    assert told == [None, "there:1"]


def test_registering_a_name_again_replaces_it(registry):
    register_backend("mine", open_mine)
    assert get_backend("mine").name == "mine"
    register_backend("mine", open_other)
    assert get_backend("mine").name == "other"


def test_a_registered_backend_that_is_not_installed_gives_its_command(registry):
    def open_absent(device):
        import a_library_that_is_not_there  # noqa: F401  # pyright: ignore[reportMissingImports]

    register_backend("absent", open_absent, install="pip install absent")
    with raises(DeviceError, "get_backend", "'absent:x'", "absent, which is not installed", "pip install absent"):
        get_backend("absent:x")


@pytest.mark.parametrize("name", ["", "a:b"])
def test_a_name_that_is_empty_or_holds_a_colon_is_an_error(name):
    with raises(ConfigError, "register_backend", repr(name)):
        register_backend(name, open_mine)


def test_array_api_strict_came_in_through_the_registry():
    pytest.importorskip("array_api_strict")
    assert get_backend("array-api-strict:device1").spec == "array-api-strict:device1"


# Transfer.


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 5, 7)], ids=str)
def test_an_array_makes_the_round_trip_unchanged(backend, name, shape):
    if name == "float64" and "no_float64" in backend.spec:
        pytest.skip("the device has no float64")
    a = np.arange(int(np.prod(shape))).astype(name).reshape(shape)
    x = backend.from_numpy(a)
    assert x.dtype == getattr(backend.xp, name)
    assert tuple(x.shape) == shape
    assert backend_of(x) == backend
    back = backend.to_numpy(x)
    assert type(back) is np.ndarray
    assert back.dtype == a.dtype
    assert np.array_equal(back, a)


@pytest.mark.parametrize(
    "view",
    [lambda a: a[::2], lambda a: a[::-1], lambda a: a.T, lambda a: a[:, :0]],
    ids=["strided", "reversed", "transposed", "empty"],
)
def test_views_make_the_round_trip_too(backend, view):
    a = view(np.arange(30, dtype=np.float32).reshape(5, 6))
    assert np.array_equal(backend.to_numpy(backend.from_numpy(a)), a)


def test_a_read_only_array_can_be_moved(backend):
    a = np.arange(6, dtype=np.float32)
    a.setflags(write=False)
    assert np.array_equal(backend.to_numpy(backend.from_numpy(a)), a)


def test_moving_copies_both_ways(backend):
    a = np.zeros(3, np.float32)
    x = backend.from_numpy(a)
    a[0] = 1
    back = backend.to_numpy(x)
    assert back.tolist() == [0, 0, 0]
    back[1] = 2
    assert back.flags.writeable
    assert backend.to_numpy(x).tolist() == [0, 0, 0]


def test_extreme_values_make_the_round_trip(backend):
    a = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38], np.float32)
    assert backend.to_numpy(backend.from_numpy(a)).tobytes() == a.tobytes()
    b = np.array([2**63 - 1, -(2**63)])
    assert np.array_equal(backend.to_numpy(backend.from_numpy(b)), b)


def test_synchronize_returns(backend):
    assert backend.synchronize() is None


def test_memory_figures_are_positive_and_in_order(backend):
    used, peak, total = backend.memory()
    assert 0 < used <= total
    assert 0 < peak <= total


def test_memory_in_use_grows_with_an_array():
    numpy = get_backend("numpy")
    before = numpy.memory().used
    held = np.ones(8_000_000)  # 64 MB: malloc keeps freed memory, but gives so large a block pages of its own
    assert numpy.memory().used - before > held.nbytes // 2


# Namespaces by type.


def test_the_namespace_of_an_array_is_its_backends(backend):
    x = backend.from_numpy(np.zeros(3, np.float32))
    assert namespace(x) is backend.xp
    assert namespace(x, None, x) is backend.xp


def test_a_numpy_scalar_counts_as_numpy():
    assert namespace(np.float32(1)) is np


def test_a_type_met_for_the_first_time_is_learned(backend, monkeypatch):
    x = backend.from_numpy(np.zeros(3, np.float32))
    monkeypatch.setattr(backends, "_NAMESPACE", {np.ndarray: np})
    monkeypatch.setattr(backends, "_FAMILY", {np.ndarray: "numpy"})
    assert namespace(x) is backend.xp
    assert backend_of(x) == backend


def test_arrays_of_two_libraries_are_an_error(backend):
    if backend.name == "numpy":
        pytest.skip("the other library is NumPy")
    x = backend.from_numpy(np.zeros(3, np.float32))
    for pair in ((x, np.zeros(3)), (np.zeros(3), x), (x, None, np.zeros(3))):
        with raises(DeviceError, "namespace", "numpy", backend.name, "Backend.from_numpy"):
            namespace(*pair)


@pytest.mark.parametrize("value", [[1.0], 1.0, None, "x"])
def test_something_that_is_no_array_is_an_error(value):
    with raises(DTypeError, "namespace", type(value).__name__, "Backend.from_numpy"):
        namespace(value)


def test_adding_to_a_slice_changes_only_that_slice(backend):
    x = backend.from_numpy(np.zeros((2, 5), np.float32))
    part = backend.from_numpy(np.ones((2, 2), np.float32))
    y = add_at(x, (slice(None), slice(1, 4, 2)), part)
    y = add_at(y, (slice(None), slice(1, 4, 2)), part)
    assert backend.to_numpy(y).tolist() == [[0, 2, 0, 2, 0]] * 2


def test_setting_a_slice_changes_only_that_slice(backend):
    x = backend.from_numpy(np.zeros((2, 5), np.float32))
    y = set_at(x, (slice(None), slice(1, 4, 2)), backend.from_numpy(np.ones((2, 2), np.float32)))
    assert backend.to_numpy(y).tolist() == [[0, 1, 0, 1, 0]] * 2


# Memory.


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (MemoryError(), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("Out of memory allocating 1 bytes"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes"), True),
        (RuntimeError("shapes do not match"), False),
    ],
    ids=["host", "cupy and torch", "jax", "another"],
)
def test_running_out_of_memory_is_recognized(error, known):
    assert is_out_of_memory(error) is known


# The default.


def test_the_default_is_numpy():
    assert current_backend().spec == get_backend().spec == "numpy:cpu"


def test_use_backend_holds_within_its_block_and_nests(backend):
    with use_backend(backend.spec) as opened:
        assert opened == backend
        assert current_backend() == get_backend() == backend
        with use_backend("cpu"):
            assert current_backend().name == "numpy"
        assert current_backend() == backend
    assert current_backend().spec == "numpy:cpu"


def test_use_backend_ends_with_an_error():
    pytest.importorskip("torch")
    with pytest.raises(KeyError), use_backend("torch"):
        raise KeyError
    assert current_backend().name == "numpy"


def test_use_backend_does_not_reach_other_threads(registry):
    register_backend("mine", open_mine)
    register_backend("other", open_other)
    seen, inside, done = {}, threading.Event(), threading.Event()

    def other():
        seen["at first"] = current_backend().spec
        with use_backend("other"):
            inside.set()
            done.wait(10)
            seen["within"] = current_backend().spec

    with use_backend("mine"):
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
        assert current_backend().name == "mine"
        done.set()
        thread.join()
    assert seen == {"at first": "numpy:cpu", "within": "other:cpu"}


def test_use_backend_reaches_a_copied_context(registry):
    register_backend("mine", open_mine)
    with use_backend("mine"):
        context = contextvars.copy_context()
    assert context.run(current_backend).name == "mine"


def test_threads_that_open_one_backend_get_the_same():
    backends._open.cache_clear()
    found, barrier = [], threading.Barrier(8)

    def open_one():
        barrier.wait()
        found.append(get_backend("cpu"))

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(b) for b in found}) == 1


# What there is.


def test_every_registered_backend_is_described_with_its_install_command():
    found = {info.name: info for info in describe_backends()}
    assert {"numpy", "cupy", "torch", "jax"} <= set(found)
    assert (found["numpy"].version, found["numpy"].devices, found["numpy"].problem) == (np.__version__, ["cpu"], "")
    for info in found.values():
        assert info.install
        assert bool(info.devices) == (not info.problem)


def test_each_device_that_is_described_opens(backend):
    info = next(info for info in describe_backends() if info.name == backend.name)
    assert info.version
    for device in info.devices:
        assert get_backend(f"{info.name}:{device}").name == info.name


def test_an_absent_backend_is_described_with_its_problem(registry):
    def open_absent(device):
        import a_library_that_is_not_there  # noqa: F401  # pyright: ignore[reportMissingImports]

    register_backend("absent", open_absent, install="pip install absent")
    info = next(info for info in describe_backends() if info.name == "absent")
    assert (info.version, info.devices, info.install) == ("", [], "pip install absent")
    assert "not installed" in info.problem


def test_importing_the_backend_module_loads_no_array_library_but_numpy():
    heavy = ["cupy", "torch", "jax", "array_api_strict", "array_api_compat"]
    code = f"import sys, xpnet.backend; print(set({heavy}) & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


def test_a_library_without_its_device_is_described_with_its_version(registry):
    def open_without_device(device):
        raise DeviceError("get_backend", "there is no such device", device=device)

    register_backend("jax", open_without_device, install="buy one")
    jax = pytest.importorskip("jax")
    info = next(info for info in describe_backends() if info.name == "jax")
    assert (info.version, info.devices, info.problem) == (jax.__version__, [], "there is no such device")
