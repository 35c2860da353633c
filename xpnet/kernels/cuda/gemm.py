"""Products of matrices by cuBLASLt: unlike CuPy's own, a graph can hold them, and they include a bias and ReLU.

Matrices here are row-major, cuBLASLt's column-major. A row-major y (N, M) is, in memory, a column-major y' (M, N), so
y = a b is requested as y' = b' a': its first operand is b, its second a, and nothing is copied.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from xpnet.backend import current_precision, namespace
from xpnet.kernels.cuda import activation as activations
from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.cublaslt import BIAS, FP32, FP64, PLAIN, RELU, TF32, Library, Product, warn_once
from xpnet.kernels.cuda.driver import DeviceArray

__all__ = ["matmul"]


def matmul(
    a: DeviceArray, b: DeviceArray, out: DeviceArray | None = None, *, add: bool = False,
    bias: DeviceArray | None = None, activation: str | None = None,
) -> DeviceArray:  # fmt: skip
    """Multiply two matrices: y = act(a b + bias), or y += a b.

    Transposed views, and views whose rows lie further apart than they are long, are not copied. float16 is summed in
    float32; float32 is rounded to TF32 before it is multiplied in precision "tf32" and in no other.

    Args:
        a: (N, K), float16, float32 or float64.
        b: (K, M), dtype of a.
        out: y, (N, M), each row without gaps, dtype of a, or float32 for float16; by default a new array.
        add: add to out; then bias and activation are None.
        bias: (M,), contiguous, dtype of out, or None. With it or an activation, out has no gaps between its rows.
        activation: one of activation.FUSED.
    Returns:
        y, which is out if that is given.
    Raises:
        DeviceError: cuBLASLt found an algorithm, which failed.
    Cost: one launch, and one more where the library has no epilogue for the bias or the activation.
    """
    y = driver.empty((a.shape[0], b.shape[1]), a.dtype) if out is None else out
    if not y.size:
        return y
    done = PLAIN
    if a.shape[1]:
        done = _multiply(a, b, y, add, bias, activation)
    elif not add:
        y[...] = 0
    if done == PLAIN and (bias is not None or activation is not None):
        activations.activate(y, activation, bias, out=y)
    return y


def _multiply(
    a: DeviceArray, b: DeviceArray, y: DeviceArray, add: bool, bias: DeviceArray | None, activation: str | None
) -> int:
    """Write the product into y, with its bias and ReLU if the library can; return which epilogue was done."""
    library = _library(driver.current())
    if library is not None:
        left, right = _operand(b), _operand(a)
        for epilogue in _epilogues(bias, activation):
            if library.multiply(_product(left, right, y, epilogue), left.pointer, right.pointer, y, bias, add):
                return epilogue
    xp = namespace(a)
    if y.dtype != a.dtype:
        a, b = xp.astype(a, y.dtype), xp.astype(b, y.dtype)
    y[...] = y + a @ b if add else a @ b
    return PLAIN


def _epilogues(bias: DeviceArray | None, activation: str | None) -> list[int]:
    """What to request, the best first. Bias and activation that no epilogue does are one pass together."""
    if bias is None or activation not in (None, "relu") or driver.pointer(bias) % 16:
        return [PLAIN]
    return [BIAS | RELU if activation else BIAS, PLAIN]


class _Operand(NamedTuple):
    """A matrix in memory."""

    array: DeviceArray
    pointer: int
    leading: int  # leading dimension: elements from one row to the next; from one column to the next if transposed
    transposed: bool  # whether columns, not rows, lie without gaps


def _operand(x: DeviceArray) -> _Operand:
    """Find how a matrix lies in memory; one with gaps in both directions, or reversed, is copied."""
    (rows, cols), (down, across), size = x.shape, x.strides, x.itemsize
    if x.flags.c_contiguous:
        leading, transposed = cols, False
    elif x.flags.f_contiguous:
        leading, transposed = rows, True
    elif across == size and down >= cols * size and down % size == 0:
        leading, transposed = down // size, False
    elif down == size and across >= rows * size and across % size == 0:
        leading, transposed = across // size, True
    else:
        x, leading, transposed = driver.contiguous(x), cols, False
    return _Operand(x, driver.pointer(x), leading, transposed)


def _product(left: _Operand, right: _Operand, y: DeviceArray, epilogue: int) -> Product:
    """The product y' = left' right', as cuBLASLt sees it."""
    n, m = y.shape
    dtype = left.array.dtype.name
    computed = FP64 if dtype == "float64" else TF32 if dtype == "float32" and current_precision() == "tf32" else FP32
    at_left, at_right, at_y = (min(at & -at, 256) for at in (left.pointer, right.pointer, driver.pointer(y)))
    return Product(
        driver.current().device(),
        computed,
        dtype,
        y.dtype.name,
        (m, n, left.array.shape[0]),
        (left.transposed, right.transposed),
        (left.leading, right.leading, y.strides[0] // y.itemsize if n > 1 else m),
        (at_left, at_right, at_y),
        epilogue,
    )


@lru_cache(maxsize=4)  # one driver, and a few in tests
def _library(of: driver.Driver) -> Library | None:
    """The library of a driver, opened once; None, and a line in the log that says why, where there is none."""
    try:
        return Library(of.library("cublasLt"))
    except (OSError, AttributeError) as error:
        warn_once(f"cuBLASLt cannot be loaded ({error}); CuPy's own products are used, which no graph can hold")
        return None
