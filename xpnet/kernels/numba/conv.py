"""conv2d with compiled loops around the products."""

from __future__ import annotations

from xpnet.kernels import register
from xpnet.kernels.numba import windows
from xpnet.kernels.numba.activation import act_grad, bias_act
from xpnet.kernels.numba.compiling import FLOATS
from xpnet.kernels.numpy.arrays import Array, Result, as_contiguous
from xpnet.kernels.numpy.conv import Loops, convolve
from xpnet.kernels.windows import Axis

__all__ = ["conv2d"]

_COMPILED = Loops(windows.unroll, windows.fold, bias_act, act_grad)


@register("conv2d", "numba", recordable=True)
def conv2d(
    x: Array, w: Array, b: Array | None, rows: Axis, cols: Axis, groups: int, flip: bool, budget: int,
    activation: str | None,
) -> Result:  # fmt: skip
    """Convolve as ops.conv2d does, in float32 and float64."""
    if x.dtype not in FLOATS:
        return NotImplemented
    return convolve(_COMPILED, as_contiguous(x), w, b, rows, cols, groups, flip, budget, activation)
