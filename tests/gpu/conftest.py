"""Tests that need a real CUDA device, and are skipped elsewhere; ci/test-gpu runs them. XPNET_GPU names another device,
such as cuda:1, or emulator, which tries the tests themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conftest import own_driver
from xpnet.backend import Backend, get_backend, use_backend
from xpnet.errors import DeviceError


@pytest.fixture
def device() -> Iterator[Backend]:
    """The device under test, as the default backend."""
    try:
        found = get_backend(os.environ.get("XPNET_GPU", "cuda"))
    except (DeviceError, ImportError) as error:
        pytest.skip(str(error))
    with use_backend(found), own_driver(found):
        yield found


@pytest.fixture
def cuda(device: Backend) -> Backend:
    """The same, where it is CuPy's, which has streams, events and memory figures."""
    if device.name != "cupy":
        pytest.skip(f"{device.name} has no streams")
    return device
