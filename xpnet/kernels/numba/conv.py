"""conv2d with compiled loops around the products."""

from __future__ import annotations

from typing import Any

from xpnet.kernels import register
from xpnet.kernels.numba import unrolling
from xpnet.kernels.numba.activation import act_grad, bias_act
from xpnet.kernels.numba.compiling import FLOATS, as_contiguous
from xpnet.kernels.numpy.conv import Loops, convolve

__all__ = ["conv2d"]

_COMPILED = Loops(unrolling.unroll, unrolling.fold, bias_act, act_grad)


@register("conv2d", "numba", recordable=True)
def conv2d(x: Any, *others: Any) -> tuple[Any, Any]:
    """Convolve as ops.conv2d does, in float32 and float64."""
    if x.dtype not in FLOATS:
        return NotImplemented
    return convolve(_COMPILED, as_contiguous(x), *others)
