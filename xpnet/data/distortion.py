"""Random distortions of images: affine maps about the centre, elastic displacement, bilinear resampling."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xpnet.random import Key, normal, random_bits

__all__ = ["Affine", "elastic", "resample"]

_SMOOTH = 7  # an elastic distortion is smooth over a seventh of the image: 4 pixels of 28


class Affine(NamedTuple):
    """The limits of random affine maps about the centre. A point (x, y), y pointing down, is mapped to

        rotation(a) @ [[1, k], [0, 1]] @ [[s*q, 0], [0, s/q]] @ (x, y)

    with a uniform in -rotate..rotate degrees, k uniform in -shear..shear, s = (1 + scale)**u and q = (1 + squeeze)**v
    with u and v uniform in -1..1, so enlarging and shrinking are equally likely.

    Args:
        rotate: the largest angle, in degrees, >= 0.
        scale: the largest relative enlargement, >= 0; 0.1 gives sizes from 1/1.1 to 1.1.
        squeeze: the largest factor of the width, the height being divided by it, or the reverse; as scale.
        shear: the largest horizontal shift, in pixels per pixel of height, >= 0.
    Source: LeCun, Bottou, Bengio and Haffner (1998), section III.B, for all but the rotation.
    """

    rotate: float = 0.0
    scale: float = 0.0
    squeeze: float = 0.0
    shear: float = 0.0

    def inverses(self, key: Key, n: int, row: int = 0) -> np.ndarray:
        """Draw n maps and return their inverses, which map a pixel of the result to its source.

        Args:
            key: names the draws; map i depends only on the key and row + i.
            n: the number of maps, >= 0.
            row: how many maps of the draw precede these, >= 0.
        Returns: float64, (n, 2, 2), applied to (x, y) relative to the centre.
        """
        bits = random_bits(key, 4 * n, 4 * row).reshape(n, 4)
        draws = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0  # [-1, 1)
        angle = draws[:, 0] * math.radians(self.rotate)
        size, ratio = (1.0 + self.scale) ** draws[:, 1], (1.0 + self.squeeze) ** draws[:, 2]
        slope = draws[:, 3] * self.shear
        c, s = np.cos(angle), np.sin(angle)
        wide, high = size * ratio, size / ratio
        back = [[(c + slope * s) / wide, (s - slope * c) / wide], [-s / high, c / high]]
        return np.stack([np.stack(row, axis=1) for row in back], axis=1)


def elastic(key: Key, n: int, height: int, width: int, spread: float, row: int = 0) -> np.ndarray:
    """Draw smooth random displacement fields for elastic distortions.

    Each of the x and y components is a Gaussian field of mean 0 and standard deviation spread at every pixel, with a
    correlation of exp(-(d / 2r)**2) between pixels at distance d, where r is a seventh of the shorter side.

    Args:
        key: names the draws; field i depends only on the key and row + i.
        n: the number of fields, >= 0.
        spread: the standard deviation, in pixels, >= 0.
        row: how many fields of the draw precede these, >= 0.
    Returns: float32, (n, 2, H, W): displacements along x, along y.
    Cost: about n * 2 * (H + W) * 11 * 11 multiply-adds, and 242 normal draws per field.
    Source: Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to visual document
        analysis" (2003), section 2. They filter noise given at every pixel; here the noise is given every r pixels.
    """
    spacing = min(height, width) / _SMOOTH
    rows, columns = _gaussians(height, spacing), _gaussians(width, spacing)  # (H, A), (W, B)
    each = (2, rows.shape[1], columns.shape[1])
    noise = _aligned(normal(key, (n, *each), std=spread, start=row * math.prod(each)))
    return _aligned(rows @ noise) @ columns.T  # (n, 2, H, W)


def _aligned(matrices: np.ndarray) -> np.ndarray:
    """Copy matrices to where each begins at a multiple of 64 bytes, on which the last bits of BLAS's products depend:
    then a field is the same at any place in a batch.
    """
    *count, height, width = matrices.shape
    stride = -(-width // 16) * 16
    memory = np.empty(math.prod(count) * height * stride + 16, np.float32)
    first = -memory.ctypes.data % 64 // 4
    found = memory[first : first + len(memory) - 16].reshape(*count, height, stride)[..., :width]
    found[...] = matrices
    return found


def _gaussians(size: int, spacing: float) -> np.ndarray:
    """Evaluate Gaussians centred every spacing pixels at each pixel: float32, (size, centres), rows of norm 1."""
    centres = np.arange(-2, math.ceil((size - 1) / spacing) + 3) * spacing
    weights = np.exp(-(((np.arange(size)[:, None] - centres) / spacing) ** 2) / 2)
    return (weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))).astype(np.float32)


def resample(
    images: np.ndarray,
    inverses: np.ndarray,
    down: np.ndarray,
    right: np.ndarray,
    fill: float | None,
    displacement: np.ndarray | None = None,
) -> np.ndarray:
    """Transform images: each pixel of the result is interpolated between the four pixels around its source (bilinear).

        y[n,i,j] = x[n] at centre + inverses[n] @ (j - right[n] - centre, i - down[n] - centre) + displacement[n,:,i,j]

    Args:
        images: (N, H, W, C); not written.
        inverses: (N, 2, 2), from a pixel of the result to its source.
        down, right: (N,), the shift of each image after the map, in pixels.
        fill: the value outside an image; None: the image is continued by its reflection.
        displacement: (N, 2, H, W), added to each source, in pixels; None for zero.
    Returns:
        A new array of the same shape and dtype; integers are rounded to the nearest.
    Cost: about ten temporary float32 arrays of the size of the batch.
    """
    n, height, width, c = images.shape
    kind = np.float64 if images.dtype == np.float64 else np.float32
    framed = np.full(
        (n, height + 2, width + 2, c), 0 if fill is None else fill, dtype=kind
    )  # one pixel of fill around each
    framed[:, 1:-1, 1:-1] = images
    flat = framed.reshape(-1, c)  # (N*(H+2)*(W+2), C)

    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    moved = middle + np.stack([right, down], axis=1)  # (N, 2)
    start = middle - (inverses[..., 0] * moved[:, :1] + inverses[..., 1] * moved[:, 1:])  # (N, 2)
    start, steps = start.astype(np.float32)[..., None, None], inverses.astype(np.float32)[..., None, None]
    j, i = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    column, row = (start[:, k] + steps[:, k, 0] * j + steps[:, k, 1] * i for k in (0, 1))  # (N, H, W) each
    if displacement is not None:
        column += displacement[:, 0]
        row += displacement[:, 1]
    if fill is None:
        column, row = _reflect(column, width - 1), _reflect(row, height - 1)
    column, row = np.clip(column, -1, width) + 1, np.clip(row, -1, height) + 1  # in the frame, beyond which all is fill
    left, top = np.minimum(column.astype(np.intp), width), np.minimum(row.astype(np.intp), height)
    across, down_by = (column - left).astype(kind)[..., None], (row - top).astype(kind)[..., None]  # 0..1
    index = (np.arange(n)[:, None, None] * (height + 2) + top) * (width + 2) + left

    def pixels(offset: int) -> np.ndarray:
        return np.take(flat, index + offset, axis=0, mode="clip")  # (N, H, W, C); no index is outside

    def interpolate(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
        second -= first
        second *= weight
        first += second
        return first

    upper = interpolate(pixels(0), pixels(1), across)
    lower = interpolate(pixels(width + 2), pixels(width + 3), across)
    result = interpolate(upper, lower, down_by)
    return result.astype(images.dtype) if images.dtype.kind == "f" else np.rint(result).astype(images.dtype)


def _reflect(x: np.ndarray, last: int) -> np.ndarray:
    """Reflect positions beyond 0..last into it; what is farther than once the size outside is limited to an edge."""
    return np.clip(last - np.abs(last - np.abs(x)), 0, last)
