"""Random chains of ops, as ONNX Runtime computes them: orders of axes and of columns meet in all ways."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from tests.interop.onnx.exporting import Custom, close, forward, ran, samples
from xpnet import ops
from xpnet.autograd import apply
from xpnet.interop.onnx.export import export_onnx

UNARY = [
    lambda t: t.relu(),
    lambda t: t.tanh(),
    lambda t: t.gelu(),
    abs,
    lambda t: t * 1.5 + 0.3,
    lambda t: t.clip(-1, 1),
]
BINARY = [lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a - b, lambda a, b: apply(ops.maximum, a, b)]


def chain(seed):
    """A forward of up to 12 ops; each draws from one generator, and no draw depends on the number of examples."""

    def run(self, x):
        r, numbers = random.Random(seed), np.random.default_rng(seed)
        pool = [x]
        for _ in range(r.randint(4, 12)):
            a = r.choice(pool[-4:])
            fitting = [f for f in STEPS if len(a.shape) in RANKS[f]]
            y = r.choice(fitting)(a, pool, r, lambda *shape: numbers.normal(size=shape).astype(np.float32))
            if y is not None and math.prod(y.shape[1:]) <= 2000 and 2 <= len(y.shape) <= 5:
                pool.append(y)
        return pool[-2:] if len(pool) > 2 else pool[-1]

    return run


def unary(a, pool, r, draw):
    return r.choice(UNARY)(a)


def binary(a, pool, r, draw):
    b = r.choice([p for p in pool if p.shape[1:] == a.shape[1:]])
    return r.choice(BINARY)(a, b)


def constant(a, pool, r, draw):
    shape = [n if r.random() < 0.7 else 1 for n in a.shape[r.randint(1, len(a.shape)) :]]
    return r.choice(BINARY)(a, draw(*shape)) if r.random() < 0.8 else a * np.full((len(a), *a.shape[1:]), 2, np.float32)


def masked(a, pool, r, draw):
    return apply(ops.where, a > 0.1, a, -1.0)


def reduction(a, pool, r, draw):
    axes = tuple(r.sample(range(1, len(a.shape)), r.randint(1, len(a.shape) - 1)))
    axes = 0 if r.random() < 0.1 and len(a.shape) > 2 else axes
    y = r.choice([a.sum, a.mean, a.max, a.min])(axis=axes, keepdims=axes == 0 or r.random() < 0.5)
    return y + a[:, :1] * 0 if axes == 0 else y


def permuted(a, pool, r, draw):
    return a.permute(0, *r.sample(range(1, len(a.shape)), len(a.shape) - 1))


def flat(a, pool, r, draw):
    return a.flatten() if r.random() < 0.5 else a.reshape(len(a), -1)


def reshaped(a, pool, r, draw):
    count = math.prod(a.shape[1:])
    rows = r.choice([n for n in range(1, count + 1) if count % n == 0])
    return a.reshape(len(a), rows, count // rows) if r.random() < 0.6 else a.reshape(*a.shape[:-1], 1, a.shape[-1])


def sliced(a, pool, r, draw):
    index = [slice(None)]
    for n in a.shape[1:]:
        start = r.randint(0, n - 1)
        index.append(r.choice([start - n, slice(start, r.randint(start + 1, n), r.randint(1, 2)), slice(None)]))
    return a[tuple(index)]


def joined(a, pool, r, draw):
    axis = r.randint(1, len(a.shape) - 1)
    shape = [len(a), *a.shape[1:axis], r.randint(1, 3), *a.shape[axis + 1 :]]
    kind = r.randint(0, 2)
    if kind == 0:
        return apply(ops.concat, a, r.choice([p for p in pool if p.shape[1:] == a.shape[1:]]), axis=axis)
    other = (
        np.full(shape, 1.5, np.float32)
        if kind == 1
        else np.tile(draw(1, *shape[1:]), (len(a), *[1] * (len(shape) - 1)))
    )
    return apply(ops.concat, *r.sample([a, other], 2), axis=axis)


def convolved(a, pool, r, draw):
    if min(a.shape[1:3]) < 2:
        return None
    return apply(
        ops.conv2d, a, draw(r.randint(1, 4), 2, 2, a.shape[3]), stride=r.randint(1, 2), padding=r.randint(0, 1)
    )


def pooled(a, pool, r, draw):
    k = min(r.randint(1, 3), *a.shape[1:3])
    how = {"kernel_size": k, "stride": r.randint(1, 3), "padding": r.randint(0, k // 2), "ceil_mode": r.random() < 0.5}
    if r.random() < 0.5:
        return apply(ops.max_pool2d, a, **how)
    return apply(ops.avg_pool2d, a, count_include_pad=r.random() < 0.5, **how)


def averaged(a, pool, r, draw):
    return apply(ops.global_avg_pool2d, a)


def linear(a, pool, r, draw):
    m = r.randint(1, 5)
    return apply(ops.linear, a, draw(m, a.shape[-1]), draw(m), activation=r.choice([None, "relu", "tanh"]))


def product(a, pool, r, draw):
    if len(a.shape) == 2:
        return apply(ops.matmul, a, draw(a.shape[1], 3))
    return a @ a.permute(*range(len(a.shape) - 2), len(a.shape) - 1, len(a.shape) - 2)


def softmax(a, pool, r, draw):
    return r.choice([a.softmax, a.log_softmax])(axis=r.choice([-1, *range(1, len(a.shape))]))


def normalized(a, pool, r, draw):
    c = a.shape[-1]
    if r.random() < 0.5:
        return apply(ops.layer_norm, a, draw(c), draw(c), eps=0.1)
    return apply(ops.batch_norm, a, draw(c), draw(c), draw(c), abs(draw(c)) + np.float32(0.5))


def responses(a, pool, r, draw):
    return apply(
        ops.local_response_norm, a, size=r.randint(1, 4), alpha=0.5, k=1.2, region=r.choice(["across", "within"])
    )


ANY, SEVERAL, IMAGES = range(2, 6), range(3, 6), range(4, 5)
RANKS = {unary: ANY, binary: ANY, constant: ANY, masked: ANY, reduction: SEVERAL, permuted: SEVERAL, flat: ANY,
         reshaped: range(2, 5), sliced: SEVERAL, joined: ANY, convolved: IMAGES, pooled: IMAGES, averaged: IMAGES,
         linear: ANY, product: ANY, softmax: ANY, normalized: ANY, responses: IMAGES}  # fmt: skip
STEPS = list(RANKS)


@pytest.mark.parametrize("seed", range(120))
def test_a_random_chain_of_ops_gives_the_same(seed, tmp_path):
    r = random.Random(seed)
    shape, layout, opset = (
        r.choice([(4, 5, 3), (5, 4, 2), (5, 4), (6,)]),
        r.choice(["nchw", "nhwc"]),
        r.choice([17, 21, 23]),
    )
    model, x = Custom(chain(seed)), samples(shape, 7)
    export_onnx(model, tmp_path / "m.onnx", shape, inputs=layout, opset=opset)
    ours, theirs = (y if isinstance(y, list) else [y] for y in (forward(model, x), ran(tmp_path / "m.onnx", x, layout)))
    for a, b in zip(theirs, ours, strict=True):
        close(a, b, 1e-4)
