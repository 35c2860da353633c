"""The perceptron rule and gradient descent with momentum: how weights are changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import array_equal

from xpnet.backend import Backend
from xpnet.exercises import oracles
from xpnet.exercises.cases.holding import compare, numbers_of, results
from xpnet.exercises.comparing import float_types, put, sample
from xpnet.exercises.hints import Wrong, is_same

__all__ = ["momentum", "perceptron_rule"]

_PASSES = 3
_X = np.array(
    [[2.0, 1.0, 0.5], [-1.0, 1.0, 2.0], [1.0, -2.0, 1.0], [-2.0, -1.0, 1.0], [0.5, 2.0, -1.0], [1.0, 1.0, -3.0]]
)
_T = np.array([1, 0, 1, 0, 0, 1])
_W, _B, _LR = np.array([0.5, -0.25, 1.0]), -0.5, 0.5


def _perceptron(rule: str, w: np.ndarray, b: float) -> tuple[np.ndarray, float, int]:
    """The weights, the bias and the mistakes of a pass by a wrong rule."""
    mistakes, old = 0, (w, b)
    for x, t in zip(_X, _T, strict=True):
        from_w, from_b = old if rule == "batch" else (w, b)
        total = x @ from_w + from_b
        y = int(total >= 0 if rule == "at least" else total > 0)
        error = y - t if rule == "sign" else t - y
        rate = 1.0 if rule == "rate" else _LR
        mistakes += int(error != 0)
        w = w + rate * error * x
        b = b if rule == "bias" else b + rate * error
    return w, b, mistakes


_PERCEPTRON = {
    "batch": "each example meets the weights that the examples before it have corrected: update w and b in the loop",
    "sign": "the sign is wrong: if the answer was 0 and should be 1 (t - y = 1), x is added to w",
    "bias": "the bias b is corrected too: b + lr * (t - y)",
    "rate": "the learning rate lr is missing",
    "at least": "a sum of exactly 0 is answered with 0",
}


def perceptron_rule(backend: Backend, answer: Any, learn: Any) -> None:
    """Three passes, each from the weights of the last; the mistakes are counted, and nothing is overwritten."""
    dtype = float_types(backend)[-1]
    _at_zero(backend, dtype, answer)
    wanted: tuple[Any, Any, Any] = (_W, _B, 0)
    given = w, x, t = put(backend, _W, dtype), put(backend, _X, dtype), backend.from_numpy(_T)
    b: Any = _B
    for turn in range(_PASSES):
        guesses = [(_perceptron(rule, *wanted[:2]), hint) for rule, hint in _PERCEPTRON.items()]
        wanted = oracles.perceptron_pass(wanted[0], wanted[1], _X, _T, _LR)
        w, b, mistakes = results("learn", learn(w, b, x, t, _LR), 3)
        found = {f"{name} after pass {turn + 1}": got for name, got in (("w", w), ("b", b), ("mistakes", mistakes))}
        _compare_all(backend, found, wanted, guesses)
        same_dtype("w", w, given[0])
    unmodified(backend, dict(zip("wxt", given, strict=True)), {"w": _W, "x": _X, "t": _T})


def _at_zero(backend: Backend, dtype: Any, answer: Any) -> None:
    """Sums of exactly 0, and on both sides of it."""
    w = put(backend, np.array([2.0, -1.0]), dtype)
    tiny = 2.0**-100
    for x, b, y in (
        ((1.0, 1.0), -1.0, 0),
        ((1.0, 1.0), -0.5, 1),
        ((1.0, 3.0), 0.5, 0),
        ((tiny, tiny), 0.0, 1),
        ((tiny, 3.0 * tiny), 0.0, 0),
    ):
        got = answer(w, b, put(backend, np.array(x), dtype))
        hint = "a sum of exactly 0 is answered with 0: only above 0 it is 1" if 2.0 * x[0] - x[1] + b == 0 else ""
        compare(
            f"answer for x = ({x[0]:.2g}, {x[1]:.2g}), w = (2, -1), b = {b:g}",
            got,
            y,
            backend,
            [(1 - y, hint)] if hint else (),
        )


def _compare_all(
    backend: Backend, found: dict[str, Any], wanted: Sequence[Any], guesses: list[tuple[Any, str]]
) -> None:
    """Compare several results; a hint is of the mistake that leads to all of them."""
    numbers = [numbers_of(name, a, backend) for name, a in found.items()]
    fits = (hint for guess, hint in guesses if all(is_same(a, b) for a, b in zip(numbers, guess, strict=True)))
    hint = next(fits, "")
    for name, number, want in zip(found, numbers, wanted, strict=True):
        compare(name, found[name], want, backend, [(number, hint)] if hint else ())


def same_dtype(name: str, got: Any, given: Any) -> None:
    """Raise Wrong if a result has another dtype than the array that it takes the place of."""
    if got.dtype != given.dtype:
        hint = f"the new {name} needs the dtype of the one that was given: {name}.dtype"
        raise Wrong(f"the new {name} has dtype {got.dtype}, expected {given.dtype}", hint, True)


def unmodified(backend: Backend, given: dict[str, Any], originals: dict[str, np.ndarray]) -> None:
    """Raise Wrong if an array that a function was given was changed."""
    for name, array in given.items():
        if not array_equal(backend.to_numpy(array), originals[name].astype(backend.to_numpy(array).dtype)):
            hint = f"{name} += ... writes into the caller's array; {name} = {name} + ... makes a new one"
            raise Wrong(f"the input {name} was overwritten", hint, True)


_RATES, _MOMENTUM = (0.1, 0.05, 0.2), 0.6


def _momentum(rule: str, w: np.ndarray, v: np.ndarray, g: np.ndarray, lr: float) -> tuple[np.ndarray, np.ndarray]:
    """A step by a wrong rule."""
    if rule == "old":
        return w - lr * v, _MOMENTUM * v + g
    if rule == "signed":
        v = _MOMENTUM * v - lr * g
        return w + v, v
    if rule == "rate inside":
        v = _MOMENTUM * v + lr * g
        return w - v, v
    if rule == "average":
        v = _MOMENTUM * v + (1.0 - _MOMENTUM) * g
    elif rule == "nesterov":
        v = _MOMENTUM * v + g
        return w - lr * (g + _MOMENTUM * v), v
    else:
        v = _MOMENTUM * v + g
    return (w + lr * v if rule == "up" else w - lr * g if rule == "plain" else w - lr * v), v


_STEPS = {
    "old": "w moves by the new v, not by the one that was given",
    "signed": "v is a sum of gradients; the learning rate comes in only where w moves: w - lr * v",
    "rate inside": "v is a sum of gradients; the learning rate comes in only where w moves: w - lr * v",
    "average": "g is added as it is, not multiplied by 1 - momentum",
    "nesterov": "this is Nesterov's form; the plain one moves w by lr * v",
    "up": "the sign is wrong: the loss falls against the gradient, w - lr * v",
    "plain": "w moves by the velocity v, not by the gradient g",
}


def momentum(backend: Backend, sgd_step: Any) -> None:
    """Three steps with other gradients and rates; each is compared, and nothing is overwritten."""
    dtype = float_types(backend)[-1]
    w, v = sample(2, 3), sample(2, 3, seed=1)
    for turn, lr in enumerate(_RATES):
        g = sample(2, 3, seed=2 + turn)
        given = {name: put(backend, a, dtype) for name, a in (("w", w), ("v", v), ("g", g))}
        got = dict(zip("wv", results("sgd_step", sgd_step(*given.values(), lr, _MOMENTUM), 2), strict=True))
        each = [
            oracles.sgd_steps(float(w[at]), float(v[at]), [float(g[at])], [lr], _MOMENTUM) for at in np.ndindex(2, 3)
        ]
        guesses = [(_momentum(rule, w, v, g, lr), hint) for rule, hint in _STEPS.items()]
        unmodified(backend, given, {"w": w, "v": v, "g": g})
        wanted = [np.array([pair[i] for pair in each]).reshape(2, 3) for i in (0, 1)]
        _compare_all(backend, {f"{name} after step {turn + 1}": a for name, a in got.items()}, wanted, guesses)
        w, v = wanted
    for dtype in float_types(backend):
        given = [put(backend, sample(2, 3, seed=i), dtype) for i in range(3)]
        for name, a in zip("wv", sgd_step(*given, _RATES[0], _MOMENTUM), strict=True):
            same_dtype(name, a, given[0])
