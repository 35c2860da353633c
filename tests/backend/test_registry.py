"""Specs, registration, libraries by type of array, the default backend, and the errors where something is missing."""

from __future__ import annotations

import contextvars
import copy
import pickle
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
    get_backend,
    namespace,
    register_backend,
    set_at,
    use_backend,
)
from xpnet.backend import registry as backends
from xpnet.errors import ConfigError, DeviceError, DTypeError


class Mine(Backend):
    """NumPy under another name."""


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


def test_a_backend_is_pickled_as_its_spec_and_copied_as_itself(backend):
    assert pickle.loads(pickle.dumps(backend)) is get_backend(backend.spec)
    assert copy.deepcopy(backend) == copy.copy(backend) == backend


def test_a_backend_shows_its_spec(backend):
    assert repr(backend) == f"<xpnet backend {backend.spec}>"


def test_devices_of_one_library_are_different_backends():
    pytest.importorskip("array_api_strict")
    assert get_backend("array-api-strict:device1") != get_backend("array-api-strict:device2")


# Errors where something is missing.


@pytest.mark.parametrize(("name", "nearest"), [("nunpy", "'numpy'"), ("tocrh", "'torch'"), ("gpu", "'cuda'")])
def test_an_unknown_backend_is_an_error_that_names_the_nearest(name, nearest):
    with raises(ConfigError, "get_backend", repr(name), nearest):
        get_backend(name)


def test_a_device_that_array_api_strict_does_not_have_is_an_error():
    pytest.importorskip("array_api_strict")
    with raises(DeviceError, "get_backend", "device9"):
        get_backend("array-api-strict:device9")


@pytest.mark.parametrize("spec", ["cuda", "cuda:1", "cupy"])
def test_cuda_without_cupy_is_an_error_with_the_command_that_installs_it(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # importing it now raises ImportError
    monkeypatch.setattr(backends, "_opened", {})
    with raises(DeviceError, "get_backend", repr(spec), "pip install 'xpnet[cuda13]'"):
        get_backend(spec)


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


def test_a_registered_backend_receives_what_follows_its_name(registry):
    seen = []
    register_backend("mine", lambda device: seen.append(device) or open_mine(None))
    get_backend("mine")
    get_backend("mine:there:1")
    assert seen == [None, "there:1"]


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


# Namespaces by type.


def test_the_namespace_of_an_array_is_its_backends(backend):
    x = backend.from_numpy(np.zeros(3, np.float32))
    assert namespace(x) is backend.xp
    assert namespace(x, None, x) is backend.xp


def test_a_numpy_scalar_counts_as_numpy():
    assert namespace(np.float32(1)) is np


def test_the_library_of_a_new_type_of_array_is_found(backend, monkeypatch):
    x = backend.from_numpy(np.zeros(3, np.float32))
    monkeypatch.setattr(backends, "_libraries", {})
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


def test_threads_that_open_one_backend_get_the_same(registry):
    backends._opened.clear()
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


def test_importing_the_backend_module_loads_no_array_library_but_numpy():
    heavy = ["cupy", "torch", "jax", "array_api_strict", "array_api_compat"]
    code = f"import sys, xpnet.backend; print(set({heavy}) & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


def test_a_library_that_is_not_registered_is_used_on_each_of_its_devices_and_pickled():
    xp = pytest.importorskip("array_api_strict")
    backend = Backend("some_library", xp, xp.Device("device1"))
    x = backend.from_numpy(np.arange(3.0))
    assert np.array_equal(backend.to_numpy(x), [0.0, 1.0, 2.0])
    assert pickle.loads(pickle.dumps(backend)) == backend
