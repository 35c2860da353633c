"""Errors of the libraries that say that a device, or the host, has no memory left."""

from __future__ import annotations

import pytest

from xpnet.backend import is_out_of_memory


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
