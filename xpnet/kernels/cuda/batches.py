"""Batches gathered, varied, normalized and converted on CUDA, in one launch."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.kernels import register
from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.driver import DeviceArray
from xpnet.kernels.cuda.philox import draw_arguments
from xpnet.random import Key

__all__ = ["take_batch"]

_PART = 4096  # numbers of an image that a block makes, as in batches.cu
_PLAN = np.dtype(
    [(name, np.int64) for name in ("rows", "batch", "row", "h", "w", "c", "parts", "seed", "purpose", "step", "epoch")]
    + [(name, np.int64) for name in ("varied", "shift", "crop", "flip", "normalized")]
    + [(name, np.float64) for name in ("fill", "scale", "offset")]
)  # struct Plan of batches.cu
_KERNELS = {"uint8": "take_bytes", "float32": "take_floats"}  # by the dtype of the set


@register("take_batch", "cuda", recordable=True)
def take_batch(
    x: DeviceArray, y: DeviceArray | None, order: DeviceArray | None, batch: int, size: int, key: Key, dtype: Any,
    factors: tuple[Any, Any] | None, augment: Any, row: int = 0,
) -> tuple[DeviceArray, DeviceArray | None]:  # fmt: skip
    """Make a batch of a set on the device: the samples order[step*batch + row + k] for k in 0..size-1.

    Args:
        x: the set, (N, H, W, C) or (N, D), uint8 or float32; contiguous, or it is copied each time.
        y: its labels, (N,), int64, or None.
        order: (N,), int64, or None: the set's own.
        batch: samples of a full batch.
        size: those made, >= 0.
        key: names the step, and the draws of augment.
        dtype: of the samples made.
        factors: of data.Normalize, numbers or arrays (C,) of dtype; or None.
        augment: a data.Augment that only moves images, or None.
        row: samples of the step's batch that precede these, >= 0.
    Returns:
        (size, ...) of dtype and (size,) int64 (or None), or NotImplemented.
    """
    name = _KERNELS.get(np.dtype(x.dtype).name)
    if name is None:
        return NotImplemented
    made = driver.empty((size, *x.shape[1:]), dtype)
    if not driver.supports(made):
        return NotImplemented
    labels = None if y is None else driver.empty((size,), y.dtype)
    h, w, c = x.shape[1:] if len(x.shape) == 4 else (1, 1, x.shape[1])
    parts = -(-(h * w * c) // _PART)
    seed, purpose, step_at, step, epoch_at, epoch = draw_arguments(key)
    varied = (0, 0, 0, 0) if augment is None else (1, augment.shift, augment.crop, augment.flip)
    fill = 0 if augment is None else np.full((), augment.fill, x.dtype)
    # a number is rounded as when it multiplies an array of dtype
    numbers = [made.dtype.type(f) if isinstance(f, float) else 0 for f in factors or (0, 0)]
    arrays = [None if isinstance(f, float) else driver.contiguous(f) for f in factors or (0.0, 0.0)]
    counts = (x.shape[0], batch, row, h, w, c, parts)
    values = (*counts, seed, purpose, step, epoch, *varied, factors is not None, fill, *numbers)
    sources = [None if a is None else driver.contiguous(a) for a in (x, y, order)]
    plan = np.array([values], _PLAN)
    driver.blocks("batches", name, dtype, size * parts, *sources, *arrays, made, labels, plan, step_at, epoch_at)
    return made, labels
