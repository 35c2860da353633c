"""Convolution by cuDNN, where its frontend is installed (xpnet[cudnn]) and has a plan for the shape.

Three pieces of work, each with a plan of its own: the forward pass, fused with the bias and ReLU where cuDNN can, the
gradient of the images and the gradient of the filters. What it cannot do is left to unrolled columns, piece by piece.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any

from xpnet.backend import current_precision, namespace
from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.activation import FUSED, activate, pass_back
from xpnet.kernels.cuda.cudnn_graphs import BIAS, DY, FILTERS, IMAGES, RESULT, Problem
from xpnet.kernels.cuda.cudnn_plans import Library

__all__ = ["available", "conv2d"]

Gradients = Callable[[Any, tuple[bool, bool]], tuple[Any, Any]]

_OLDEST = 90000  # the extra asks for cuDNN 9

_libraries: weakref.WeakKeyDictionary[driver.Driver, Library | None] = weakref.WeakKeyDictionary()
_log = logging.getLogger("xpnet")


def available() -> bool:
    """Whether convolutions go to cuDNN; where they do not, the first answer says why in the log."""
    return _library() is not None


def conv2d(
    x: Any,
    w: Any,
    b: Any,
    rows: Any,
    cols: Any,
    groups: int,
    flip: bool,
    activation: str | None,
    unrolled: Gradients,
) -> tuple[Any, Any]:
    """Convolve as ops.conv2d does, its activation included; NotImplemented where cuDNN does not.

    Args:
        x, w, b: images (N, H, W, C), filters (F, KH, KW, C/G), bias (F,) or None.
        rows, cols: the windows laid by the op.
        groups, flip, activation: as the op's.
        unrolled: (dz, needs) -> (dx, dw), by unrolled columns and products, where dz is the gradient before the
            activation; it is called for the gradients that cuDNN has no plan for.
    """
    library = _library()
    if library is None or activation not in FUSED or x.dtype.name not in ("float32", "float16") or not x.size:
        return NotImplemented
    xp = namespace(x)
    x, bank = driver.contiguous(x), driver.contiguous(xp.flip(w, axis=(1, 2)) if flip else w)
    forward = Problem(
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
    y = _forward(library, forward, x, bank, None if b is None else driver.contiguous(b), activation)
    if y is NotImplemented:
        return NotImplemented

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dz, db = pass_back(driver.contiguous(dy), y, activation, b is not None and needs[2])
        dx = dw = None
        if needs[0]:
            dx = _run(library, forward._replace(work="input gradient"), {DY: dz, FILTERS: bank})
        if needs[1]:
            dw = _run(library, forward._replace(work="filter gradient"), {DY: dz, IMAGES: x})
            dw = xp.flip(dw, axis=(1, 2)) if flip and dw is not NotImplemented else dw
        left = dx is NotImplemented, dw is NotImplemented
        if any(left):
            others = unrolled(dz, left)
            dx, dw = (other if mine else own for own, other, mine in zip((dx, dw), others, left, strict=True))
        return dx, dw, db

    return y, vjp


def _forward(library: Library, bare: Problem, x: Any, bank: Any, b: Any, activation: str | None) -> Any:
    """y with its bias and activation: in one plan, else by a plan and one pass over its result."""
    arrays = {IMAGES: x, FILTERS: bank}
    whole = bare._replace(bias=b is not None, relu=activation == "relu")
    if whole != bare and activation in (None, "relu"):
        y = _run(library, whole, arrays if b is None else {**arrays, BIAS: b})
        if y is not NotImplemented:
            return y
    z = _run(library, bare, arrays)
    plain = z is NotImplemented or (b is None and activation is None)
    return z if plain else activate(z, activation, b, out=z)


def _run(library: Library, problem: Problem, arrays: dict[int, Any]) -> Any:
    """The result of a plan; NotImplemented where there is none."""
    if not library.can(problem):
        return NotImplemented
    result = driver.empty(problem.result, problem.dtype)
    return result if library.run(problem, {**arrays, RESULT: result}) else NotImplemented


def _library() -> Library | None:
    """cuDNN behind the door in use; None, with one line in the log, where it is missing or does not work."""
    door = driver.current()
    if door not in _libraries:
        _libraries[door] = _open(door)
    return _libraries[door]


def _open(door: driver.Driver) -> Library | None:
    try:
        cudnn = door.cudnn()
        version = cudnn.backend_version()  # 9.28.1 is 92801
        if version >= _OLDEST:
            return Library(cudnn)
        why, level = f"libcudnn is too old, got version {version}, oldest {_OLDEST}", logging.WARNING
    except Exception as error:  # the frontend's: no libcudnn, or a driver that is too old for it
        why = " ".join(str(error).split())
        absent = isinstance(error, ModuleNotFoundError) and error.name == "cudnn"
        level = logging.INFO if absent else logging.WARNING  # an extra that nobody asked for, or one that does not work
    _log.log(level, "convolutions are unrolled, without cuDNN: %s; it comes with pip install 'xpnet[cudnn]'", why)
    return None
