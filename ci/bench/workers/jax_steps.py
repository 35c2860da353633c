"""JAX's training step: the whole of it under one jit, parameters and momenta donated, float32, images channels last."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from serve import Job, batch_of, serve


def build(request: dict[str, Any]) -> Job:
    """Build the model as pure functions of a list of (weight, bias) pairs."""
    images, labels = batch_of(request)
    x, y = jnp.asarray(images), jnp.asarray(labels.astype(np.int32))
    layers, lr, momentum = request["layers"], request["lr"], request["momentum"]
    parameters = _initial(layers)
    velocity = jax.tree.map(jnp.zeros_like, parameters)
    count = sum(a.size for a in jax.tree.leaves(parameters))

    def loss_of(parameters: list, x: jax.Array, y: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(_forward(layers, parameters, x))
        return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(parameters: list, velocity: list, x: jax.Array, y: jax.Array) -> tuple[list, list, jax.Array]:
        loss, gradient = jax.value_and_grad(loss_of)(parameters, x, y)
        velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, gradient)
        return jax.tree.map(lambda p, v: p - lr * v, parameters, velocity), velocity, loss

    def step() -> jax.Array:
        nonlocal parameters, velocity
        parameters, velocity, loss = update(parameters, velocity, x, y)
        return loss

    def wait(loss: jax.Array) -> float:
        jax.block_until_ready((parameters, velocity))
        return float(loss)

    return Job(jax.__version__, count, step, wait)


def _initial(layers: list) -> list:
    """Draw normal weights of variance 2 / fan-in, and biases of zero."""
    rng, parameters = np.random.default_rng(1), []
    for kind, *sizes in layers:
        if kind == "linear":
            shape, fan_in = (sizes[0], sizes[1]), sizes[0]
        elif kind == "conv":
            channels, filters, kernel, _ = sizes
            shape, fan_in = (kernel, kernel, channels, filters), kernel * kernel * channels
        else:
            continue
        weight = rng.standard_normal(shape, dtype=np.float32) * np.float32((2 / fan_in) ** 0.5)
        parameters.append((jnp.asarray(weight), jnp.zeros(shape[-1], dtype=jnp.float32)))
    return parameters


def _forward(layers: list, parameters: list, x: jax.Array) -> jax.Array:
    pairs = iter(parameters)
    for kind, *sizes in layers:
        if kind == "linear":
            w, b = next(pairs)
            x = x @ w + b
        elif kind == "conv":
            w, b = next(pairs)
            pad = [(sizes[3], sizes[3])] * 2
            x = lax.conv_general_dilated(x, w, (1, 1), pad, dimension_numbers=("NHWC", "HWIO", "NHWC")) + b
        elif kind == "relu":
            x = jax.nn.relu(x)
        elif kind == "pool":
            window = (1, sizes[0], sizes[0], 1)
            x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
        elif kind == "flatten":
            x = x.reshape(x.shape[0], -1)
        else:
            raise ValueError(f"no such layer: {kind}")
    return x


if __name__ == "__main__":
    serve(build)
