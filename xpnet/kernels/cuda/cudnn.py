"""Convolution by cuDNN, where its frontend is installed (xpnet[cudnn]) and has a plan for the shape.

Three pieces of work have a plan each: the forward pass, fused with the bias and ReLU where cuDNN can, the gradient of
the images and the gradient of the filters. Each returns None where cuDNN cannot do it; then unrolled columns do.
"""

from __future__ import annotations

import logging
from functools import lru_cache

from xpnet.backend import current_precision, namespace
from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.activation import activate
from xpnet.kernels.cuda.cudnn_graphs import BIAS, DY, FILTERS, IMAGES, Problem
from xpnet.kernels.cuda.cudnn_plans import Library
from xpnet.kernels.cuda.driver import DeviceArray
from xpnet.windows import Axis

__all__ = ["available", "convolution"]

_OLDEST = 90000  # the extra requires cuDNN 9

_log = logging.getLogger("xpnet")


def available() -> bool:
    """Whether convolutions go to cuDNN; where they do not, the first answer says why in the log."""
    return _library(driver.current()) is not None


def convolution(x: DeviceArray, w: DeviceArray, rows: Axis, cols: Axis, flip: bool) -> Convolution | None:
    """Return a convolution by cuDNN as ops.conv2d defines it, or None where cuDNN is missing or has no such numbers."""
    library = _library(driver.current())
    if library is None or x.dtype.name not in ("float32", "float16") or not x.size:
        return None
    return Convolution(library, x, w, rows, cols, flip)


class Convolution:
    """A convolution, and its plans.

    Args:
        library: cuDNN.
        x, w: images (N, H, W, C), filters (F, KH, KW, C/G).
        rows, cols: the windows laid by the op.
        flip: as the op's.
    """

    def __init__(self, library: Library, x: DeviceArray, w: DeviceArray, rows: Axis, cols: Axis, flip: bool) -> None:
        self._library, self._flip, self._xp = library, flip, namespace(x)
        self._x, self._w = driver.contiguous(x), driver.contiguous(self._flipped(w))
        self._forward = Problem(
            "forward",
            tuple(x.shape),
            tuple(w.shape),
            (x.shape[0], rows.out, cols.out, w.shape[0]),
            (rows.s, cols.s),
            (rows.p, cols.p),
            (rows.d, cols.d),
            x.dtype.name,
            current_precision() == "tf32" and x.dtype.name == "float32",
        )

    def _flipped(self, w: DeviceArray) -> DeviceArray:
        return self._xp.flip(w, axis=(1, 2)) if self._flip else w

    def forward(self, b: DeviceArray | None, activation: str | None) -> DeviceArray | None:
        """Return y with its bias and activation: by one plan, else by a plan and one pass over its result."""
        arrays = {IMAGES: self._x, FILTERS: self._w}
        fused = self._forward._replace(bias=b is not None, relu=activation == "relu")
        if fused != self._forward and activation in (None, "relu"):
            y = self._library.run(fused, arrays if b is None else {**arrays, BIAS: b})
            if y is not None:
                return y
        z = self._library.run(self._forward, arrays)
        done = z is None or (b is None and activation is None)
        return z if done else activate(z, activation, b, out=z)

    def input_gradient(self, dz: DeviceArray) -> DeviceArray | None:
        """Return the gradient of x, for dz, that of y before its activation."""
        return self._library.run(self._forward._replace(work="input gradient"), {DY: dz, FILTERS: self._w})

    def filter_gradient(self, dz: DeviceArray) -> DeviceArray | None:
        """Return the gradient of w, for dz, that of y before its activation."""
        dw = self._library.run(self._forward._replace(work="filter gradient"), {DY: dz, IMAGES: self._x})
        return None if dw is None else self._flipped(dw)


@lru_cache(maxsize=4)  # one driver, and a few in tests
def _library(of: driver.Driver) -> Library | None:
    """cuDNN of a driver; None, with one line in the log, where it is missing or does not work."""
    try:
        cudnn = of.cudnn()
        version = cudnn.backend_version()  # 9.28.1 is 92801
        if version >= _OLDEST:
            return Library(cudnn)
        why, level = f"libcudnn is too old, version {version} of at least {_OLDEST}", logging.WARNING
    except Exception as error:  # the frontend's: no libcudnn, or a driver that is too old for it
        why = " ".join(str(error).split())
        absent = isinstance(error, ModuleNotFoundError) and error.name == "cudnn"
        level = logging.INFO if absent else logging.WARNING  # an optional extra, or one that does not work
    _log.log(level, "convolutions are unrolled, without cuDNN: %s; it comes with pip install 'xpnet[cudnn]'", why)
    return None
