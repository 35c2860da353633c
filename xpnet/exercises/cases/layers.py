"""Softmax, cross-entropy, two layers, batch normalization: functions of rows of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet import ops
from xpnet.backend import Backend
from xpnet.exercises import oracles
from xpnet.exercises.cases.holding import as_op, by_op, hold
from xpnet.exercises.checking import Case
from xpnet.exercises.comparing import sample
from xpnet.exercises.hints import Mistake

__all__ = ["backpropagation", "batch_norm", "cross_entropy", "softmax"]

_FAR = np.array([[0.0], [-1000.0], [1000.0], [0.0]])  # what is added to the logits of an example


def _single(a: np.ndarray) -> np.ndarray:
    """The nearest numbers that float32 has."""
    return a.astype(np.float32).astype(np.float64)


def _over(axis: int | None) -> Any:
    """Softmax whose sum runs over another axis."""

    def numbers(want: Any, dy: Any, a: np.ndarray) -> np.ndarray:
        e = np.exp(a - a.max())
        return e / e.sum(axis=axis, keepdims=True)

    return numbers


def _less(other: Any) -> Any:
    """Softmax of logits from which another number than the largest is subtracted."""

    def numbers(want: Any, dy: Any, a: np.ndarray) -> np.ndarray:
        e = np.exp(a - other(a))
        return e / e.sum(axis=1, keepdims=True)

    return numbers


_OTHERS = {
    "first": lambda a: a[:, :1],
    "last": lambda a: a[:, -1:],
    "smallest": lambda a: a.min(axis=1, keepdims=True),
    "mean": lambda a: a.mean(axis=1, keepdims=True),
    "median": lambda a: np.median(a, axis=1, keepdims=True),
}
_SOFTMAX = (
    Mistake("y", _over(0), "the sum runs over the K classes of each example, axis 1, not over the examples"),
    Mistake("y", _over(None), "each example has a sum of its own: sum over axis 1, with keepdims=True"),
    Mistake(
        "y",
        lambda want, dy, a: np.exp(a) / np.exp(a).sum(axis=1, keepdims=True),
        "exp overflows: subtract the largest logit of each example first",
    ),
    Mistake(
        "y", _over(1), "subtract the largest logit of each example, not the largest of all: xp.max(a, axis=1, ...)"
    ),
    *(
        Mistake("y", _less(other), f"exp overflows: subtract the largest logit of each example, not the {name}")
        for name, other in _OTHERS.items()
    ),
)
# Logits of an example that lie far from each other, of more classes than a row that was written for three.
_SPREAD = np.array(
    [
        [0.0, -2000.0, 1.0, -1.0, -2000.0],
        [0.0, 1000.0, -1.0, 0.0, 999.5],
        [-800.0, 800.0, 0.0, 799.0, -799.0],
        [1000.0, 999.5, -1000.0, -1000.0, 998.0],
    ]
)


def softmax(backend: Backend, softmax: Any) -> None:
    """Logits of usual size, rows that lie far from each other, and rows whose logits do."""
    for logits in (sample(4, 3), _single(sample(4, 3, seed=1) + _FAR), _SPREAD):
        N, K = logits.shape
        case = Case(as_op(softmax), (logits,), oracles.softmax, batch=(0,), sizes=(1,), length=K)
        hold(case, backend, ["a"], "p", {"N": N, "K": K}, _SOFTMAX)


def _loss_less(largest: Any) -> Any:
    """The loss by the logarithm of the sum of exponentials, from which some number is subtracted first."""

    def numbers(want: Any, dy: Any, a: np.ndarray, y: np.ndarray) -> Any:
        a = a - largest(a)
        return -np.sum(y * (a - np.log(np.exp(a).sum(axis=1, keepdims=True)))) / len(a)

    return numbers


_NATURAL = "ln is the natural logarithm: xp.log"
_CROSS_ENTROPY = (
    Mistake("y", lambda want, dy, a, y: want / np.log(2.0), _NATURAL),
    Mistake("y", lambda want, dy, a, y: want / np.log(10.0), _NATURAL),
    Mistake(
        "y",
        lambda want, dy, a, y: -np.sum(y * np.log(oracles.softmax(a))) / len(a),
        "a small p is rounded to 0, and ln 0 is infinite: compute ln p_j = a_j - m - ln(sum of exp(a_k - m))",
    ),
    Mistake(
        "y", _loss_less(np.max), "m is the largest logit of each example, not of all: xp.max(a, axis=1, keepdims=True)"
    ),
    Mistake("y", _loss_less(np.zeros_like), "exp overflows: subtract m, the largest logit of each example, first"),
    Mistake("y", lambda want, dy, a, y: -np.sum(y * a) / len(a), "the softmax is missing: L is of ln p, not of a"),
    Mistake(0, lambda want, dy, a, y: dy * oracles.softmax(a) / len(a), "p - y: the labels y are missing"),
)


def cross_entropy(backend: Backend, cross_entropy: Any, cross_entropy_gradient: Any) -> None:
    """The loss, and its gradient by xpnet's op and by slopes; also of logits whose exponentials overflow."""

    def backward(dy: Any, a: Any, y: Any) -> Any:
        gradient = cross_entropy_gradient(a, y)
        return None if gradient is None else dy * gradient

    backward.__name__ = "cross_entropy_gradient"
    labels = np.eye(3)[[2, 0, 1, 2]]
    for logits in (
        sample(4, 3),
        _single(sample(1, 3, seed=2) + 1000.0),  # before _FAR: fails without m, passes with the m of all examples
        _single(sample(4, 3, seed=1) + _FAR),
        sample(4, 3, low=-800.0, high=800.0),
    ):
        case = Case(
            as_op(cross_entropy, backward, (0,)),
            (logits, labels[: len(logits)]),
            oracles.softmax_cross_entropy,
            gradients=by_op(ops.softmax_cross_entropy),
            differentiable=(0,),
            batch=(0, 1),
            sizes=(1,),
            length=2000,
        )
        hold(case, backend, ["a", "y"], "L", {"N": 4, "K": 3}, _CROSS_ENTROPY)


def _without_mask(want: Any, dy: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    dh = dy @ w2
    return dh.T @ x if want.ndim == 2 else dh.sum(axis=0)


def _mask_of_gradient(want: Any, dy: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    dh = np.maximum(dy @ w2, 0.0)
    return dh.T @ x if want.ndim == 2 else dh.sum(axis=0)


def _times_h(want: Any, dy: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    dh = dy @ w2 * np.maximum(x @ w1.T + b1, 0.0)
    return dh.T @ x if want.ndim == 2 else dh.sum(axis=0)


_MASK = "ReLU passes the gradient only where a1 > 0: da1 = dh where a1 > 0, else 0"
_MASK_OF_DH = "what passes is decided by a1 > 0, not by dh > 0"
_BY_H = "the slope of ReLU is 1 where a1 > 0, else 0: multiply dh by that, not by h"
_BACKPROPAGATION = (
    Mistake(
        "y", lambda want, dy, x, w1, b1, w2, b2: (x @ w1.T + b1) @ w2.T + b2, "the ReLU is missing: h = max(a1, 0)"
    ),
    Mistake("y", lambda want, dy, x, w1, b1, w2, b2: want - b2, "the bias b2 is missing"),
    Mistake(1, _without_mask, _MASK),
    Mistake(2, _without_mask, _MASK),
    Mistake(1, _mask_of_gradient, _MASK_OF_DH),
    Mistake(2, _mask_of_gradient, _MASK_OF_DH),
    Mistake(1, _times_h, _BY_H),
    Mistake(2, _times_h, _BY_H),
    Mistake(
        3,
        lambda want, dy, x, w1, b1, w2, b2: dy.T @ (x @ w1.T + b1),
        "dw2 is of h, after the ReLU, not of a1 before it",
    ),
)


def _two_layers(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """xpnet's own ops, one after the other."""
    h, to_first = ops.linear(x, w1, b1, activation="relu")
    a, to_second = ops.linear(h, w2, b2)

    def vjp(da: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dh, dw2, db2 = to_second(da, (True, True, True))
        return (*to_first(dh, (True, True, True)), dw2, db2)

    return a, vjp


def backpropagation(backend: Backend, forward: Any, backward: Any) -> None:
    """A network of other sizes; all gradients by xpnet's ops and by slopes."""
    arrays = (sample(5, 4), sample(3, 4, seed=1), sample(3, seed=2), sample(2, 3, seed=3), sample(2, seed=4))
    case = Case(
        as_op(forward, backward, (1, 2, 3, 4)),
        arrays,
        oracles.two_layers,
        gradients=by_op(_two_layers),
        differentiable=(1, 2, 3, 4),
        linear=(3, 4),
        batch=(0,),
        sizes=(1,),
        length=40,
    )
    hold(case, backend, ["x", "w1", "b1", "w2", "b2"], "a2", {"N": 5, "D": 4, "M": 3, "K": 2}, _BACKPROPAGATION)


EPS = 0.1  # large, so that a wrong place shows


def _xhat(x: np.ndarray, ddof: int = 0) -> np.ndarray:
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0, ddof=ddof) + EPS)


def _direct(want: Any, dy: Any, x: Any, gamma: Any, beta: Any) -> Any:
    return dy * gamma / np.sqrt(x.var(axis=0) + EPS)


def _without_variance(want: Any, dy: Any, x: Any, gamma: Any, beta: Any) -> Any:
    return (dy - dy.mean(axis=0)) * gamma / np.sqrt(x.var(axis=0) + EPS)


_BATCH_NORM = (
    Mistake("y", lambda want, dy, x, gamma, beta: gamma * _xhat(x, 1) + beta, "var divides by N here, not by N - 1"),
    Mistake(
        "y",
        lambda want, dy, x, gamma, beta: gamma * (x - x.mean(axis=0)) / (np.sqrt(x.var(axis=0)) + EPS) + beta,
        "eps stands under the root: sqrt(var + eps)",
    ),
    Mistake(
        "y",
        lambda want, dy, x, gamma, beta: gamma * (x - x.mean(axis=0)) / (x.var(axis=0) + EPS) + beta,
        "the root is missing: divide by sqrt(var + eps)",
    ),
    Mistake(
        "y",
        lambda want, dy, x, gamma, beta: (
            gamma * (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + EPS) + beta
        ),
        "mean and var are of each feature over the batch, axis 0; over axis 1 it is layer normalization",
    ),
    Mistake(0, _direct, "mean and var depend on x too: the terms with dbeta / N and dgamma / N are missing"),
    Mistake(0, _without_variance, "var depends on x too: the term xhat * dgamma / N is missing"),
)


def _own_batch_norm(x: Any, gamma: Any, beta: Any) -> Any:
    return ops.batch_norm(x, gamma, beta, *ops.moments(x), eps=EPS, training=True)


def batch_norm(backend: Backend, batch_norm: Any, batch_norm_backward: Any) -> None:
    """A batch of other sizes; all gradients by xpnet's op and by slopes."""

    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        return batch_norm(x, gamma, beta, EPS)

    def backward(dy: Any, x: Any, gamma: Any, beta: Any) -> Any:
        return batch_norm_backward(dy, x, gamma, EPS)

    forward.__name__, backward.__name__ = "batch_norm", "batch_norm_backward"
    case = Case(
        as_op(forward, backward, (0, 1, 2)),
        (sample(5, 3), sample(3, seed=1), sample(3, seed=2)),
        lambda x, gamma, beta: oracles.batch_norm(x, gamma, beta, x[0], x[0], EPS, training=True),
        gradients=by_op(_own_batch_norm),
        differentiable=(0, 1, 2),
        linear=(1, 2),
        length=20,
    )
    hold(case, backend, ["x", "gamma", "beta"], "y", {"N": 5, "D": 3}, _BATCH_NORM)
