"""One convolution forward and backward, as the tests of cuDNN take it."""

from __future__ import annotations

import numpy as np
from emulator.cudnn_frontend import CuDNN, DriverWithCuDNN

from tests.harness import put, sample
from tests.ops.test_conv import X
from xpnet import ops
from xpnet.kernels.cuda import driver

__all__ = ["B", "W", "X", "convolve", "next_process", "step"]

W, B = sample(4, 2, 3, 3, seed=1), sample(4, seed=2)


def convolve(x, w, b=None, **options):
    """ops.conv2d under another name, so that check_op does not test the op's own code once more."""
    return ops.conv2d(x, w, b, **options)


def step(emulated, x=X, w=W, b=B, dtype=np.float32, **options):
    """y, dx, dw and db of one convolution, as NumPy arrays."""
    arrays = [None if a is None else put(emulated, a, dtype) for a in (x, w, b)]
    y, vjp = convolve(*arrays, **options)
    gradients = vjp(put(emulated, sample(*y.shape, seed=77), dtype), (True, True, b is not None))
    return [None if a is None else emulated.to_numpy(a) for a in (y, *gradients)]


def next_process(emulated, **options):
    """The stand-in of a second process, after one step."""
    fake = CuDNN(**options)
    with driver.use_driver(DriverWithCuDNN(fake)):
        step(emulated)
    return fake
