"""The description of this machine's backends."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.backend import describe_backends, get_backend, register_backend
from xpnet.errors import DeviceError


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


def test_a_library_without_its_device_is_described_with_its_version(registry):
    def open_without_device(device):
        raise DeviceError.event("get_backend", "no such device", device=device)

    register_backend("jax", open_without_device, install="buy one")
    jax = pytest.importorskip("jax")
    info = next(info for info in describe_backends() if info.name == "jax")
    assert (info.version, info.devices, info.problem) == (jax.__version__, [], "no such device")
