"""Normalization on CUDA, of arrays that one block does not hold: each way in which kernels share the work out.

The ops' own tests compare these kernels with their oracles on small arrays. Oracles here are NumPy's and torch's.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.roundings import DOUBLE, FLOAT, close, drawn, dtypes, launched, wide
from xpnet import ops

TALL = {  # (R, C): what is particular about how blocks share it
    (1, 1): "one number",
    (9, 2048): "a block for every 32 channels",
    (300, 33): "channels beyond a block's",
    (3000, 1): "all threads on one channel",
    (5000, 3): "a lane without a channel",
    (32769, 40): "the last chunks have no rows",
}
tall = pytest.mark.parametrize("shape", TALL, ids=lambda shape: TALL[shape])


@dtypes
@tall
def test_moments_of_any_number_of_rows_and_channels_are_numpys(emulated, shape, dtype):
    x = (3.0 + drawn(*shape)).astype(dtype)
    (mean, var), names = launched(lambda: ops.moments(emulated.from_numpy(x)))
    exact = x.astype(np.longdouble)  # NumPy's own sums over rows would be off by more than what is allowed
    close(mean, exact.mean(0), wide(dtype), "mean")
    close(var, exact.var(0), wide(dtype), "var")
    in_one_block = shape in ((1, 1), (9, 2048))
    assert names == ["batch_norm.moments", *([] if in_one_block else ["batch_norm.moments_of_chunks"])]


def test_moments_are_right_far_from_zero_and_after_an_outlier(emulated):
    """E[x^2] - E[x]^2 would be off by units in the first case; those of x - x[0] by a tenth in the second."""
    x = (1e4 + drawn(9000, 2)).astype(FLOAT)
    _, var = ops.moments(emulated.from_numpy(x))
    np.testing.assert_allclose(var.get(), x.astype(DOUBLE).var(0), rtol=1e-6)
    x[0] = 2e4
    _, var = ops.moments(emulated.from_numpy(x))
    np.testing.assert_allclose(var.get(), x.astype(DOUBLE).var(0), rtol=1e-5)


def _normalized(kind: str, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    """y, dx, dgamma and dbeta by torch in float64."""
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(a.astype(DOUBLE)).requires_grad_() for a in (x, gamma, beta)]
    if kind == "batch_norm":
        y = torch.nn.functional.batch_norm(tensors[0], None, None, *tensors[1:], True, 0.0, 1e-3)
    else:
        y = torch.nn.functional.layer_norm(tensors[0], x.shape[1:], *tensors[1:], 1e-3)
    y.backward(torch.from_numpy(dy.astype(DOUBLE)))
    return [y.detach().numpy(), *(t.grad.numpy() for t in tensors)]


@dtypes
@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
@tall
def test_normalizing_any_number_of_rows_and_channels_is_torchs(emulated, shape, kind, dtype):
    arrays = [a.astype(dtype) for a in (2.0 + drawn(*shape), 1.0 + drawn(shape[1], seed=1), drawn(shape[1], seed=2))]
    if shape == (1, 1) or (shape[1] == 1 and kind == "layer_norm"):
        pytest.skip("a single number is not normalized")
    if kind == "layer_norm" and shape[0] > 10_000 and dtype != FLOAT:
        pytest.skip("how rows are shared does not depend on the dtype, and takes the emulator seconds")
    dy = drawn(*shape, seed=3).astype(dtype)
    x, gamma, beta = map(emulated.from_numpy, arrays)
    if kind == "batch_norm":
        y, vjp = ops.batch_norm(x, gamma, beta, *ops.moments(x), eps=1e-3, training=True)
    else:
        y, vjp = ops.layer_norm(x, gamma, beta, eps=1e-3)
    grads, names = launched(lambda: vjp(emulated.from_numpy(dy), (True,) * 3))
    assert names
    assert all(name.startswith(kind) for name in names)
    terms = 64.0 if shape[0] < 3000 else 256.0
    want = _normalized(kind, *arrays, dy)
    for got, exact, what in zip((y, *grads[:3]), want, ("y", "dx", "dgamma", "dbeta"), strict=True):
        close(got, exact, dtype, what, terms)
