"""Convolutions: Conv and ConvTranspose of one, two and three axes."""

from __future__ import annotations

import math
from typing import Any

from xpnet import ops
from xpnet.autograd import Tensor
from xpnet.errors import ConfigError, ShapeError
from xpnet.interop.onnx.reading_ops.windows import Window, extended, lay, padded, spatial
from xpnet.interop.onnx.registry import reads
from xpnet.interop.onnx.values import LAST, Value, shape_of

__all__ = ["conv", "conv_transpose"]

_WEIGHTS = {1: "weight", 2: "bias"}


def _filters(node: Any, place: int, rank: int) -> tuple[int, ...] | None:
    """Filters of images are kept as (F, KH, KW, C/G)."""
    return LAST if place == 1 and rank == 4 else None


@reads("Conv", parameters=_WEIGHTS, layout=_filters, kind="conv", family="convolution")
def conv(run: Any, node: Any, x: Any, w: Any, b: Any = None) -> Value:
    """Slide filters (F, C/G, ...) over images (N, C, ...)."""
    sizes, x, w = spatial(node.where, x), run.value(x), run.value(w)
    if len(shape_of(w)) != len(sizes) + 2:
        raise ShapeError(node.where, "filters (F, C/G, ...) with as many axes as x", x=shape_of(x), w=shape_of(w))
    windows, groups = lay(node, sizes, shape_of(w)[2:]), node.integer("group", 1)
    b = None if b is None else run.tensor(b)
    if len(sizes) == 2:
        y = _conv2d(run, x.arranged(LAST), w.arranged(LAST), b, windows, groups)
        return Value(y, LAST)
    if len(sizes) == 1:
        images, filters = x.arranged((0, 2, 1)), w.arranged((0, 2, 1))  # (N, T, C), (F, K, C/G)
        images = images.reshape(images.shape[0], 1, *images.shape[1:])
        filters = filters.reshape(filters.shape[0], 1, *filters.shape[1:])
        y = _conv2d(run, images, filters, b, [Window(1, 1, 1, 1, 0, 0, 1), *windows], groups)
        return Value(y.reshape(y.shape[0], *y.shape[2:]), (0, 2, 1))
    return _conv3d(run, x.arranged((0, 2, 3, 4, 1)), w.arranged((0, 2, 3, 4, 1)), b, windows, groups)


def _conv2d(run: Any, x: Tensor, w: Tensor, b: Tensor | None, windows: list[Window], groups: int) -> Tensor:
    """Convolve images (N, H, W, C) with filters (F, KH, KW, C/G)."""
    even = all(v.before == v.after for v in windows)
    x = x if even else padded(run, x, windows)
    y = run.apply(
        ops.conv2d, x, w, b,
        stride=tuple(v.s for v in windows),
        padding=tuple(v.before if even else 0 for v in windows),
        dilation=tuple(v.d for v in windows),
        groups=groups,
    )  # fmt: skip
    run.macs += math.prod(y.shape) * math.prod(w.shape[1:])
    return y


def _conv3d(run: Any, x: Tensor, w: Tensor, b: Tensor | None, windows: list[Window], groups: int) -> Value:
    """Convolve volumes (N, D, H, W, C): a convolution of images for each plane of the filters, summed."""
    first, rest = windows[0], windows[1:]
    run.claim((first.k,), 1 << 16)  # each plane is a pass
    x = extended(run, x, 1, first.before, first.after)
    n, total = x.shape[0], None
    for tap in range(first.k):
        start = tap * first.d
        planes = x[:, start : start + first.s * (first.out - 1) + 1 : first.s]  # (N, OD, H, W, C)
        images = planes.reshape(n * first.out, *planes.shape[2:])
        y = _conv2d(run, images, w[:, tap], b if tap == 0 else None, rest, groups)
        total = y if total is None else run.apply(ops.add, total, y)
    assert total is not None, "a filter has a plane"
    return Value(total.reshape(n, first.out, *total.shape[1:]), (0, 2, 3, 4, 1))


def _transposed(node: Any, place: int, rank: int) -> tuple[int, ...] | None:
    return None


@reads("ConvTranspose", parameters=_WEIGHTS, layout=_transposed, kind="transposed conv", family="convolution")
def conv_transpose(run: Any, node: Any, x: Any, w: Any, b: Any = None) -> Value:
    """Spread each pixel of images (N, C, ...) by filters (C, F/G, ...): zeros between pixels, then a convolution."""
    sizes, groups = spatial(node.where, x, 1, 2), node.integer("group", 1)
    x, w = run.value(x), run.tensor(w)
    if w.ndim != len(sizes) + 2 or groups < 1 or w.shape[0] % groups or shape_of(x)[1] != w.shape[0]:
        raise ShapeError(node.where, "filters (C, F/G, ...) of the channels of x", x=shape_of(x), w=tuple(w.shape))
    windows = _spread(node, sizes, tuple(w.shape[2:]))
    c, f = w.shape[:2]
    if len(sizes) == 1:
        windows = [(1, 1, 1, 0, 0, 0), *windows]
        w = w.reshape(c, f, 1, w.shape[2])
        images = x.arranged((0, 2, 1))
        images = images.reshape(images.shape[0], 1, *images.shape[1:])
    else:
        images = x.arranged(LAST)
    for axis, (_, s, _, _, _, _) in enumerate(windows, 1):
        images = _stretched(run, images, axis, s)
    for axis, (k, _, d, before, after, more) in enumerate(windows, 1):
        reach = d * (k - 1)
        images = extended(run, images, axis, reach - before, reach - after + more)
    w = w.reshape(groups, c // groups, f, *w.shape[2:]).permute(0, 2, 3, 4, 1)  # (G, F/G, KH, KW, C/G)
    w = w.reshape(groups * f, *w.shape[2:])
    b = None if b is None else run.tensor(b)
    options = {"stride": 1, "padding": 0, "dilation": tuple(v[2] for v in windows), "groups": groups, "flip": True}
    y = run.apply(ops.conv2d, images, w, b, **options)
    run.macs += math.prod(y.shape) * math.prod(w.shape[1:])
    return Value(y.reshape(y.shape[0], *y.shape[2:]), (0, 2, 1)) if len(sizes) == 1 else Value(y, LAST)


def _spread(node: Any, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> list[tuple[int, int, int, int, int, int]]:
    """Return for each axis taps, stride, dilation, what is cut off before and after, and what is added after."""
    count = len(sizes)
    given = node.integers("kernel_shape", kernel)
    ones, zeros = (1,) * count, (0,) * count
    strides, dilations = node.integers("strides", ones), node.integers("dilations", ones)
    extra, pads = node.integers("output_padding", zeros), node.integers("pads", zeros * 2)
    shape = node.integers("output_shape", None)
    auto = node.choice("auto_pad", "NOTSET", ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"))
    lists = {"strides": strides, "dilations": dilations, "output_padding": extra, "kernel_shape": given}
    for name, values in lists.items():
        if len(values) != count or not all((name != "output_padding") <= v <= 1 << 24 for v in values):
            raise ConfigError(node.where, f"{name}: {count} integers", **{name: values[:8]})
    if given != kernel or len(pads) != 2 * count or not all(0 <= p <= 1 << 24 for p in pads):
        raise ConfigError(
            node.where, "kernel_shape of the filters, and two pads an axis", kernel_shape=given, pads=pads
        )
    if shape is not None and len(shape) not in (count, count + 2):
        raise ConfigError(node.where, f"output_shape: {count} integers", output_shape=shape[:8])
    found = []
    for i, (n, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        whole = s * (n - 1) + extra[i] + d * (k - 1) + 1
        before, after = (pads[i], pads[count + i]) if auto == "NOTSET" else (0, 0)
        wanted = n * s if auto.startswith("SAME") else None
        wanted = shape[len(shape) - count + i] if shape is not None else wanted
        if wanted is not None:
            total = whole - wanted
            half = total // 2
            before, after = (half, total - half) if auto == "SAME_UPPER" else (total - half, half)
        found.append((k, s, d, before, after, extra[i]))
    return found


def _stretched(run: Any, x: Tensor, axis: int, stride: int) -> Tensor:
    """Put stride - 1 zeros between the numbers along an axis."""
    if stride == 1:
        return x
    n, shape = x.shape[axis], x.shape
    x = x.reshape(*shape[: axis + 1], 1, *shape[axis + 1 :])
    x = extended(run, x, axis + 1, 0, stride - 1).reshape(*shape[:axis], n * stride, *shape[axis + 1 :])
    return extended(run, x, axis, 0, 1 - stride)
