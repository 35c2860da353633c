"""Each exercise can be solved, on every backend; typical wrong solutions are wrong, and the hint says why."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from tests.exercises.judging import judged
from tests.exercises.mistakes import MISTAKES
from tests.harness import few_on_jax
from xpnet import nn, ops, windows
from xpnet.backend.launching import launch
from xpnet.backend.recording import Program
from xpnet.exercises import EXERCISES
from xpnet.exercises.judging import Result
from xpnet.optim.rules import sgd_rule

RIGHT = Result("right")


@pytest.mark.parametrize("name", [e.name for e in EXERCISES])
def test_a_solution_is_right(name, backend):
    few_on_jax(backend, name in ("softmax", "backpropagation", "momentum"))
    if not backend.writable and name == "replay":
        pytest.skip("a replay writes into arrays")
    assert judged(name, backend) == RIGHT


def own_im2col(x, KH, KW, S):
    rows, columns = windows.axes("im2col", x.shape, (KH, KW), (S, S), (0, 0))
    return windows.unroll(xpnet.namespace(x), x, rows, columns, rows.out).reshape(-1, KH * KW * x.shape[3])


def own_backward(da, x, w1, b1, w2, b2):
    h, to_first = ops.linear(x, w1, b1, activation="relu")
    dh, dw2, db2 = ops.linear(h, w2, b2)[1](da, (True, True, True))
    return *to_first(dh, (False, True, True))[1:], dw2, db2


def own_batch_norm(x, gamma, beta, eps):
    return ops.batch_norm(x, gamma, beta, *ops.moments(x), eps=eps, training=True)


def own_step(w, v, g, lr, momentum):
    w, state = sgd_rule(w.copy(), g, {"velocity": v.copy()}, lr, 1, momentum=momentum)
    return w, state["velocity"]


def own_learn(w, b, x, t, lr):
    neuron = nn.Perceptron(len(w))
    neuron.load_state_dict({"weight": w[None].astype(np.float32), "bias": np.array([b], np.float32)})
    mistakes = neuron.learn(x, t, lr)
    return neuron.weight.numpy()[0].astype(w.dtype), float(neuron.bias.numpy()[0]), mistakes


class OwnProgram:
    def __init__(self):
        self.replay = Program()

    def launch(self, function, *arguments):
        with self.replay.recording():
            launch(function, *arguments)


ALL = (True, True, True)
OWN = {
    "perceptron_rule": {"learn": own_learn},
    "softmax": {"softmax": lambda a: ops.softmax(a)[0]},
    "cross_entropy": {
        "cross_entropy": lambda a, y: ops.softmax_cross_entropy(a, y)[0],
        "cross_entropy_gradient": lambda a, y: ops.softmax_cross_entropy(a, y)[1](a.dtype.type(1), ALL)[0],
    },
    "backpropagation": {
        "forward": lambda x, w1, b1, w2, b2: ops.linear(ops.linear(x, w1, b1, activation="relu")[0], w2, b2)[0],
        "backward": own_backward,
    },
    "im2col": {"im2col": own_im2col},
    "convolution": {
        "conv2d": lambda x, w, b, S: ops.conv2d(x, w, b, stride=S)[0],
        "conv2d_backward": lambda dy, x, w, S: ops.conv2d(x, w, w[:, 0, 0, 0], stride=S)[1](dy, ALL),
    },
    "max_pool_gradient": {
        "max_pool2d_backward": lambda dy, x, K, S: ops.max_pool2d(x, kernel_size=K, stride=S)[1](dy, ALL)[0]
    },
    "lrn": {
        "lrn_across": lambda x, n, alpha, beta, k: ops.local_response_norm(x, size=n, alpha=alpha, beta=beta, k=k)[0],
        "lrn_within": lambda x, n, alpha, beta, k: ops.local_response_norm(
            x, size=n, alpha=alpha, beta=beta, k=k, region="within"
        )[0],
    },
    "momentum": {"sgd_step": own_step},
    "batch_norm": {
        "batch_norm": lambda *arrays: own_batch_norm(*arrays)[0],
        "batch_norm_backward": lambda dy, x, gamma, eps: own_batch_norm(x, gamma, gamma, eps)[1](dy, ALL)[:3],
    },
    "replay": {"Program": OwnProgram},
}


@pytest.mark.parametrize("name", OWN)
def test_xpnets_own_code_is_right(name):
    assert judged(name, **OWN[name]) == RIGHT


@pytest.mark.parametrize(("name", "what", "replaced", "words"), MISTAKES, ids=[f"{m[0]}-{m[1]}" for m in MISTAKES])
def test_a_wrong_solution_is_wrong_and_the_hint_says_why(name, what, replaced, words):
    found = judged(name, **replaced)
    assert found.state == "wrong"
    assert words in f"{found.text} {found.hint}", found
