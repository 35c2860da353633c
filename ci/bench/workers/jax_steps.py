"""JAX's training step: the whole of it under one jit, parameters and momenta donated, float32, images channels last.

Inference is the forward pass under one jit.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from serve import Job, batch_of, repeated


def build(request: dict[str, Any]) -> Job:
    """Build the model as pure functions of a list of (weight, bias) pairs."""
    images, labels = batch_of(request)
    x, y = jnp.asarray(images), jnp.asarray(labels.astype(np.int32))
    layers, lr, momentum = request["layers"], request["lr"], request["momentum"]
    parameters = initial(layers)
    count = sum(a.size for a in jax.tree.leaves(parameters))
    if request["task"] == "inference":
        scores = jax.jit(lambda parameters, x: forward(layers, parameters, x))
        predict = lambda: scores(parameters, x).block_until_ready()  # noqa: E731
        return repeated(count, predict, lambda y: float(y.mean()))
    velocity = jax.tree.map(jnp.zeros_like, parameters)
    key = jax.random.key(0) if any(kind == "dropout" for kind, *_ in layers) else None

    def loss_of(parameters: list, key: jax.Array | None, x: jax.Array, y: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(forward(layers, parameters, x, key))
        return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(parameters: list, velocity: list, key: jax.Array | None, x: jax.Array, y: jax.Array) -> tuple:
        key, now = (None, None) if key is None else jax.random.split(key)
        loss, gradient = jax.value_and_grad(loss_of)(parameters, now, x, y)
        velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, gradient)
        return jax.tree.map(lambda p, v: p - lr * v, parameters, velocity), velocity, key, loss

    def step() -> jax.Array:
        nonlocal parameters, velocity, key
        parameters, velocity, key, loss = update(parameters, velocity, key, x, y)
        return loss

    return repeated(count, step, lambda loss: float(jax.block_until_ready((loss, parameters, velocity))[0]))


def initial(layers: list) -> list:
    """Draw normal weights of variance 2 / fan-in, and biases of zero."""
    rng, parameters = np.random.default_rng(1), []
    for kind, *sizes in layers:
        if kind not in ("linear", "conv"):
            continue
        shape = tuple(sizes)
        if kind == "conv":
            channels, filters, kernel, _, _, groups, _ = sizes
            shape = (kernel, kernel, channels // groups, filters)
        weight = rng.standard_normal(shape, dtype=np.float32) * np.float32((2 / np.prod(shape[:-1])) ** 0.5)
        parameters.append((jnp.asarray(weight), jnp.zeros(shape[-1], dtype=jnp.float32)))
    return parameters


def forward(layers: list, parameters: list, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Compute the scores; without a key nothing is dropped."""
    pairs = iter(parameters)
    for kind, *sizes in layers:
        if kind == "linear":
            w, b = next(pairs)
            x = x @ w + b
        elif kind == "conv":
            w, b = next(pairs)
            _, _, _, padding, stride, groups, _ = sizes
            form = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": groups}
            x = lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2, **form) + b
        elif kind == "relu":
            x = jax.nn.relu(x)
        elif kind == "pool":
            size, stride, _ = sizes
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), "VALID")
        elif kind == "lrn":
            size, alpha, beta, k = sizes
            near = lax.reduce_window(x * x, 0.0, lax.add, (1, 1, 1, size), (1, 1, 1, 1), "SAME")
            x = x * (k + alpha * near) ** -beta
        elif kind == "dropout":
            if key is not None:
                key, now = jax.random.split(key)
                x = jnp.where(jax.random.bernoulli(now, 1 - sizes[0], x.shape), x / (1 - sizes[0]), 0.0)
        elif kind == "flatten":
            x = x.reshape(x.shape[0], -1)
        else:
            raise ValueError(f"no such layer: {kind}")
    return x
