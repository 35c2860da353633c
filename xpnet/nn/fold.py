"""The product of linear layers: what one layer computes the same, by arithmetic in float64 on the host.

A Linear is a convolution with a 1x1 filter. A BatchNorm that uses its running averages is one too, whose filter c sees
channel c alone. And a convolution after a convolution is a convolution. So one product serves every pair. Letters as
in ops.conv2d; 1 and 2 are the first and the second of a pair.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xpnet.nn.conv import Conv2d
from xpnet.nn.linear import Linear
from xpnet.nn.module import Module
from xpnet.nn.normalization import BatchNorm
from xpnet.nn.state import State

__all__ = ["Form", "fewest", "fold", "form_of", "keeps_zeros", "settle", "then"]


class Form(NamedTuple):
    """A layer as a convolution, without its numbers: channels in, filters, and how they slide."""

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


class _Numbers(NamedTuple):
    """A layer's filters, (F, KH, KW, C/G), and shift, (F,), in float64."""

    weight: np.ndarray
    shift: np.ndarray


def form_of(layer: Module) -> Form | None:
    """Return the form of a Linear, Conv2d or BatchNorm, and None of anything else, subclasses included."""
    if type(layer) is BatchNorm:
        return Form(layer.features, layer.features, groups=layer.features)
    if type(layer) is Linear:
        return Form(layer.in_features, layer.out_features)
    if type(layer) is Conv2d:
        slides = layer.kernel_size, layer.stride, layer.padding, layer.dilation
        return Form(layer.in_channels, layer.out_channels, *slides, layer.groups)
    return None


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


def keeps_zeros(layer: Module) -> bool:
    """Tell whether a layer gives 0 for 0, pixel by pixel: zeros around its input are zeros around its output."""
    form = form_of(layer)
    if form is None or (form.kernel, form.stride, form.padding) != ((1, 1), (1, 1), (0, 0)):
        return False
    return not _numbers(layer).shift.any()


def fold(layers: Sequence[Module]) -> Module:
    """Make one layer of several that form_of knows, in the dtype and on the backend of the first.

    Returns: a Conv2d if there is one among them, else a Linear if there is one, else a BatchNorm.
    """
    form, numbers, shifted = Form(0, 0), _Numbers(np.zeros(0), np.zeros(0)), False
    for i, layer in enumerate(layers):
        its, read = form_of(layer), _numbers(layer)
        assert its is not None
        numbers = read if i == 0 else _product(form, numbers, its, read)
        form = its if i == 0 else then(form, its)
        shifted = shifted or not isinstance(layer, Linear | Conv2d) or layer.bias is not None or _augmented(layer)
    weight, shift = numbers
    like = next((layer for layer in layers if isinstance(layer, Linear | Conv2d)), None)
    if like is None:
        return _batch_norm(layers[0], weight[:, 0, 0, 0], shift)
    if any(isinstance(layer, Conv2d) for layer in layers):
        folded = Conv2d(form.channels, form.filters, *form[2:], shifted)
    else:
        folded, weight = Linear(form.channels, form.filters, shifted), weight[:, 0, 0, :]
    settle(folded.weight, weight, like.weight)
    if folded.bias is not None:
        settle(folded.bias, shift, like.weight)
    return folded


def settle(state: State, values: np.ndarray, like: State) -> State:
    """Give a state its values, in the dtype and on the backend of another."""
    dtype = like.numpy().dtype
    state.settle(like.backend.from_numpy(np.ascontiguousarray(values, dtype)), like.backend, dtype.name)
    return state


def _batch_norm(first: Module, scale: np.ndarray, shift: np.ndarray) -> BatchNorm:
    """The first of several batch norms, with its averages, scaled and shifted so that it does what all do."""
    assert isinstance(first, BatchNorm)
    folded = BatchNorm(first.features, first.eps, first.momentum)
    mean, var = first.mean.numpy().astype(np.float64), first.var.numpy().astype(np.float64)
    settle(folded.gamma, scale * np.sqrt(var + first.eps), first.gamma)
    settle(folded.beta, shift + scale * mean, first.beta)
    settle(folded.mean, mean, first.mean)
    settle(folded.var, var, first.var)
    return folded


def _augmented(layer: Module) -> bool:
    return isinstance(layer, Linear) and layer.augmented


def _numbers(layer: Module) -> _Numbers:
    """What a layer's parameters and buffers say, as filters and shift."""

    def read(state: State | None, filters: int = 0) -> np.ndarray:
        return np.zeros(filters) if state is None else state.numpy().astype(np.float64)

    if isinstance(layer, BatchNorm):
        scale = read(layer.gamma) / np.sqrt(read(layer.var) + layer.eps)
        return _Numbers(scale[:, None, None, None], read(layer.beta) - read(layer.mean) * scale)
    if isinstance(layer, Conv2d):
        weight = read(layer.weight)
        return _Numbers(weight[:, ::-1, ::-1] if layer.flip else weight, read(layer.bias, layer.out_channels))
    assert isinstance(layer, Linear)
    weight, shift = read(layer.weight), read(layer.bias, layer.out_features)
    if layer.augmented:
        weight, shift = weight[:, :-1], weight[:, -1]
    return _Numbers(weight[:, None, None, :], shift)


def _product(form1: Form, first: _Numbers, form2: Form, second: _Numbers) -> _Numbers:
    """The numbers of then(form1, form2): w2 w1 and w2 b1 + b2."""
    groups, filters = form2.groups, form2.filters
    sums = second.weight.sum(axis=(1, 2)).reshape(groups, filters // groups, -1)  # (G2, F2/G2, F1/G2)
    shift = np.einsum("gfc,gc->gf", sums, first.shift.reshape(groups, -1)).reshape(filters) + second.shift
    if form2.scales:
        return _Numbers(first.weight * second.weight, shift)
    if form1.scales:
        scale = np.repeat(first.weight.reshape(groups, -1), filters // groups, axis=0)  # (F2, C/G2)
        return _Numbers(second.weight * scale[:, None, None, :], shift)
    form = then(form1, form2)
    w1, w2 = _regrouped(first.weight, form1.groups, form.groups), _regrouped(second.weight, form2.groups, form.groups)
    w = np.zeros((form.filters, *form.kernel, form.channels // form.groups))
    for g in range(form.groups):
        theirs, mine = (slice(g * len(a) // form.groups, (g + 1) * len(a) // form.groups) for a in (w1, w2))
        for p, q in itertools.product(*map(range, form2.kernel)):  # pixel p, q of the second puts a first there
            down, right = _places(form1, form2, form, 0, p), _places(form1, form2, form, 1, q)
            w[mine, down, right, :] += np.tensordot(w2[mine, p, q, :], w1[theirs], axes=1)
    return _Numbers(w, shift)


def _places(form1: Form, form2: Form, form: Form, axis: int, at: int) -> slice:
    """Where on an axis of the new filter the first's filter lies, when it gives number `at` of the second's window."""
    start = at * form2.dilation[axis] * form1.stride[axis] // form.dilation[axis]
    apart = max(1, form1.dilation[axis] // form.dilation[axis])
    return slice(start, start + (form1.kernel[axis] - 1) * apart + 1, apart)


def _regrouped(w: np.ndarray, groups: int, fewer: int) -> np.ndarray:
    """Filters (F, KH, KW, C/G) of G groups as those of fewer, with zeros for the channels that a filter did not see."""
    filters, channels, together = len(w) // groups, w.shape[3], groups // fewer
    wide = np.zeros((*w.shape[:3], channels * together))
    for g in range(groups):
        rows, at = slice(g * filters, (g + 1) * filters), g % together * channels
        wide[rows, ..., at : at + channels] = w[rows]
    return wide
