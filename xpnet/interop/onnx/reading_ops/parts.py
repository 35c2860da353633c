"""Parts of values: splitting, slicing, and padding."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.errors import ConfigError, ShapeError
from xpnet.interop.onnx.reading_ops.windows import extended
from xpnet.interop.onnx.registry import reads
from xpnet.interop.onnx.run import axis_of
from xpnet.interop.onnx.values import is_host, shape_of

__all__ = ["pad", "slice_of", "sliced", "split"]

_REPEATS = 1 << 16  # parts of a value


@reads("Split", 2, family="reshape")
def split(run: Any, node: Any, x: Any, sizes: Any = None) -> tuple[Any, ...]:
    """Cut a value along an axis: into parts of given sizes, or one for each output, of one size but for the last."""
    shape = shape_of(x)
    axis = axis_of(node.where, node.integer("axis", 0), len(shape))
    n, count = shape[axis], node.integer("num_outputs", len(node.outputs))
    given = node.integers("split", None) if sizes is None else run.integers(sizes, "split")
    if given is None:
        if not 1 <= count <= _REPEATS:
            raise ConfigError(node.where, "at least one output", num_outputs=count)
        each = -(-n // count)
        given = [min(each, max(0, n - i * each)) for i in range(count)]
    if len(given) != len(node.outputs) or sum(given) != n or any(k < 0 for k in given):
        raise ShapeError(node.where, "parts that make up the axis", x=shape, split=tuple(given)[:32])
    parts, start = [], 0
    for size in given:
        parts.append(sliced(x, axis, slice(start, start + size)))
        start += size
    return tuple(parts)


def sliced(x: Any, axis: int, part: slice) -> Any:
    """Return a part of a value along an axis, with a positive step."""
    if is_host(x):
        return x[(slice(None),) * axis + (part,)]
    return x.like(x.tensor[(slice(None),) * x.axis(axis) + (part, ...)])


@reads("Slice", 10, family="reshape")
def slice_of(run: Any, node: Any, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    """Take every step-th place from start to end of some axes."""
    lists = [None if v is None else run.integers(v, name) for v, name in ((axes, "axes"), (steps, "steps"))]
    return _slice(run, node, x, run.integers(starts, "starts"), run.integers(ends, "ends"), *lists)


@reads("Slice", 1, 9, family="reshape")
def old_slice(run: Any, node: Any, x: Any) -> Any:
    """Take the places from start to end of some axes, that attributes give."""
    return _slice(run, node, x, node.integers("starts"), node.integers("ends"), node.integers("axes", None), None)


def _slice(run: Any, node: Any, x: Any, starts: Any, ends: Any, axes: Any, steps: Any) -> Any:
    shape = shape_of(x)
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ShapeError(node.where, "a start, end and step for each axis", starts=starts[:32], ends=ends[:32])
    places = [axis_of(node.where, a, len(shape), "axes") for a in axes]
    if len(set(places)) < len(places):
        raise ShapeError(node.where, "distinct axes", axes=axes)
    for axis, start, end, step in zip(places, starts, ends, steps, strict=True):
        n = shape[axis]
        start, end = (i + n if i < 0 else i for i in (start, end))
        if step > 0:
            start, end = min(max(start, 0), n), min(max(end, 0), n)
            x = sliced(x, axis, slice(start, max(start, end), step))
            continue
        start, end = min(max(start, -1), n - 1), min(max(end, -1), n - 1)
        places_taken = np.arange(start, end, step) if start > end else np.arange(0)
        x = x.take(places_taken, axis) if is_host(x) else run.taken(x, places_taken, axis)
    return x


@reads("Pad", 2, family="reshape")
def pad(run: Any, node: Any, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    """Add numbers before and after those of axes; of negative counts, leave so many out."""
    if node.opset < 11:
        counts, fill = node.integers("pads"), node.number("value", 0.0)
    else:
        counts, fill = run.integers(pads, "pads"), run.scalar(value, "constant_value", 0.0)
    shape, mode = shape_of(x), node.text("mode", "constant")
    given = tuple(range(len(shape))) if axes is None else run.integers(axes, "axes")
    places = [axis_of(node.where, a, len(shape), "axes") for a in given]
    if len(counts) != 2 * len(places) or len(set(places)) < len(places):
        raise ShapeError(node.where, "two pads for each axis", x=shape, pads=counts[:32])
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise ConfigError(node.where, "mode constant, reflect, edge or wrap", mode=repr(mode))
    wanted = list(shape)
    for i, axis in enumerate(places):
        wanted[axis] += counts[i] + counts[len(places) + i]
    run.claim(wanted, 8)
    for i, axis in enumerate(places):
        before, after = counts[i], counts[len(places) + i]
        if not before and not after:
            continue
        n = shape_of(x)[axis]
        if mode != "constant":
            if not n:
                raise ShapeError(node.where, "numbers to repeat", x=shape)
            line = np.arange(max(0, -before), n - max(0, -after))
            line = np.pad(line, (max(0, before), max(0, after)), mode)  # pyright: ignore[reportCallIssue, reportArgumentType]
            x = x.take(line, axis) if is_host(x) else run.taken(x, line, axis)
        elif is_host(x):
            x = sliced(x, axis, slice(max(0, -before), max(0, n - max(0, -after))))
            widths = [(max(0, before), max(0, after)) if a == axis else (0, 0) for a in range(x.ndim)]
            x = np.pad(x, widths, constant_values=fill)
        else:
            x = x.like(extended(run, x.tensor, x.axis(axis), before, after, float(fill)))
    return x
