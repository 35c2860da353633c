"""local_response_norm for NumPy: blocks that stay in the cache, zeros between runs.

    y = x / d^beta,  d = k + rate * (sum of x^2 over the neighbours)
    dx = dy / d^beta - 2 * rate * beta * x * (sum of dy * x / d^(beta + 1) over all whose neighbour x is)

Numbers that lie side by side in memory (a run: a pixel's channels, or within a channel a row of pixels) are laid into a
block with as many zeros between runs as windows reach: then windows over a whole block are sums of shifted views.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from xpnet.backend import as_shape, empty, launch, scratch
from xpnet.kernels import register
from xpnet.kernels.numpy.arrays import Array, Gradients, Needs, Result

__all__ = ["local_response_norm"]

_BLOCK = 1 << 16  # numbers: few enough for the caches, with squares and sums, enough to be worth the calls


@register("local_response_norm", "numpy", recordable=True)
def local_response_norm(x: Array, size: int, alpha: float, beta: float, k: float, region: str, average: bool) -> Result:
    """Divide as ops.local_response_norm does."""
    if x.dtype not in (np.float32, np.float64) or not x.size:
        return NotImplemented
    n, h, w, c = x.shape
    if region == "across":
        laid = _Laid(n * h * w, c, c + size - 1, max(1, _BLOCK // (c + size - 1)), size, (1,))
        rate = alpha / size if average else alpha
    else:  # a block is an image
        line = (w + size - 1) * c
        laid = _Laid(n * h, w * c, line, h, size, (c, line))
        rate = alpha / size**2 if average else alpha
    before, after = size // 2, (size - 1) // 2
    flat, y = as_shape(x, (laid.runs, laid.run)), empty(x.shape, x.dtype)
    flat_y = y.reshape(flat.shape)

    def strengths(lines: Array) -> tuple[Array, Array]:
        """d and d^beta of some runs."""
        block, squares = laid.spaced("lrn squares", lines, before)
        np.multiply(lines, lines, out=squares)
        d = laid.sums(block, lines)
        d *= rate
        d += k
        return laid.of(d, lines), laid.of(_power(d, beta), lines)

    def forward() -> None:
        for i, j in laid.blocks():
            np.divide(flat[i:j], strengths(flat[i:j])[1], out=flat_y[i:j])

    launch(forward)

    def vjp(dy: Array, needs: Needs) -> Gradients:
        if not needs[0]:
            return (None,)
        dx = empty(y.shape, y.dtype)
        slopes, flat_dx = as_shape(dy, flat.shape), dx.reshape(flat.shape)

        def backward() -> None:
            for i, j in laid.blocks():
                lines, direct = flat[i:j], flat_dx[i:j]
                d, power = strengths(lines)
                np.divide(slopes[i:j], power, out=direct)
                block, spread = laid.spaced("lrn spread", lines, after)
                np.multiply(direct, lines, out=spread)
                spread /= d
                back = laid.of(laid.sums(block, lines), lines)
                back *= 2.0 * rate * beta
                back *= lines
                direct -= back

        launch(backward)
        return (dx,)

    return y, vjp


def _power(d: Array, beta: float) -> Array:
    """d^beta, in scratch memory."""
    power = scratch("lrn power", d.shape, d.dtype)
    if beta != 0.75:
        return np.power(d, beta, out=power)
    root = np.sqrt(d, out=scratch("lrn root", d.shape, d.dtype))
    np.sqrt(root, out=power)
    power *= root
    return power


class _Laid(NamedTuple):
    """How runs lie in a block: how many, how long, a stride apart; windows of so many numbers, by one or two steps."""

    runs: int
    run: int
    stride: int
    most: int
    size: int
    steps: tuple[int, ...]

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Runs i .. j-1 of each block."""
        return ((i, min(self.runs, i + self.most)) for i in range(0, self.runs, self.most))

    def spaced(self, name: str, lines: Array, ahead: int) -> tuple[Array, Array]:
        """A block of zeros for some runs, and the view of it in which they lie, as many steps ahead."""
        reach, length = sum(self.steps), len(lines) * self.stride
        block = scratch(name, (length + (self.size - 1) * reach,), lines.dtype)
        block.fill(0)
        return block, self.of(block[ahead * reach : ahead * reach + length], lines)

    def of(self, block: Array, lines: Array) -> Array:
        """The runs of a block, (len(lines), run)."""
        return block.reshape(len(lines), self.stride)[:, : self.run]

    def sums(self, block: Array, lines: Array) -> Array:
        """Sums over windows that begin at each place of a block, in scratch memory."""
        for axis, step in enumerate(self.steps):
            length = len(block) - (self.size - 1) * step
            total = scratch(f"lrn sums {axis}", (length,), lines.dtype)
            if self.size == 1:
                total[...] = block
            else:
                np.add(block[:length], block[step : step + length], out=total)
            for tap in range(2, self.size):
                total += block[tap * step : tap * step + length]
            block = total
        return block
