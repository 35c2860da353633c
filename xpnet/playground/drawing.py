"""A drawing as an image of the data set: cut out, centred and scaled as its images were."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.errors import DataError

__all__ = ["DRAWN", "fit_drawing", "read_drawing"]

DRAWN = 96  # pixels of the sides of what is drawn


def read_drawing(text: Any) -> np.ndarray:
    """Read a drawing, DRAWN x DRAWN bytes in base64, 0 where there is nothing and 255 where there is ink: (H, W).

    Raises:
        DataError: it is another number of bytes, or not base64.
    """
    try:
        raw = base64.b64decode(arguments.text("drawing", "pixels", text), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != DRAWN * DRAWN:
        raise DataError("drawing", f"{DRAWN * DRAWN:,} bytes in base64", bytes=len(raw))
    return np.frombuffer(raw, np.uint8).reshape(DRAWN, DRAWN)


def fit_drawing(ink: np.ndarray, side: int) -> np.ndarray:
    """Return a drawing (H, W) as an image (side, side, 1), float32, 0 to 1.

    For sides under 12 as the 8x8 digits: scaled to fill the height, then the share of ink of each pixel; above as
    MNIST: scaled into 20x20 pixels of 28x28, its centre of mass in the middle. Nothing drawn gives zeros.
    """
    from PIL import Image

    image, found = np.zeros((side, side), np.float32), np.argwhere(ink > 32)
    if not len(found):
        return image[..., None]
    (top, left), (bottom, right) = found.min(axis=0), found.max(axis=0) + 1
    cut = Image.fromarray(np.ascontiguousarray(ink[top:bottom, left:right]))
    most = side if side < 12 else side * 20 // 28
    fine = 8 * most  # resampled finely first, so that the shares of ink are exact
    scale = fine / max(cut.height, cut.width)
    size = [max(8, round(n * scale)) for n in (cut.width, cut.height)]
    large = (np.asarray(cut.resize(size, Image.Resampling.BILINEAR), np.float32) / 255).clip(0, 1)  # (h, w)
    canvas = np.zeros((8 * side, 8 * side), np.float32)
    if side < 12:
        row, column = ((8 * side - n) // 2 for n in large.shape)
    else:
        weight = large.sum()
        middle = [(large.sum(axis=1 - axis) @ np.arange(large.shape[axis])) / weight for axis in (0, 1)]
        row, column = (min(max(0, round(4 * side - m)), 8 * side - n) for m, n in zip(middle, large.shape, strict=True))
    canvas[row : row + large.shape[0], column : column + large.shape[1]] = large
    image = canvas.reshape(side, 8, side, 8).mean(axis=(1, 3))
    return image[..., None].astype(np.float32)
