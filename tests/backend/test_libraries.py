"""What differs between NumPy, torch and jax: their devices, and the 64-bit numbers of jax."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet import ops
from xpnet.backend import get_backend, use_backend
from xpnet.errors import DeviceError, DTypeError


@pytest.mark.parametrize("spec", ["torch", "torch:cpu"])
def test_torch_is_on_the_cpu_by_default(spec):
    pytest.importorskip("torch")
    assert get_backend(spec).spec == "torch:cpu"


@pytest.mark.parametrize(
    "spec",
    [
        "numpy:cuda",
        "torch:cuda:9",
        "torch:nowhere",
        "torch:meta",
        "torch:vulkan",
        "jax:cpu:99",
        "jax:nowhere",
        "jax:cpu:x",
    ],
)
def test_a_device_that_a_library_does_not_have_is_an_error_that_lists_those_it_has(spec):
    name, _, device = spec.partition(":")
    pytest.importorskip(name)
    with raises(DeviceError, "get_backend", repr(device), "cpu"):
        get_backend(spec)


def test_jax_computes_float64_where_its_backend_is_active_and_says_so_elsewhere():
    jax = pytest.importorskip("jax")
    backend = get_backend("jax:cpu")
    x = backend.from_numpy(np.ones((2, 3)))
    assert x.dtype == np.float64
    assert not jax.config.jax_enable_x64
    assert jax.numpy.linspace(0, 1, 3).dtype == np.float32
    with raises(DTypeError, "relu", "float64", "use_backend('jax')"):
        ops.relu(x)
    with use_backend(backend):
        assert ops.relu(x)[0].dtype == np.float64


def test_a_tensor_of_torch_that_numpy_does_not_have_is_an_error_of_one_line():
    torch = pytest.importorskip("torch")
    for x in (torch.eye(2).to_sparse(), torch.ones(2).to(torch.float8_e4m3fn), torch.empty(2, device="meta")):
        with raises(DTypeError, "to_numpy", "NumPy has no such array", str(x.dtype)):
            get_backend("torch").to_numpy(x)
