"""Linear layers as convolutions: the product of two is one, by arithmetic in float64 on the host.

A Linear is a convolution with a 1x1 filter. A BatchNorm that uses its running averages is one too, whose filter c sees
channel c alone. And a convolution after a convolution is a convolution. So one product serves every pair. Letters as
in ops.conv2d; 1 and 2 are the first and the second of a pair.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

__all__ = ["Filters", "Foldable", "Form", "fewest", "product", "then"]


class Form(NamedTuple):
    """The geometry of a convolution: channels in, filters, and how they slide."""

    channels: int
    filters: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def weights(self) -> int:
        """How many numbers its filters have."""
        return self.filters * math.prod(self.kernel) * self.channels // self.groups

    @property
    def scales(self) -> bool:
        """Whether it multiplies each channel by a number, and no more."""
        return self.kernel == (1, 1) and self.channels == self.filters == self.groups

    @property
    def by_pixel(self) -> bool:
        """Whether each pixel of the output depends on the same pixel of the input alone."""
        return (self.kernel, self.stride, self.padding) == ((1, 1), (1, 1), (0, 0))


class Filters(NamedTuple):
    """The numbers of a convolution: filters (F, KH, KW, C/G) and shift (F,), in float64; shift None means zeros."""

    weight: np.ndarray
    shift: np.ndarray | None


class Foldable(Protocol):
    """A layer that is a convolution in evaluation mode.

    Attributes:
        fold_order: of several layers the one with the highest makes the layer that they fold into, the first of equals.
    """

    fold_order: int

    def conv_form(self) -> Form | None:
        """Return the geometry."""
        ...

    def filters(self) -> Filters:
        """Return the numbers."""
        ...

    def folded(self, form: Form, filters: Filters) -> Any:
        """Return a layer of this kind, dtype and backend with another geometry and other numbers."""
        ...


def then(first: Form, second: Form) -> Form:
    """Return the form of two layers together; the second has no padding, or the first none and a 1x1 kernel.

    A window of the second sees (K1-1)*D1 + (K2-1)*D2*S1 + 1 pixels of the input in a row; where all that count lie a
    step apart, the step is the dilation. Channels stay apart in gcd(G1, G2) groups.
    """
    kernel, dilation = [], []
    axes = zip(first.kernel, first.dilation, first.stride, second.kernel, second.dilation, strict=True)
    for k1, d1, s1, k2, d2 in axes:
        step = math.gcd(d1 * (k1 > 1), d2 * s1 * (k2 > 1)) or 1
        kernel.append(((k1 - 1) * d1 + (k2 - 1) * d2 * s1) // step + 1)
        dilation.append(step)
    return Form(
        first.channels,
        second.filters,
        (kernel[0], kernel[1]),
        (first.stride[0] * second.stride[0], first.stride[1] * second.stride[1]),
        (first.padding[0] + second.padding[0], first.padding[1] + second.padding[1]),
        (dilation[0], dilation[1]),
        math.gcd(first.groups, second.groups),
    )


def fewest(forms: Sequence[Form]) -> list[tuple[int, int]]:
    """Cut a run into parts, [start, stop), that folded have the fewest weights; of equals the fewest parts."""
    best: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]  # of the first 0, 1, ... layers
    for stop in range(1, len(forms) + 1):
        form, choices = forms[stop - 1], []
        for start in range(stop - 1, -1, -1):
            form = form if start == stop - 1 else then(forms[start], form)
            weights, parts = best[start]
            choices.append((weights + form.weights, [*parts, (start, stop)]))
        best.append(min(choices, key=lambda choice: (choice[0], len(choice[1]))))
    return best[-1][1]


def product(form1: Form, first: Filters, form2: Form, second: Filters) -> Filters:
    """Return the numbers of then(form1, form2): w2 w1 and w2 b1 + b2."""
    groups, filters = form2.groups, form2.filters
    shift = second.shift
    if first.shift is not None:
        sums = second.weight.sum(axis=(1, 2)).reshape(groups, filters // groups, -1)  # (G2, F2/G2, F1/G2)
        moved = np.einsum("gfc,gc->gf", sums, first.shift.reshape(groups, -1)).reshape(filters)
        shift = moved if shift is None else moved + shift
    if form2.scales:
        return Filters(first.weight * second.weight, shift)
    if form1.scales:
        scale = np.repeat(first.weight.reshape(groups, -1), filters // groups, axis=0)  # (F2, C/G2)
        return Filters(second.weight * scale[:, None, None, :], shift)
    form = then(form1, form2)
    w1, w2 = _regrouped(first.weight, form1.groups, form.groups), _regrouped(second.weight, form2.groups, form.groups)
    w = np.zeros((form.filters, *form.kernel, form.channels // form.groups))
    for g in range(form.groups):
        theirs, mine = (slice(g * len(a) // form.groups, (g + 1) * len(a) // form.groups) for a in (w1, w2))
        for p, q in itertools.product(*map(range, form2.kernel)):  # pixel p, q of the second's window
            down, right = _places(form1, form2, form, 0, p), _places(form1, form2, form, 1, q)
            w[mine, down, right, :] += np.tensordot(w2[mine, p, q, :], w1[theirs], axes=1)
    return Filters(w, shift)


def _places(form1: Form, form2: Form, form: Form, axis: int, at: int) -> slice:
    """Return where on an axis of the new filter the first's filter lies for number `at` of the second's window."""
    start = at * form2.dilation[axis] * form1.stride[axis] // form.dilation[axis]
    apart = max(1, form1.dilation[axis] // form.dilation[axis])
    return slice(start, start + (form1.kernel[axis] - 1) * apart + 1, apart)


def _regrouped(w: np.ndarray, groups: int, fewer: int) -> np.ndarray:
    """Write filters (F, KH, KW, C/G) of G groups as those of fewer; zeros for channels that a filter did not see."""
    filters, channels, merged = len(w) // groups, w.shape[3], groups // fewer
    wide = np.zeros((*w.shape[:3], channels * merged))
    for g in range(groups):
        rows, at = slice(g * filters, (g + 1) * filters), g % merged * channels
        wide[rows, ..., at : at + channels] = w[rows]
    return wide
