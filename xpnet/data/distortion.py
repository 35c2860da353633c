"""Random distortions of images: affine maps about the centre, elastic ones, and sampling between the pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xpnet.random import Key, normal, random_bits

__all__ = ["Affine", "elastic", "resample"]

_SMOOTH = 7  # an elastic distortion is smooth over a seventh of an image: 4 pixels of 28


class Affine(NamedTuple):
    """How far images may be bent. A place (x, y) from the centre, y downwards, goes to

        turn(a) @ [[1, k], [0, 1]] @ [[s*q, 0], [0, s/q]] @ (x, y)

    with a drawn evenly from -rotate..rotate degrees and k from -shear..shear; s = (1 + scale)**u, q = (1 + squeeze)**v
    with u and v drawn evenly from -1..1, so that growing and shrinking are as likely.

    Args:
        rotate: the largest turn, in degrees, >= 0.
        scale: the largest growth, as a part of the size, >= 0; 0.1 draws sizes from 1/1.1 to 1.1.
        squeeze: likewise, of the width while the height shrinks by as much, and the other way round.
        shear: the largest move sideways, in pixels a pixel of height, >= 0.
    Source: LeCun, Bottou, Bengio and Haffner (1998), section III.B, names all but the turn.
    """

    rotate: float = 0.0
    scale: float = 0.0
    squeeze: float = 0.0
    shear: float = 0.0

    def inverses(self, key: Key, n: int) -> np.ndarray:
        """Draw n maps, and return what leads from each place of a result back to its source.

        Args:
            key: names the draws; map i depends on the key and on i alone.
            n: how many, >= 0.
        Returns: float64, (n, 2, 2), each to be multiplied by (x, y) from the centre.
        """
        draws = (random_bits(key, 4 * n).reshape(n, 4) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0  # [-1, 1)
        angle = draws[:, 0] * math.radians(self.rotate)
        size, ratio = (1.0 + self.scale) ** draws[:, 1], (1.0 + self.squeeze) ** draws[:, 2]
        slope = draws[:, 3] * self.shear
        c, s = np.cos(angle), np.sin(angle)
        wide, high = size * ratio, size / ratio
        back = [[(c + slope * s) / wide, (s - slope * c) / wide], [-s / high, c / high]]
        return np.stack([np.stack(row, axis=1) for row in back], axis=1)


def elastic(key: Key, n: int, height: int, width: int, spread: float) -> np.ndarray:
    """Draw how far each pixel wanders from its place, near pixels together, as in a sheet of rubber.

    Each of x and y is a smooth Gaussian field: of mean 0 and standard deviation spread at every pixel, with a
    correlation of exp(-(d / 2r)**2) between pixels d apart, r being a seventh of the shorter side.

    Args:
        key: names the draws; field i depends on the key and on i alone.
        n: how many, >= 0.
        spread: the standard deviation, in pixels, >= 0.
    Returns: float32, (n, 2, H, W): moves along x, along y.
    Cost: n * 2 * (H + W) * 11 * 11 multiply-adds or so, and 242 normal draws for each.
    Source: Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to visual document
        analysis" (2003), section 2; their Gaussian filter of noise at every pixel is one of noise every r pixels here.
    """
    reach = min(height, width) / _SMOOTH
    rows, columns = _bumps(height, reach), _bumps(width, reach)  # (H, A), (W, B)
    noise = normal(key, (n, 2, rows.shape[1], columns.shape[1]), std=spread)
    return rows @ noise @ columns.T  # (n, 2, H, W)


def _bumps(size: int, reach: float) -> np.ndarray:
    """Weights of Gaussian bumps, one every reach pixels, at each pixel: float32, (size, bumps), rows of norm 1."""
    middles = np.arange(-2, math.ceil((size - 1) / reach) + 3) * reach
    weights = np.exp(-(((np.arange(size)[:, None] - middles) / reach) ** 2) / 2)
    return (weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))).astype(np.float32)


def resample(
    images: np.ndarray,
    inverses: np.ndarray,
    down: np.ndarray,
    right: np.ndarray,
    fill: float,
    wander: np.ndarray | None = None,
) -> np.ndarray:
    """Make each image anew: each pixel is looked up at its source, between the four pixels around that (bilinear).

        y[n,i,j] = x[n] at centre + inverses[n] @ (j - right[n] - centre, i - down[n] - centre) + wander[n,:,i,j]

    Args:
        images: (N, H, W, C); not written.
        inverses: (N, 2, 2), from a place of the result to its source.
        down, right: (N,), how far each is moved after that, in pixels.
        fill: the value all around an image.
        wander: (N, 2, H, W), what is added to each source, in pixels; None: nothing.
    Returns:
        A new array of the same shape and dtype; whole numbers are rounded to the nearest.
    Cost: about ten float32 arrays of the size of the batch, for a while.
    """
    n, height, width, c = images.shape
    kind = np.float64 if images.dtype == np.float64 else np.float32
    framed = np.full((n, height + 2, width + 2, c), fill, dtype=kind)  # one pixel of fill around each
    framed[:, 1:-1, 1:-1] = images
    flat = framed.reshape(-1, c)  # (N*(H+2)*(W+2), C)

    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    start = middle - np.einsum("nij,nj->ni", inverses, middle + np.stack([right, down], axis=1))  # (N, 2)
    start, steps = start.astype(np.float32)[..., None, None], inverses.astype(np.float32)[..., None, None]
    j, i = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    column, row = (start[:, k] + steps[:, k, 0] * j + steps[:, k, 1] * i for k in (0, 1))  # (N, H, W) each
    if wander is not None:
        column += wander[:, 0]
        row += wander[:, 1]
    column, row = np.clip(column, -1, width) + 1, np.clip(row, -1, height) + 1  # within the frame, all beyond it fill
    left, top = np.minimum(column.astype(np.intp), width), np.minimum(row.astype(np.intp), height)
    beside, below = (column - left).astype(kind)[..., None], (row - top).astype(kind)[..., None]  # 0..1
    place = (np.arange(n)[:, None, None] * (height + 2) + top) * (width + 2) + left

    def pixels(offset: int) -> np.ndarray:
        return np.take(flat, place + offset, axis=0, mode="clip")  # (N, H, W, C); no index is outside

    def between(first: np.ndarray, second: np.ndarray, way: np.ndarray) -> np.ndarray:
        second -= first
        second *= way
        first += second
        return first

    upper = between(pixels(0), pixels(1), beside)
    lower = between(pixels(width + 2), pixels(width + 3), beside)
    found = between(upper, lower, below)
    return found.astype(images.dtype) if images.dtype.kind == "f" else np.rint(found).astype(images.dtype)
