"""im2col, convolution, max pooling, local response normalization: functions of images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from xpnet import ops
from xpnet.backend import Backend
from xpnet.exercises import oracles
from xpnet.exercises.cases.holding import as_op, by_op, compare, hold, results
from xpnet.exercises.checking import Case, dy_of
from xpnet.exercises.comparing import float_types, put, sample
from xpnet.exercises.hints import Mistake

__all__ = ["convolution", "im2col", "lrn", "max_pool_gradient"]


def _other_order(KH: int, KW: int, S: int, rows: str, columns: str) -> Callable[..., Any]:
    """im2col whose rows or columns are in another order than n, i, j and p, q, c."""

    def numbers(want: np.ndarray, dy: Any, x: np.ndarray) -> np.ndarray:
        N, H, W, C = x.shape
        sizes = {"n": N, "i": (H - KH) // S + 1, "j": (W - KW) // S + 1, "p": KH, "q": KW, "c": C}
        axes = want.reshape([sizes[name] for name in "nijpqc"])
        return axes.transpose(["nijpqc".index(name) for name in rows + columns]).reshape(want.shape)

    return numbers


def im2col(backend: Backend, im2col: Any) -> None:
    """Two images of three channels, windows that are not square, strides 1 to 3."""
    for KH, KW, S in ((2, 3, 1), (3, 2, 2), (1, 2, 3)):
        mistakes = (
            Mistake(
                "y",
                _other_order(KH, KW, S, "nij", "pcq"),
                "in a row c is fastest: the channels of a pixel are together",
            ),
            Mistake(
                "y",
                _other_order(KH, KW, S, "nij", "cpq"),
                "in a row c is fastest: the channels of a pixel are together",
            ),
            Mistake(
                "y", _other_order(KH, KW, S, "nij", "qpc"), "in a row the pixels go line by line: q is faster than p"
            ),
            Mistake("y", _other_order(KH, KW, S, "nji", "pqc"), "the windows go line by line: j is faster than i"),
            Mistake(
                "y",
                _other_order(KH, KW, S, "ijn", "pqc"),
                "n is slowest: all windows of image 0, then those of image 1",
            ),
        )
        case = Case(
            as_op(im2col, KH=KH, KW=KW, S=S),
            (sample(2, 5, 8, 3),),
            partial(oracles.im2col, KH=KH, KW=KW, S=S),
            batch=(0,),
            sizes=(1,),
        )
        hold(case, backend, ["x"], "rows", {}, mistakes, f"KH = {KH}, KW = {KW}, S = {S}")


def _taps(x: np.ndarray, w: np.ndarray, S: int) -> list[tuple[int, int, tuple[slice, ...]]]:
    """Each p, q, and the pixels of x that the weight (p, q) meets."""
    OH, OW = (x.shape[1] - w.shape[1]) // S + 1, (x.shape[2] - w.shape[2]) // S + 1
    return [
        (p, q, (slice(None), slice(p, p + S * (OH - 1) + 1, S), slice(q, q + S * (OW - 1) + 1, S)))
        for p, q in np.ndindex(w.shape[1], w.shape[2])
    ]


def _overwriting(S: int) -> Callable[..., Any]:
    """The gradient of images to which each share is assigned, not added."""

    def numbers(want: Any, dy: np.ndarray, x: np.ndarray, w: np.ndarray, b: Any) -> np.ndarray:
        dx = np.zeros(x.shape)
        for p, q, place in _taps(x, w, S):
            dx[place] = dy @ w[:, p, q, :]
        return dx

    return numbers


def _of_rotated(S: int) -> Callable[..., Any]:
    """The gradient of images by rotated filters."""

    def numbers(want: Any, dy: np.ndarray, x: np.ndarray, w: np.ndarray, b: Any) -> np.ndarray:
        dx = np.zeros(x.shape)
        for p, q, place in _taps(x, w, S):
            dx[place] += dy @ w[:, -1 - p, -1 - q, :]
        return dx

    return numbers


def _without_stride(part: int | str) -> Callable[..., Any]:
    """The result, or the gradient of images or filters, where weight (p, q) meets the pixels (i + p, j + q)."""

    def numbers(want: np.ndarray, dy: np.ndarray, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        OH, OW = dy.shape[1:3]
        found = b + np.zeros(want.shape) if part == "y" else np.zeros(want.shape)
        for p, q in np.ndindex(w.shape[1], w.shape[2]):
            place = (slice(None), slice(p, p + OH), slice(q, q + OW))
            if part == "y":
                found += x[place] @ w[:, p, q].T
            elif part == 0:
                found[place] += dy @ w[:, p, q]
            else:
                found[:, p, q] = np.einsum("nijf,nijc->fc", dy, x[place])
        return found

    return numbers


_STRIDE = "the stride is missing: windows are S pixels apart, so the slice is p : p + S*(OH-1) + 1 : S"
_ROTATED = "the filter is rotated by 180 degrees: weight (p, q) meets pixel (i*S + p, j*S + q)"


def convolution(backend: Backend, conv2d: Any, conv2d_backward: Any) -> None:
    """Strides 1 and 2; all gradients by xpnet's op, by slopes and by <y, dy> = <x, dx>."""
    for S in (1, 2):

        def backward(dy: Any, x: Any, w: Any, b: Any, S: int = S) -> Any:
            return conv2d_backward(dy, x, w, S)

        backward.__name__ = "conv2d_backward"
        case = Case(
            as_op(partial(_forward, conv2d, S), backward, (0, 1, 2)),
            (sample(2, 5, 7, 3), sample(4, 3, 2, 3, seed=1), sample(4, seed=2)),
            partial(oracles.conv2d, stride=S),
            gradients=by_op(partial(ops.conv2d, stride=S)),
            differentiable=(0, 1, 2),
            linear=(0, 1, 2),
            batch=(0,),
            sizes=(1,),
            length=60,
        )
        mistakes = (
            Mistake("y", partial(_rotated, S), _ROTATED),
            Mistake("y", lambda want, dy, x, w, b: want - b, "the bias b is missing"),
            Mistake(0, _overwriting(S), "windows overlap: shares of dx are added, dx[place] += share, not assigned"),
            Mistake(0, _of_rotated(S), _ROTATED),
            Mistake(1, lambda want, dy, x, w, b: want[:, ::-1, ::-1], _ROTATED),
            *(Mistake(part, _without_stride(part), _STRIDE) for part in ("y", 0, 1)),
        )
        hold(case, backend, ["x", "w", "b"], "y", {"N": 2, "F": 4, "C": 3}, mistakes, f"S = {S}")


def _forward(conv2d: Any, S: int, x: Any, w: Any, b: Any) -> Any:
    return results("conv2d", conv2d(x, w, b, S), 1)[0]


def _rotated(S: int, want: Any, dy: Any, x: Any, w: Any, b: Any) -> Any:
    return oracles.conv2d(x, w, b, stride=S, flip=True)


def _max_pool_shares(K: int, S: int, rule: str) -> Callable[..., Any]:
    """The gradient of max pooling by a wrong rule."""

    def numbers(want: Any, dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        dx = np.zeros(x.shape)
        for n, i, j, c in np.ndindex(*dy.shape):
            window, share = (
                x[n, i * S : i * S + K, j * S : j * S + K, c],
                dx[n, i * S : i * S + K, j * S : j * S + K, c],
            )
            hits = np.argwhere(window == window.max())
            if rule == "assign":
                share[tuple(hits[0])] = dy[n, i, j, c]
            for hit in hits if rule == "all" else hits[-1:] if rule == "last" else ():
                share[tuple(hit)] += dy[n, i, j, c]
            if rule == "divided":
                share[window == window.max()] += dy[n, i, j, c] / len(hits)
            if rule == "column":
                share[tuple(min(hits.tolist(), key=lambda at: at[::-1]))] += dy[n, i, j, c]
        return dx

    return numbers


def _max_pool_assigned(K: int, S: int, want: Any, dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The gradient of max pooling to which the share of each (p, q) is assigned, zeros too."""
    dx, (OH, OW) = np.zeros(x.shape), dy.shape[1:3]
    place = {
        (p, q): (slice(None), slice(p, p + S * (OH - 1) + 1, S), slice(q, q + S * (OW - 1) + 1, S))
        for p, q in np.ndindex(K, K)
    }
    y, found = np.max([x[at] for at in place.values()], axis=0), np.zeros(dy.shape, bool)
    for at in place.values():
        hit = (x[at] == y) & ~found
        dx[at] = dy * hit
        found |= hit
    return dx


_MAX_POOL = {
    "assign": "windows overlap: a pixel that is the maximum of several gets the sum (+=), not the last one",
    "all": "if several pixels are the maximum, the gradient goes to the first only, not to all of them",
    "last": "if several pixels are the maximum, the gradient goes to the first of them, not to the last",
    "divided": "if several pixels are the maximum, the gradient goes to the first only, it is not divided",
    "column": "the first maximum is found line by line: p is the outer loop, q the inner one",
}


def max_pool_gradient(backend: Backend, max_pool2d: Any, max_pool2d_backward: Any) -> None:
    """Windows with and without overlap, by slopes; then images with many equal numbers, by xpnet's op."""
    for K, S in ((2, 2), (3, 2), (2, 3)):

        def backward(dy: Any, x: Any, K: int = K, S: int = S) -> Any:
            return max_pool2d_backward(dy, x, K, S)

        backward.__name__ = "max_pool2d_backward"
        op = partial(ops.max_pool2d, kernel_size=K, stride=S)
        guesses = [(_max_pool_shares(K, S, rule), hint) for rule, hint in _MAX_POOL.items()]
        guesses.append((partial(_max_pool_assigned, K, S), "windows overlap: add to dx with +=, dx[place] += share"))
        case = Case(
            as_op(partial(max_pool2d, K=K, S=S), backward, (0,)),
            (sample(2, 8, 5, 3),),
            partial(oracles.max_pool2d, kernel_size=K, stride=S),
            gradients=by_op(op),
            differentiable=(0,),
            batch=(0,),
            sizes=(1,),
            length=9,
        )
        mistakes = [Mistake(0, numbers, hint) for numbers, hint in guesses]
        hold(case, backend, ["x"], "y", {}, mistakes, f"K = {K}, S = {S}")

        dtype = float_types(backend)[-1]
        ties = np.round(sample(2, 8, 5, 3, seed=1))  # -2, -1, 0, 1 and 2
        y, vjp = op(ties)
        dy = dy_of(y.shape)
        found = max_pool2d_backward(put(backend, dy, dtype), put(backend, ties, dtype), K, S)
        wrong = [(numbers(None, dy, ties), hint) for numbers, hint in guesses]
        compare(f"dx of an image with equal pixels (K = {K}, S = {S})", found, vjp(dy, (True,))[0], backend, wrong)

        near = ties + np.round(sample(2, 8, 5, 3, seed=2)) * 2.0**-18  # no two pixels are equal for being near
        y, vjp = op(near)
        found = max_pool2d_backward(put(backend, dy, dtype), put(backend, near, dtype), K, S)
        wrong = [
            (op(ties)[1](dy, (True,))[0], _NEARLY),
            *((numbers(None, dy, near), hint) for numbers, hint in guesses),
        ]
        compare(
            f"dx of an image with nearly equal pixels (K = {K}, S = {S})", found, vjp(dy, (True,))[0], backend, wrong
        )


_NEARLY = "a pixel is the maximum if it is equal to y (==): one that is nearly as large gets nothing"


def _lrn(x: np.ndarray, region: str, settings: tuple[Any, ...], rule: str) -> np.ndarray:
    """Local response normalization by a wrong rule."""
    size, alpha, beta, k = settings
    r, axes = size // 2, (3,) if region == "across" else (1, 2)
    s = np.abs(x) if rule == "plain" else x if rule == "signed" else x * x
    for axis in axes:
        before, after = (r, 0) if rule == "before" else (r, r)
        if rule == "around":
            s = sum(np.roll(s, shift, axis) for shift in range(-r, r + 1))
            continue
        padded = np.pad(s, [(before, after) if a == axis else (0, 0) for a in range(4)])
        s = sum(np.take(padded, np.arange(x.shape[axis]) + shift, axis) for shift in range(before + after + 1))
    if rule == "others":
        s = s - x * x
    if rule == "average":
        s = s / size ** len(axes)
    return x / (k + alpha * s) ** (1.0 if rule == "power" else beta)


_LRN = {
    "average": "alpha multiplies the sum of the squares; here it is not divided by how many they are",
    "plain": "S is the sum of x^2, not of |x|",
    "signed": "S is the sum of x^2, not of x",
    "around": "neighbours beyond the border count as 0; xp.roll brings in those of the other side",
    "before": "the neighbours are on both sides: c-r .. c+r",
    "others": "x itself is one of its neighbours",
    "power": "the exponent beta is missing",
}


def _lrn_mistake(region: str, settings: tuple[Any, ...], rule: str, want: Any, dy: Any, x: Any) -> Any:
    return _lrn(x, region, settings, rule)


def lrn(backend: Backend, lrn_across: Any, lrn_within: Any) -> None:
    """Whole images; alpha, beta and k near 1, so that each of them shows."""
    for function, region, other in ((lrn_across, "across", "within"), (lrn_within, "within", "across")):
        for settings in ((3, 0.8, 0.75, 1.5), (5, 1.2, 0.6, 2.0)):
            mistakes = [
                Mistake("y", partial(_lrn_mistake, region, settings, rule), hint) for rule, hint in _LRN.items()
            ]
            mistakes.append(
                Mistake("y", partial(_lrn_mistake, other, settings, ""), f"this is the other type, {other}")
            )
            case = Case(
                as_op(partial(_normalize, function, settings, f"lrn_{region}")),
                (sample(2, 4, 3, 6),),
                partial(_right_lrn, region, settings),
                batch=(0,),
                sizes=(1,),
                length=30,
            )
            values = ", ".join(f"{n} = {v}" for n, v in zip(("size", "alpha", "beta", "k"), settings, strict=True))
            hold(case, backend, ["x"], f"lrn_{region}", {}, mistakes, values)


def _right_lrn(region: str, settings: tuple[Any, ...], x: Any) -> Any:
    return oracles.lrn_across(x, *settings) if region == "across" else oracles.lrn_within(x, *settings)


def _normalize(function: Any, settings: tuple[Any, ...], name: str, x: Any) -> Any:
    return results(name, function(x, *settings), 1)[0]
