"""Receptive fields: which rows and columns of the image one output number sees, from shapes alone.

Each place of an output is followed back to the first and the last pixel that it depends on, along each axis by itself,
so padding, uneven ends and ceil mode count as they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpnet import nn
from xpnet.nn.activation import Activation

__all__ = ["Field", "after", "image", "joined"]

_LARGEST = 1 << 13  # pixels along an axis that are followed; more would take long
_NONE = 1 << 20  # the first pixel of a place that sees none


class Field(NamedTuple):
    """First and last pixel seen from each place, along H and along W; a place that sees none has last < first.

    Args:
        first, last: a pair of integer arrays each, as long as the output is high and wide.
        flat: whether the places have been laid in one row of features.
    """

    first: tuple[np.ndarray, np.ndarray]
    last: tuple[np.ndarray, np.ndarray]
    flat: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns that the place which sees most of them sees."""
        rows, columns = (max(0, int((b - a).max()) + 1) for a, b in zip(self.first, self.last, strict=True))
        return rows, columns


def image(shape: tuple[int, ...]) -> Field | None:
    """Begin at an image (H, W, C), where each place sees itself; None for other data."""
    if len(shape) != 3 or max(shape[:2]) > _LARGEST:
        return None
    rows, columns = (np.arange(n) for n in shape[:2])
    return Field((rows, columns), (rows, columns))


def after(field: Field | None, layer: nn.Module, output: tuple[int, ...]) -> Field | None:
    """Go through a layer; None where a layer of the user's own does not say what it sees.

    Args:
        field: of the layer's input.
        layer: the module.
        output: the shape of its output.
    """
    if field is None:
        return None
    if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        geometry = layer.kernel_size, layer.stride, layer.padding, getattr(layer, "dilation", (1, 1))
        return _map(field, [_window, _window], [(n, *g) for n, *g in zip(output[:2], *geometry, strict=True)])
    if isinstance(layer, nn.GlobalAvgPool2d):
        return _whole(field)
    if isinstance(layer, nn.Flatten):
        return field._replace(flat=True)
    if isinstance(layer, nn.Linear | nn.Perceptron | nn.LayerNorm):
        return _whole(field) if field.flat else field
    if isinstance(layer, nn.Softmax | nn.LogSoftmax):
        axis = layer.axis if layer.axis >= 0 else layer.axis + len(output) + 1
        if field.flat:
            return _whole(field)
        return _map(field, [_all if axis == i + 1 else _same for i in range(2)], [(), ()])
    if isinstance(layer, nn.LocalResponseNorm):
        if layer.region == "across":
            return field
        return _map(field, [_window, _window], [(n, layer.size, 1, layer.size // 2, 1) for n in output[:2]])
    if isinstance(layer, Activation | nn.BatchNorm | nn.Dropout | nn.PadChannels | nn.Residual):
        return field
    return None


def joined(one: Field | None, other: Field | None) -> Field | None:
    """What a sum sees whose terms see these."""
    if one is None or other is None:
        return None
    top, left = (np.minimum(a, b) for a, b in zip(one.first, other.first, strict=True))
    bottom, right = (np.maximum(a, b) for a, b in zip(one.last, other.last, strict=True))
    return Field((top, left), (bottom, right), one.flat)


def _map(field: Field, changes: list[Any], options: list[tuple[int, ...]]) -> Field:
    """Change each axis by a function of (first, last, *options)."""
    pairs = [f(a, b, *o) for f, a, b, o in zip(changes, field.first, field.last, options, strict=True)]
    (top, bottom), (left, right) = pairs
    return Field((top, left), (bottom, right), field.flat)


def _same(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return first, last


def _all(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.full_like(first, first.min()), np.full_like(last, last.max())


def _whole(field: Field) -> Field:
    """What a number sees that depends on all places."""
    (top, left), (bottom, right), _ = field
    return Field((top.min()[None], left.min()[None]), (bottom.max()[None], right.max()[None]), True)


def _window(
    first: np.ndarray, last: np.ndarray, out: int, k: int, s: int, p: int, d: int
) -> tuple[np.ndarray, np.ndarray]:
    """What windows see, out of them, of k taps d apart, every s places, with p of padding."""
    n = len(first)
    places = np.arange(out)[:, None] * s - p + np.arange(k) * d  # (out, k)
    inside = (places >= 0) & (places < n)
    places = np.clip(places, 0, n - 1)
    return np.where(inside, first[places], _NONE).min(axis=1), np.where(inside, last[places], -1).max(axis=1)
