"""linear and matmul on CUDA: one product, with its bias and ReLU where the library has an epilogue for them."""

from __future__ import annotations

from xpnet.backend import namespace
from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.activation import FUSED, pass_back
from xpnet.kernels.cuda.driver import DeviceArray, Gradients, Needs, Result
from xpnet.kernels.cuda.gemm import matmul as product

__all__ = ["linear", "matmul"]


@driver.kernel("linear")
def linear(x: DeviceArray, w: DeviceArray, b: DeviceArray | None, activation: str | None) -> Result:
    """Multiply, add and activate as ops.linear does."""
    if activation not in FUSED or (x.ndim != 2 and not x.size):  # -1 does not say the shape of no numbers
        return NotImplemented
    xp = namespace(x)
    features = x if x.ndim == 2 else xp.reshape(x, (-1, w.shape[1]))  # (N, D)
    b = None if b is None else driver.contiguous(b)
    y = product(features, w.T, bias=b, activation=activation)  # (N, M)

    def vjp(dy: DeviceArray, needs: Needs) -> Gradients:
        rows = driver.contiguous(dy if dy.ndim == 2 else xp.reshape(dy, y.shape))
        dz, db = pass_back(rows, y, activation, b is not None and needs[2])
        dx = xp.reshape(product(dz, w), x.shape) if needs[0] else None
        return dx, product(dz.T, features) if needs[1] else None, db

    return (y if x.ndim == 2 else xp.reshape(y, (*x.shape[:-1], w.shape[0]))), vjp


@driver.kernel("matmul")
def matmul(a: DeviceArray, b: DeviceArray) -> Result:
    """Multiply two matrices as ops.matmul does; stacks of them are left to the op."""
    if a.ndim != 2 or b.ndim != 2:
        return NotImplemented

    def vjp(dy: DeviceArray, needs: Needs) -> Gradients:
        return product(dy, b.T) if needs[0] else None, product(a.T, dy) if needs[1] else None

    return product(a, b), vjp
