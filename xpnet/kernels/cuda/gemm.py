"""Products of matrices by cuBLASLt: unlike CuPy's own, they can be captured in a graph, and take a bias and ReLU along.

Matrices here are row-major, cuBLASLt's column-major. The memory of a row-major y (N, M) is that of a column-major y'
(M, N), so y = a b is asked for as y' = b' a': its first operand is b, its second a, and nothing is copied.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from xpnet.backend import current_precision, namespace
from xpnet.kernels.cuda import activation as activations
from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.cublaslt import BIAS, FP32, FP64, PLAIN, RELU, TF32, Kind, Library, say

__all__ = ["matmul"]

_LIBRARIES: WeakKeyDictionary[driver.Driver, Library | None] = WeakKeyDictionary()


def matmul(
    a: Any, b: Any, out: Any = None, *, add: bool = False, bias: Any = None, activation: str | None = None
) -> Any:
    """Multiply two matrices: y = act(a b + bias), or y += a b.

    Views that are transposed, or whose rows lie further apart than they are long, are taken as they are. float16 is
    summed in float32; float32 is rounded to TF32 before it is multiplied in precision "tf32" and in no other.

    Args:
        a: (N, K), float16, float32 or float64.
        b: (K, M), dtype of a.
        out: y, (N, M), each row without gaps, dtype of a, or float32 for float16; by default it is made.
        add: add to out; then bias and activation are None.
        bias: (M,), contiguous, dtype of out, or None. With it or an activation, out has no gaps between its rows.
        activation: one of activation.FUSED.
    Returns:
        y, which is out if that is given.
    Raises:
        DeviceError: cuBLASLt said that it can, and could not.
    Cost: one launch, and one more where the library has no epilog for the bias or the activation.
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
    elif activation is not None and not done & RELU:
        activations.activate(y, activation, out=y)
    return y


def _multiply(a: Any, b: Any, y: Any, add: bool, bias: Any, activation: str | None) -> int:
    """Write the product into y, with its bias and ReLU if the library can; return which epilogue was done."""
    library = _library(driver.current())
    if library is not None:
        left, right = _operand(b), _operand(a)
        for epilogue in _epilogues(bias, activation):
            kind = _kind(left, right, y, epilogue)
            if library.multiply(kind, left.pointer, right.pointer, y, bias, add):
                return epilogue
    xp = namespace(a)
    if y.dtype != a.dtype:
        a, b = xp.astype(a, y.dtype), xp.astype(b, y.dtype)
    if add:
        y += a @ b
    else:
        y[...] = a @ b
    return PLAIN


def _epilogues(bias: Any, activation: str | None) -> list[int]:
    """What to ask for, the best first. Without it, bias and activation are one pass together."""
    if bias is None or driver.current().pointer(bias) % 16:
        return [PLAIN]
    return [BIAS, PLAIN] if activation is None else [BIAS | RELU, PLAIN] if activation == "relu" else [PLAIN]


class _Operand(NamedTuple):
    """A matrix as memory."""

    array: Any
    pointer: int
    lead: int  # elements from one row to the next; from one column to the next where turned
    turned: bool  # whether columns, not rows, lie without gaps


def _operand(x: Any) -> _Operand:
    """Find how a matrix lies; one that has gaps both ways, or runs backwards, is copied."""
    (rows, cols), (down, across), size = x.shape, x.strides, x.itemsize
    if x.flags.c_contiguous:
        lead, turned = cols, False
    elif x.flags.f_contiguous:
        lead, turned = rows, True
    elif across == size and down >= cols * size and down % size == 0:
        lead, turned = down // size, False
    elif down == size and across >= rows * size and across % size == 0:
        lead, turned = across // size, True
    else:
        x, lead, turned = driver.contiguous(x), cols, False
    return _Operand(x, driver.current().pointer(x), lead, turned)


def _kind(left: _Operand, right: _Operand, y: Any, epilogue: int) -> Kind:
    """The product y' = left' right', as cuBLASLt sees it."""
    n, m = y.shape
    dtype = left.array.dtype.name
    computed = FP64 if dtype == "float64" else TF32 if dtype == "float32" and current_precision() == "tf32" else FP32
    addresses = left.pointer, right.pointer, driver.current().pointer(y)
    return Kind(
        driver.current().device(),
        computed,
        dtype,
        y.dtype.name,
        (m, n, left.array.shape[0]),
        (left.turned, right.turned),
        (left.lead, right.lead, y.strides[0] // y.itemsize if n > 1 else m),
        tuple(min(at & -at, 256) for at in addresses),  # type: ignore[arg-type]
        epilogue,
    )


def _library(of: driver.Driver) -> Library | None:
    """The library that a driver finds, opened once; None, and a line that says why, where there is none."""
    if of not in _LIBRARIES:
        _LIBRARIES[of] = None
        try:
            _LIBRARIES[of] = Library(of.library("cublasLt"))
        except (OSError, AttributeError) as error:
            say(f"cuBLASLt cannot be loaded ({error}); the array library's own products are used, which no graph holds")
    return _LIBRARIES[of]
