"""How windows lie on images in ONNX: kernel_shape, strides, dilations, pads, auto_pad and ceil_mode, by axis."""

from __future__ import annotations

from typing import Any, NamedTuple

from xpnet import ops
from xpnet.arguments import MOST
from xpnet.autograd import Tensor
from xpnet.errors import ConfigError, ShapeError
from xpnet.interop.onnx.values import Value, shape_of

__all__ = ["Window", "lay", "merged", "padded", "spatial"]

_AUTO = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


class Window(NamedTuple):
    """Windows along one axis: k taps, s apart from the next, d between taps, and pixels of padding at both ends."""

    n: int
    k: int
    s: int
    d: int
    before: int
    after: int
    out: int

    @property
    def reach(self) -> int:
        """Pixels from the first to the last tap, both counted."""
        return self.d * (self.k - 1) + 1


def spatial(where: str, x: Value | Any, least: int = 1, most: int = 3) -> tuple[int, ...]:
    """Return the sizes of images (N, C, ...), without N and C."""
    sizes = shape_of(x)[2:]
    if not least <= len(sizes) <= most:
        raise ShapeError(where, f"x of shape (N, C, ...) with {least} to {most} more axes", x=shape_of(x))
    return sizes


def _each(node: Any, name: str, count: int, default: int, low: int) -> tuple[int, ...]:
    found = node.integers(name, None)
    if found is None:
        return (default,) * count
    if len(found) != count or not all(low <= n <= MOST for n in found):
        raise ConfigError(node.where, f"{name}: {count} integers >= {low}", **{name: found[:8]})
    return found


def lay(node: Any, sizes: tuple[int, ...], kernel: tuple[int, ...] | None = None) -> list[Window]:
    """Read how the windows of a node lie on images of some sizes.

    Args:
        node: with kernel_shape, strides, dilations, pads, auto_pad, ceil_mode.
        sizes: of the images.
        kernel: of the filters; None: kernel_shape says it.
    """
    count = len(sizes)
    given = node.integers("kernel_shape", kernel)
    if given is None or len(given) != count or not all(1 <= k <= MOST for k in given):
        raise ConfigError(node.where, f"kernel_shape: {count} integers >= 1", kernel_shape=given)
    if kernel is not None and tuple(given) != tuple(kernel):
        raise ConfigError(node.where, "kernel_shape of the filters", kernel_shape=given, filters=kernel)
    strides, dilations = _each(node, "strides", count, 1, 1), _each(node, "dilations", count, 1, 1)
    pads = _each(node, "pads", 2 * count, 0, 0)
    auto, ceil = node.choice("auto_pad", "NOTSET", _AUTO), node.flag("ceil_mode")
    found = []
    for i, (n, k, s, d) in enumerate(zip(sizes, given, strides, dilations, strict=True)):
        reach = d * (k - 1) + 1
        before, after = (pads[i], pads[count + i]) if auto == "NOTSET" else (0, 0)
        if auto.startswith("SAME"):
            total = max(0, (-(-n // s) - 1) * s + reach - n)
            small = total // 2
            before, after = (small, total - small) if auto == "SAME_UPPER" else (total - small, small)
        room = n + before + after - reach
        if room < 0:
            raise ShapeError(node.where, "windows that fit in the padded image", x=sizes, kernel_shape=given)
        out = room // s + 1
        if ceil and room % s and out * s < n + before:  # the last window begins within the image or the padding before
            out += 1
        found.append(Window(n, k, s, d, before, after, out))
    return found


def padded(run: Any, x: Tensor, windows: list[Window], fill: float = 0.0) -> Tensor:
    """Pad images (N, H, W, C), or cut rows and columns off that no window reaches."""
    for axis, w in enumerate(windows, 1):
        x = extended(run, x, axis, w.before, w.after, fill)
    return x


def extended(run: Any, x: Tensor, axis: int, before: int, after: int, fill: float = 0.0) -> Tensor:
    """Add numbers before and after those of an axis; of negative counts, leave so many out."""
    n = x.shape[axis]
    if before < 0 or after < 0:
        start, stop = max(0, -before), n - max(0, -after)
        x = x[(slice(None),) * axis + (slice(start, max(start, stop)), ...)]
    parts = [x]
    for count, first in ((before, True), (after, False)):
        if count > 0:
            shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
            block = run.constant(shape, fill, x)
            parts.insert(0 if first else len(parts), block)
    return run.apply(ops.concat, *parts, axis=axis) if len(parts) > 1 else x


def merged(sizes: tuple[int, ...]) -> tuple[int, int]:
    """Return the sizes of an image of two axes from one or two; one is that of columns."""
    return (sizes[0], sizes[1]) if len(sizes) == 2 else (1, sizes[0])
