"""Typical wrong solutions: (exercise, what is wrong, functions in place of the right ones, words of what is said)."""

from __future__ import annotations

import math

import numpy as np

import xpnet
from tests.exercises import solutions as right
from tests.exercises.solutions import places


def in_place_learn(w, b, x, t, lr):
    mistakes = 0
    for n in range(x.shape[0]):
        error = int(t[n]) - right.answer(w, b, x[n, :])
        mistakes += error != 0
        w += lr * error * x[n, :]
        b += lr * error
    return w, b, mistakes


def learn_after_the_pass(w, b, x, t, lr):
    errors = [int(t[n]) - right.answer(w, b, x[n, :]) for n in range(x.shape[0])]
    for n, error in enumerate(errors):
        w, b = w + lr * error * x[n, :], b + lr * error
    return w, b, sum(map(abs, errors))


def learn_with(weight=lambda lr, e: lr * e, bias=lambda lr, e: lr * e):
    def learn(w, b, x, t, lr):
        mistakes = 0
        for n in range(x.shape[0]):
            error = int(t[n]) - right.answer(w, b, x[n, :])
            mistakes += abs(error)
            w, b = w + weight(lr, error) * x[n, :], b + bias(lr, error)
        return w, b, mistakes

    return learn


def log_of_softmax(a, y):
    return -(y * np.log(right.softmax(a))).sum() / len(a)


def writing_softmax(a):
    a -= a.max(axis=1, keepdims=True)
    return np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)


def wide_softmax(a):
    e = np.exp(a.astype(np.float64) - a.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_by(largest, total):
    def softmax(a):
        e = np.exp(a - largest(a))
        return e / total(e)

    return softmax


def rows(a):
    return a.max(axis=1, keepdims=True)


def median(a):
    return np.median(a, axis=1, keepdims=True).astype(a.dtype)


def remembering(forward, backward, gradients):
    """Two functions of an exercise; the second uses what the first was called with last."""
    last = []

    def remember(*arguments):
        last[:] = [*arguments]
        return forward(*arguments)

    return {forward.__name__: remember, backward.__name__: lambda *given: gradients(last, *given)}


def sums(e):
    return e.sum(axis=1, keepdims=True)


def backward_without_mask(da, x, w1, b1, w2, b2):
    h = np.maximum(x @ w1.T + b1, 0)
    dh = da @ w2
    return dh.T @ x, dh.sum(axis=0), da.T @ h, da.sum(axis=0)


def backward_by(change):
    return lambda *arrays: change(*right.backward(*arrays))


def backward_times_h(da, x, w1, b1, w2, b2):
    h = np.maximum(x @ w1.T + b1, 0)
    da1 = (da @ w2) * h
    return da1.T @ x, da1.sum(axis=0), da.T @ h, da.sum(axis=0)


def loss_less(largest):
    def cross_entropy(a, y):
        a = a - largest(a)
        return -(y * (a - np.log(np.exp(a).sum(axis=1, keepdims=True)))).sum() / len(a)

    return cross_entropy


def mean_of_all(a, y):
    return right.cross_entropy(a, y) / a.shape[1]


def neighbours(x, KH, KW, S):
    """Slices that are S pixels too close."""
    OH, OW = (x.shape[1] - KH) // S + 1, (x.shape[2] - KW) // S + 1
    return [(p, q, (slice(None), slice(p, p + OH), slice(q, q + OW))) for p in range(KH) for q in range(KW)]


def conv_without_stride(x, w, b, S):
    return b + sum(x[place] @ w[:, p, q].T for p, q, place in neighbours(x, *w.shape[1:3], S))


def backward_without_stride(dy, x, w, S):
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for p, q, place in neighbours(x, *w.shape[1:3], S):
        dx[place] += dy @ w[:, p, q]
        dw[:, p, q] = np.tensordot(dy, x[place], ((0, 1, 2), (0, 1, 2)))
    return dx, dw, dy.sum(axis=(0, 1, 2))


def dw_without_stride(dy, x, w, S):
    dx, _, db = right.conv2d_backward(dy, x, w, S)
    return dx, backward_without_stride(dy, x, w, S)[1], db


def pool_backward_that_assigns_slices(dy, x, K, S):
    y, dx = xpnet.ops.max_pool2d(x, kernel_size=K, stride=S)[0], np.zeros_like(x)
    gone = np.zeros(y.shape, bool)
    for _, _, place in places(x, K, K, S):
        hit = (x[place] == y) & ~gone
        dx[place], gone = dy * hit, gone | hit
    return dx


def im2col_in(order):
    """im2col whose axes are in another order than nijpqc."""

    def im2col(x, KH, KW, S):
        OH, OW = (x.shape[1] - KH) // S + 1, (x.shape[2] - KW) // S + 1
        axes = right.im2col(x, KH, KW, S).reshape(x.shape[0], OH, OW, KH, KW, x.shape[3])
        return axes.transpose(["nijpqc".index(name) for name in order]).reshape(-1, KH * KW * x.shape[3])

    return im2col


def im2col_without_stride(x, KH, KW, S):
    return right.im2col(x, KH, KW, 1)


def im2col_one_window_short(x, KH, KW, S):
    taps = [x[:, p : x.shape[1] - KH + p : S, q : x.shape[2] - KW + q : S] for p in range(KH) for q in range(KW)]
    return np.concatenate(taps, axis=3).reshape(-1, KH * KW * x.shape[3])


def backward_that_assigns(dy, x, w, S):
    dx = np.zeros_like(x)
    for p, q, place in places(x, w.shape[1], w.shape[2], S):
        dx[place] = dy @ w[:, p, q, :]
    return dx, *right.conv2d_backward(dy, x, w, S)[1:]


def backward_in_float64(dy, x, w, S):
    dx = np.zeros(x.shape)
    for p, q, place in places(x, w.shape[1], w.shape[2], S):
        dx[place] += dy @ w[:, p, q, :]
    return dx, *right.conv2d_backward(dy, x, w, S)[1:]


def rotated(w):
    return w[:, ::-1, ::-1, :]


def pool_backward_to_all(dy, x, K, S):
    y = xpnet.ops.max_pool2d(x, kernel_size=K, stride=S)[0]
    dx = np.zeros_like(x)
    for _, _, place in places(x, K, K, S):
        dx[place] += np.where(x[place] == y, dy, 0).astype(x.dtype)
    return dx


def pool_backward_in_float64(dy, x, K, S):
    y = xpnet.ops.max_pool2d(x, kernel_size=K, stride=S)[0]
    dx = np.zeros(x.shape)
    for _, _, place in places(x, K, K, S):
        dx[place] += dy * (x[place] == y)
    return dx


def pool_backward_that_assigns(dy, x, K, S):
    y = xpnet.ops.max_pool2d(x, kernel_size=K, stride=S)[0]
    dx = np.zeros_like(x)
    for n, i, j, c in np.ndindex(*dy.shape):
        window = x[n, i * S : i * S + K, j * S : j * S + K, c]
        p, q = np.argwhere(window == y[n, i, j, c])[0]
        dx[n, i * S + p, j * S + q, c] = dy[n, i, j, c]
    return dx


def pool_backward_column_first(dy, x, K, S):
    turned = right.max_pool2d_backward(dy.transpose(0, 2, 1, 3), x.transpose(0, 2, 1, 3), K, S)
    return turned.transpose(0, 2, 1, 3)


def pool_backward_of_near(dy, x, K, S):
    return right.max_pool2d_backward(dy, np.round(x, 3), K, S)


def lrn_by_roll(x, size, alpha, beta, k):
    s = sum(np.roll(x * x, shift, axis=3) for shift in range(-(size // 2), size // 2 + 1))
    return x / (k + alpha * s) ** beta


def momentum_in_place(w, v, g, lr, momentum):
    v *= momentum
    v += g
    return w - lr * v, v


def momentum_in_float64(w, v, g, lr, momentum):
    v = momentum * v.astype(np.float64) + g
    return (w - lr * v).astype(w.dtype), v


def velocity_with_rate(w, v, g, lr, momentum):
    v = momentum * v - lr * g
    return w + v, v


def batch_norm_by(var, eps_inside=True):
    def batch_norm(x, gamma, beta, eps):
        root = np.sqrt(var(x) + eps) if eps_inside else np.sqrt(var(x)) + eps
        return (gamma * (x - x.mean(axis=0)) / root + beta).astype(x.dtype)

    return batch_norm


def direct_gradient(dy, x, gamma, eps):
    _, dgamma, dbeta = right.batch_norm_backward(dy, x, gamma, eps)
    return dy * gamma / np.sqrt(x.var(axis=0) + eps), dgamma, dbeta


def leaves_of(loss, visit):
    """Go from a tensor to what it was made of, depth first, without an order."""
    found = {}

    def go(t, g):
        if t.vjp is None:
            visit(found, t, g)
            return
        for parent, part in zip(t.inputs, t.vjp(g, (True,) * len(t.inputs)), strict=True):
            go(parent, part)

    go(loss, xpnet.namespace(loss.data).ones_like(loss.data))
    return found


def overwriting_tape(loss):
    return leaves_of(loss, lambda found, t, g: found.__setitem__(t, g))


def depth_first_tape(loss):
    return leaves_of(loss, lambda found, t, g: found.__setitem__(t, found[t] + g if t in found else g))


def tape_that_adds_in_place(loss):
    gradients, leaves = {loss: np.ones_like(loss.data)}, {}
    while gradients:
        t = max(gradients, key=lambda t: t.number)
        g = gradients.pop(t)
        if t.vjp is None:
            leaves[t] = g
            continue
        for parent, part in zip(t.inputs, t.vjp(g, (True,) * len(t.inputs)), strict=True):
            if parent in gradients:
                gradients[parent] += part
            else:
                gradients[parent] = part
    return leaves


def recursive_tape(loss):
    """Right, but a call within a call for each tensor."""
    order, seen = [], set()

    def go(t):
        if t not in seen:
            seen.add(t)
            for parent in t.inputs:
                go(parent)
            order.append(t)

    go(loss)
    gradients = {loss: np.ones_like(loss.data)}
    for t in reversed(order):
        if t.vjp is not None:
            for parent, part in zip(t.inputs, t.vjp(gradients[t], (True,) * len(t.inputs)), strict=True):
                gradients[parent] = gradients[parent] + part if parent in gradients else part
    return {t: gradients[t] for t in order if t.vjp is None}


class LaterProgram(right.Program):
    def launch(self, function, *arguments):
        self.work.append((function, arguments))


class BackwardsProgram(right.Program):
    def replay(self):
        for function, arguments in reversed(self.work):
            function(*arguments)


class Recorded(right.Captured):
    """Captured, of which some lines are others."""

    own = staticmethod(lambda x: x.copy())
    result = staticmethod(lambda y: y.copy())
    also_replayed = False

    def signature(self, inputs):
        return tuple(x.shape for x in inputs)

    def __call__(self, *inputs):
        signature = self.signature(inputs)
        if signature not in self.recordings:
            program, own = right.Program(), [self.own(x) for x in inputs]
            self.recordings[signature] = program, own, self.step(program, *own)
            if self.also_replayed:
                program.replay()
        else:
            program, own, _ = self.recordings[signature]
            for a, x in zip(own, inputs, strict=True):
                a[...] = x
            program.replay()
        return self.result(self.recordings[signature][2])


class NotCopied(Recorded):
    own = staticmethod(lambda x: x)


class OldInputs(right.Captured):
    def __call__(self, *inputs):
        signature = tuple(x.shape for x in inputs)
        if signature not in self.recordings:
            program = right.Program()
            self.recordings[signature] = program, self.step(program, *inputs)
        else:
            self.recordings[signature][0].replay()
        return self.recordings[signature][1]


class Shared(Recorded):
    result = staticmethod(lambda y: y)


class SizesOnly(Recorded):
    def signature(self, inputs):
        return tuple(x.size for x in inputs)


class FirstShape(Recorded):
    def signature(self, inputs):
        return inputs[0].shape


class LastShape(Recorded):
    def signature(self, inputs):
        return inputs[-1].shape


class Twice(Recorded):
    also_replayed = True


class OneRecording(Recorded):
    def signature(self, inputs):
        return "the same"


class NeverReplayed(right.Captured):
    def __call__(self, *inputs):
        return self.step(right.Program(), *inputs).copy()


MISTAKES = [
    ("perceptron_rule", "in place", {"learn": in_place_learn}, "input w was overwritten"),
    ("perceptron_rule", "after the pass", {"learn": learn_after_the_pass}, "update w and b in the loop"),
    ("perceptron_rule", "sign", {"learn": learn_with(lambda lr, e: -lr * e, lambda lr, e: -lr * e)}, "sign is wrong"),
    ("perceptron_rule", "no bias", {"learn": learn_with(bias=lambda lr, e: 0.0)}, "the bias b is corrected too"),
    (
        "perceptron_rule",
        "at least 0",
        {"answer": lambda w, b, x: int((w * x).sum() + b >= 0)},
        "exactly 0 is answered with 0",
    ),
    (
        "perceptron_rule",
        "above 1e-9",
        {"answer": lambda w, b, x: int((w * x).sum() + b > 1e-9)},
        "answer for x = (7.9e-31, 7.9e-31), w = (2, -1), b = 0: expected 1, got 0",
    ),
    (
        "perceptron_rule",
        "float32",
        {"learn": lambda *given: (lambda w, *rest: (w.astype(np.float32), *rest))(*right.learn(*given))},
        "the new w has dtype float32, expected float64",
    ),
    ("softmax", "no maximum", {"softmax": softmax_by(lambda a: 0.0, sums)}, "subtract the largest logit"),
    ("softmax", "axis 0", {"softmax": softmax_by(np.max, lambda e: e.sum(axis=0))}, "axis 1, not over the examples"),
    ("softmax", "one sum", {"softmax": softmax_by(np.max, np.sum)}, "each example has a sum of its own"),
    ("softmax", "one maximum", {"softmax": softmax_by(np.max, sums)}, "not the largest of all"),
    ("softmax", "first", {"softmax": softmax_by(lambda a: a[:, :1], sums)}, "of each example, not the first"),
    ("softmax", "last", {"softmax": softmax_by(lambda a: a[:, -1:], sums)}, "of each example, not the last"),
    ("softmax", "smallest", {"softmax": softmax_by(lambda a: a.min(axis=1, keepdims=True), sums)}, "not the smallest"),
    ("softmax", "mean", {"softmax": softmax_by(lambda a: a.mean(axis=1, keepdims=True), sums)}, "not the mean"),
    ("softmax", "median", {"softmax": softmax_by(median, sums)}, "of each example, not the median"),
    ("softmax", "three classes", {"softmax": lambda a: right.softmax(a[:, :3])}, "expected shape (4, 5), got (4, 3)"),
    ("softmax", "in place", {"softmax": writing_softmax}, "input a was overwritten"),
    ("softmax", "no return", {"softmax": lambda a: None}, "does the function end in return?"),
    ("softmax", "float64", {"softmax": wide_softmax}, "dtype of the input"),
    ("softmax", "a list", {"softmax": lambda a: right.softmax(a).tolist()}, "of type list"),
    ("cross_entropy", "ln 0", {"cross_entropy": log_of_softmax}, "ln 0 is infinite: compute"),
    (
        "cross_entropy",
        "a sum",
        {"cross_entropy": lambda a, y: len(a) * right.cross_entropy(a, y)},
        "division by N missing",
    ),
    (
        "cross_entropy",
        "over K",
        {"cross_entropy": lambda a, y: right.cross_entropy(a, y) / a.shape[1]},
        "by K once too often",
    ),
    (
        "cross_entropy",
        "log2",
        {"cross_entropy": lambda a, y: right.cross_entropy(a, y) / math.log(2)},
        "natural logarithm",
    ),
    ("cross_entropy", "mean of all", {"cross_entropy": mean_of_all}, "are K times too small"),
    ("cross_entropy", "one maximum", {"cross_entropy": loss_less(np.max)}, "of each example, not of all: xp.max"),
    ("cross_entropy", "no maximum", {"cross_entropy": loss_less(np.zeros_like)}, "exp overflows: subtract m"),
    ("cross_entropy", "no 1/N", {"cross_entropy_gradient": lambda a, y: right.softmax(a) - y}, "division by N missing"),
    (
        "cross_entropy",
        "y - p",
        {"cross_entropy_gradient": lambda a, y: (y - right.softmax(a)) / len(a)},
        "sign is wrong",
    ),
    (
        "cross_entropy",
        "p",
        {"cross_entropy_gradient": lambda a, y: right.softmax(a) / len(a)},
        "the labels y are missing",
    ),
    (
        "backpropagation",
        "no ReLU",
        {"forward": lambda x, w1, b1, w2, b2: (x @ w1.T + b1) @ w2.T + b2},
        "ReLU is missing",
    ),
    ("backpropagation", "no mask", {"backward": backward_without_mask}, "ReLU passes the gradient only where a1 > 0"),
    (
        "backpropagation",
        "times h",
        {"backward": backward_times_h},
        "1 where a1 > 0, else 0: multiply dh by that, not by h",
    ),
    (
        "backpropagation",
        "h of the last call",
        remembering(right.forward, right.backward, lambda last, da, *given: right.backward(da, *last)),
        "dw1 is wrong if a2 of other arrays was computed in between compute anew",
    ),
    (
        "batch_norm",
        "xhat of the last call",
        remembering(
            right.batch_norm,
            right.batch_norm_backward,
            lambda last, dy, x, gamma, eps: right.batch_norm_backward(dy, last[0] if last else x, gamma, eps),
        ),
        "dgamma is wrong if y of other arrays was computed in between compute anew",
    ),
    ("backpropagation", "transposed", {"backward": backward_by(lambda a, b, c, d: (a.T, b, c, d))}, "swapped"),
    (
        "backpropagation",
        "no sum",
        {"backward": lambda da, *a: (*right.backward(da, *a)[:3], da)},
        "an axis too many: is a sum missing",
    ),
    (
        "backpropagation",
        "a mean",
        {"backward": lambda da, *a: tuple(g / len(da) for g in right.backward(da, *a))},
        "by N once too often",
    ),
    ("im2col", "channels first", {"im2col": im2col_in("nijcpq")}, "c is fastest"),
    ("im2col", "column first", {"im2col": im2col_in("nijqpc")}, "q is faster than p"),
    ("im2col", "windows", {"im2col": im2col_in("njipqc")}, "j is faster than i"),
    ("im2col", "no stride", {"im2col": im2col_without_stride}, "im2col(x, 2, 2, 2)"),
    ("im2col", "one short", {"im2col": im2col_one_window_short}, "expected shape (4, 4), got (1, 4)"),
    (
        "convolution",
        "rotated",
        {"conv2d": lambda x, w, b, S: right.conv2d(x, rotated(w), b, S)},
        "rotated by 180 degrees",
    ),
    ("convolution", "no bias", {"conv2d": lambda x, w, b, S: right.conv2d(x, w, 0 * b, S)}, "the bias b is missing"),
    ("convolution", "assigned", {"conv2d_backward": backward_that_assigns}, "shares of dx are added"),
    ("convolution", "no stride", {"conv2d": conv_without_stride}, "b of shape (4,), S = 2) the stride is missing"),
    ("convolution", "dx without stride", {"conv2d_backward": backward_without_stride}, "S = 2) the stride is missing"),
    ("convolution", "dw without stride", {"conv2d_backward": dw_without_stride}, "S = 2) the stride is missing"),
    ("convolution", "float64", {"conv2d_backward": backward_in_float64}, "dtype of the input"),
    (
        "convolution",
        "dx of rotated",
        {
            "conv2d_backward": lambda dy, x, w, S: (
                right.conv2d_backward(dy, x, rotated(w), S)[0],
                *right.conv2d_backward(dy, x, w, S)[1:],
            )
        },
        "rotated by 180",
    ),
    ("convolution", "two results", {"conv2d_backward": lambda dy, x, w, S: (x, w)}, "another number of results"),
    ("max_pool_gradient", "to all", {"max_pool2d_backward": pool_backward_to_all}, "to the first only, not to all"),
    ("max_pool_gradient", "to all, float64", {"max_pool2d_backward": pool_backward_in_float64}, "not to all"),
    ("max_pool_gradient", "assigned", {"max_pool2d_backward": pool_backward_that_assigns}, "gets the sum"),
    (
        "max_pool_gradient",
        "slices assigned",
        {"max_pool2d_backward": pool_backward_that_assigns_slices},
        "overlap: add to dx with +=",
    ),
    ("max_pool_gradient", "nearly equal", {"max_pool2d_backward": pool_backward_of_near}, "nearly as large"),
    ("max_pool_gradient", "columns", {"max_pool2d_backward": pool_backward_column_first}, "p is the outer loop"),
    (
        "lrn",
        "a mean",
        {"lrn_across": lambda x, n, a, b, k: right.lrn_across(x, n, a / n, b, k)},
        "not divided by how many",
    ),
    ("lrn", "other type", {"lrn_within": right.lrn_across}, "the other type, across"),
    ("lrn", "rolled", {"lrn_across": lrn_by_roll}, "those of the other side"),
    ("lrn", "no power", {"lrn_across": lambda x, n, a, b, k: right.lrn_across(x, n, a, 1, k)}, "beta is missing"),
    ("momentum", "in place", {"sgd_step": momentum_in_place}, "input v was overwritten"),
    ("momentum", "rate inside", {"sgd_step": velocity_with_rate}, "the learning rate comes in only where w moves"),
    ("momentum", "float64", {"sgd_step": momentum_in_float64}, "the new v has dtype float64, expected float32"),
    ("momentum", "old v", {"sgd_step": lambda w, v, g, lr, m: (w - lr * v, m * v + g)}, "moves by the new v"),
    (
        "momentum",
        "damped",
        {"sgd_step": lambda w, v, g, lr, m: right.sgd_step(w, v, (1 - m) * g, lr, m)},
        "1 - momentum",
    ),
    ("batch_norm", "N - 1", {"batch_norm": batch_norm_by(lambda x: x.var(axis=0, ddof=len(x) > 1))}, "not by N - 1"),
    (
        "batch_norm",
        "eps outside",
        {"batch_norm": batch_norm_by(lambda x: x.var(axis=0), False)},
        "eps stands under the root",
    ),
    ("batch_norm", "direct", {"batch_norm_backward": direct_gradient}, "depend on x too"),
    ("tape", "overwritten", {"backward": overwriting_tape}, "it does not replace it"),
    ("tape", "depth first", {"backward": depth_first_tape}, "take the tensor with the largest number"),
    ("tape", "in place", {"backward": tape_that_adds_in_place}, "+= writes into it: add"),
    ("tape", "recursive", {"backward": recursive_tape}, "use a loop"),
    ("tape", "no result", {"apply": lambda op, *inputs: None}, "returns None"),
    ("replay", "not run", {"Program": LaterProgram}, "launch runs the work at once"),
    ("replay", "backwards", {"Program": BackwardsProgram}, "in the wrong order"),
    ("replay", "not copied", {"Captured": NotCopied}, "record with copies of the inputs"),
    ("replay", "old inputs", {"Captured": OldInputs}, "first copy the inputs of this call"),
    ("replay", "shared", {"Captured": Shared}, "return a copy"),
    ("replay", "twice", {"Captured": Twice}, "the call that records does not replay"),
    ("replay", "one recording", {"Captured": OneRecording}, "another signature"),
    ("replay", "sizes", {"Captured": SizesOnly}, "signature = tuple(x.shape for x in inputs)"),
    ("replay", "first shape", {"Captured": FirstShape}, "signature = tuple(x.shape for x in inputs)"),
    ("replay", "last shape", {"Captured": LastShape}, "signature = tuple(x.shape for x in inputs)"),
    ("replay", "never", {"Captured": NeverReplayed}, "how often the Python of the step ran"),
]
