"""Resizing: each axis by a matrix whose rows hold what each new pixel takes of the old ones."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from xpnet import ops
from xpnet.errors import ConfigError, ShapeError
from xpnet.interop.onnx.registry import reads
from xpnet.interop.onnx.run import axis_of
from xpnet.interop.onnx.values import Value, shape_of

__all__ = ["resize", "upsample"]

_MODES = ("nearest", "linear", "cubic")
_COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
                "tf_crop_and_resize")  # fmt: skip
_ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
_MOST = 1 << 16  # pixels of an axis, whose weights are computed one by one


class _Axis(NamedTuple):
    """How one axis is resized: n pixels to out, by a scale, and which part of it."""

    n: int
    out: int
    scale: float
    start: float = 0.0
    end: float = 1.0


class _Method(NamedTuple):
    """How pixels are computed; see Resize of ONNX."""

    mode: str
    coordinates: str
    rounding: str = "round_prefer_floor"
    a: float = -0.75
    exclude: bool = False
    antialias: bool = False
    fill: float = 0.0


@reads("Resize", 11, kind="resize", family="pooling")
def resize(run: Any, node: Any, x: Any, roi: Any = None, scales: Any = None, sizes: Any = None) -> Value:
    """Resize axes to sizes, or by scales."""
    shape, rank = shape_of(x), len(shape_of(x))
    given = node.integers("axes", tuple(range(rank)))
    axes = [axis_of(node.where, a, rank, "axes") for a in given]
    if len(set(axes)) < len(axes):
        raise ShapeError(node.where, "distinct axes", axes=given)
    method = _Method(
        node.choice("mode", "nearest", _MODES),
        node.choice("coordinate_transformation_mode", "half_pixel", _COORDINATES),
        node.choice("nearest_mode", "round_prefer_floor", _ROUNDINGS),
        node.number("cubic_coeff_a", -0.75),
        node.flag("exclude_outside"),
        node.flag("antialias"),
        node.number("extrapolation_value", 0.0),
    )
    box = np.zeros(0) if roi is None else run.host(roi).reshape(-1).astype(np.float64)
    if method.coordinates == "tf_crop_and_resize" and len(box) != 2 * len(axes):
        raise ShapeError(node.where, "roi with a start and an end for each axis", roi=box.shape)
    factors = () if scales is None else tuple(float(s) for s in run.host(scales).reshape(-1))
    wanted = None if sizes is None else run.integers(sizes, "sizes")
    if wanted is not None:
        outs, factors = _of_sizes(node, [shape[a] for a in axes], wanted)
    else:
        outs = _of_scales(node, [shape[a] for a in axes], factors)
    laid = {}
    for i, axis in enumerate(axes):
        part = (box[i], box[len(axes) + i]) if method.coordinates == "tf_crop_and_resize" else (0.0, 1.0)
        laid[axis] = _Axis(shape[axis], outs[i], factors[i], *part)
    return _resized(run, node, x, laid, method)


@reads("Resize", 10, 10, kind="resize", family="pooling")
def old_resize(run: Any, node: Any, x: Any, scales: Any) -> Value:
    """Resize axes by scales."""
    return _by_scales(run, node, x, tuple(float(s) for s in run.host(scales).reshape(-1)))


@reads("Upsample", 9, 9, kind="resize", family="pooling")
def upsample(run: Any, node: Any, x: Any, scales: Any) -> Value:
    """Resize axes by scales of at least 1."""
    return _by_scales(run, node, x, tuple(float(s) for s in run.host(scales).reshape(-1)))


@reads("Upsample", 7, 8, kind="resize", family="pooling")
def old_upsample(run: Any, node: Any, x: Any) -> Value:
    """Resize axes by scales that an attribute gives."""
    scales = node.attributes.get("scales")
    if not isinstance(scales, list):
        raise ConfigError(node.where, "scales that are a list of numbers", scales=type(scales).__name__)
    return _by_scales(run, node, x, tuple(float(s) for s in scales))


def _by_scales(run: Any, node: Any, x: Any, scales: tuple[float, ...]) -> Value:
    method = _Method(node.choice("mode", "nearest", ("nearest", "linear")), "asymmetric", "floor")
    shape = shape_of(x)
    outs = _of_scales(node, list(shape), scales)
    laid = {i: _Axis(n, out, s) for i, (n, out, s) in enumerate(zip(shape, outs, scales, strict=True))}
    return _resized(run, node, x, laid, method)


def _of_scales(node: Any, shape: list[int], scales: tuple[float, ...]) -> list[int]:
    if len(scales) != len(shape) or not all(0 < s < 1e9 for s in scales):
        raise ShapeError(node.where, "a scale above 0 for each axis", scales=scales[:8], x=tuple(shape))
    # in float32, as ONNX Runtime: 20 * 0.7 is 14 there, and 13.9999998 for the float64 of that float32
    return [math.floor(np.float32(n) * np.float32(s)) for n, s in zip(shape, scales, strict=True)]


def _of_sizes(node: Any, shape: list[int], sizes: tuple[int, ...]) -> tuple[list[int], tuple[float, ...]]:
    if len(sizes) != len(shape) or any(n < 0 for n in sizes) or 0 in shape:
        raise ShapeError(node.where, "a size for each axis, of images that are not empty", sizes=sizes, x=tuple(shape))
    factors = tuple(m / n for m, n in zip(sizes, shape, strict=True))
    policy = node.choice("keep_aspect_ratio_policy", "stretch", ("stretch", "not_larger", "not_smaller"))
    if policy == "stretch" or not factors:
        return list(sizes), factors
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [math.floor(n * factor + 0.5) for n in shape], (factor,) * len(shape)


def _resized(run: Any, node: Any, x: Any, axes: dict[int, _Axis], method: _Method) -> Value:
    x = run.value(x)
    shape = list(x.shape)
    for axis, line in axes.items():
        shape[axis] = line.out
    run.claim(shape)
    outside: dict[int, np.ndarray] = {}
    for axis, line in axes.items():
        cropped = method.coordinates == "tf_crop_and_resize"
        if line.n == line.out and line.scale == 1.0 and not cropped:
            continue
        if not line.n or line.out > _MOST:
            rule = f"images that are not empty, and of at most {_MOST:,} rows and columns"
            raise ShapeError(node.where, rule, x=x.shape, size=line.out)
        run.claim((line.out, line.n))
        matrix, beyond = _matrix(line, method)
        if beyond.any():
            outside[axis] = beyond
        x = _along(run, x, axis, matrix)
    if outside and method.fill:
        mask = np.zeros((1,) * len(shape), bool)
        for axis, beyond in outside.items():
            mask = mask | beyond.reshape((1,) * axis + (-1,) + (1,) * (len(shape) - axis - 1))
        here = run.backend.from_numpy(np.ascontiguousarray(np.broadcast_to(mask, shape)))
        return Value(run.apply(ops.where, here, method.fill, x.arranged(None)))
    return x


def _along(run: Any, x: Value, axis: int, matrix: np.ndarray) -> Value:
    """Multiply the lines along an axis by a matrix; where it only repeats pixels, they are repeated."""
    at, sizes = x.axis(axis), x.tensor.shape
    before, n, after = math.prod(sizes[:at]), sizes[at], math.prod(sizes[at + 1 :])
    out = matrix.shape[0]
    whole = (*sizes[:at], out, *sizes[at + 1 :])
    if n and out % n == 0 and np.array_equal(matrix, np.repeat(np.eye(n), out // n, 0)):
        lines = x.tensor.reshape(before, n, 1, after)
        y = run.apply(ops.broadcast_to, lines, shape=(before, n, out // n, after))
    else:
        y = run.apply(ops.matmul, run.numbers(matrix, x.tensor), x.tensor.reshape(before, n, after))
        run.macs += math.prod(whole) * n
    return x.like(y.reshape(*whole))


def _matrix(line: _Axis, method: _Method) -> tuple[np.ndarray, np.ndarray]:
    """Return what each new pixel takes of the old ones, (out, n), and which new pixels lie outside of the image."""
    matrix, beyond = np.zeros((line.out, line.n)), np.zeros(line.out, bool)
    for i in range(line.out):
        at = _place(i, line, method)
        if method.coordinates == "tf_crop_and_resize" and not 0 <= at <= line.n - 1:
            beyond[i] = True
            continue
        low = math.floor(at)
        ratio = 1.0 if at == low else at - low
        weights = _weights(ratio, line.scale, method)
        first = low - (len(weights) + 1) // 2 + 1 if ratio < 1.0 else low - len(weights) // 2
        places = np.arange(first, first + len(weights))
        if method.exclude:
            weights = np.where((places < 0) | (places >= line.n), 0.0, weights)
            weights = weights / weights.sum()
        np.add.at(matrix[i], np.clip(places, 0, line.n - 1), weights)
    return matrix, beyond


def _place(i: int, line: _Axis, method: _Method) -> float:
    """Where a new pixel lies among the old ones."""
    coordinates, wide = method.coordinates, line.scale * line.n
    if method.mode == "nearest" and coordinates in ("asymmetric", "half_pixel"):
        # in float32, as ONNX Runtime: 8 / 1.6 is 5 there, and 4.9999999 for the float64 of that float32
        half = np.float32(0.5 if coordinates == "half_pixel" else 0.0)
        return float((np.float32(i) + half) / np.float32(line.scale) - half)
    if coordinates == "align_corners":
        return 0.0 if wide == 1 else i * (line.n - 1) / (wide - 1)
    if coordinates == "asymmetric":
        return i / line.scale
    if coordinates == "tf_crop_and_resize":
        span = (line.end - line.start) * (line.n - 1)
        return line.start * (line.n - 1) + (span / 2 if wide == 1 else i * span / (wide - 1))
    if coordinates == "pytorch_half_pixel" and wide == 1:
        return -0.5
    at = (i + 0.5) / line.scale - 0.5
    return at + line.n / 2 * (1 - line.out / wide) if coordinates == "half_pixel_symmetric" else at


def _weights(ratio: float, scale: float, method: _Method) -> np.ndarray:
    """What a pixel takes of its neighbours, ratio being how far it lies from the one before."""
    if method.mode == "nearest":
        up = {"floor": False, "ceil": True, "round_prefer_floor": ratio > 0.5, "round_prefer_ceil": ratio >= 0.5}
        return np.array([0.0, 1.0] if ratio == 1.0 or up[method.rounding] else [1.0, 0.0])
    small = min(scale, 1.0) if method.antialias else 1.0
    reach = 1 if method.mode == "linear" else 2
    first = math.floor(-reach / small) + 1
    offsets = small * np.abs(np.arange(first, 2 - first) - ratio)
    if method.mode == "linear":
        weights = np.clip(1.0 - offsets, 0.0, 1.0)
    else:
        a, d = method.a, offsets
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        weights = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
    return weights / weights.sum() if method.antialias else weights
