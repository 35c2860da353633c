"""Initial weights. Each initializer draws float32 numbers from a key and a shape, on the host.

Letters: fan_in numbers feed a neuron, fan_out neurons are fed by a number; for weights (M, D) they are D and M, for
filters (F, KH, KW, C/G) they are KH*KW*C/G and KH*KW*F.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from xpnet.arguments import not_negative, number
from xpnet.arguments import shape as read_shape
from xpnet.errors import ConfigError
from xpnet.random import Key
from xpnet.random import normal as draw_normal
from xpnet.random import uniform as draw_uniform

__all__ = [
    "Initializer",
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "uniform",
    "zeros",
]

Initializer = Callable[[Key, tuple[int, ...]], np.ndarray]


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    shape = read_shape("initializer", "shape", shape)
    if not shape:
        raise ConfigError("initializer", "the shape of weights, (out, ..., in)", shape=shape)
    area = math.prod(shape[1:-1])
    return max(1, math.prod(shape[1:])), max(1, shape[0] * area)


def constant(value: float) -> Initializer:
    """Fill with one value."""
    return partial(_full, number("constant", "value", value))


def _full(value: float, key: Key, shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, value, dtype=np.float32)


def zeros(key: Key, shape: tuple[int, ...]) -> np.ndarray:
    """Fill with 0: biases, shifts, running means."""
    return np.zeros(read_shape("zeros", "shape", shape), dtype=np.float32)


def ones(key: Key, shape: tuple[int, ...]) -> np.ndarray:
    """Fill with 1: scales, running variances."""
    return np.ones(read_shape("ones", "shape", shape), dtype=np.float32)


def normal(std: float = 0.01, mean: float = 0.0) -> Initializer:
    """Draw from the normal distribution of a standard deviation, >= 0, and mean."""
    return partial(draw_normal, mean=number("normal", "mean", mean), std=not_negative("normal", "std", std))


def uniform(low: float = -0.05, high: float = 0.05) -> Initializer:
    """Draw from the uniform distribution over [low, high), low <= high."""
    low, high = number("uniform", "low", low), number("uniform", "high", high)
    if low > high:
        raise ConfigError("uniform", "low <= high", low=low, high=high)
    return partial(draw_uniform, low=low, high=high)


def he_normal(key: Key, shape: tuple[int, ...]) -> np.ndarray:
    """Draw normal numbers of variance 2 / fan_in, which keeps the scale through ReLUs. Source: He et al. (2015)."""
    return draw_normal(key, shape, 0.0, math.sqrt(2.0 / _fans(shape)[0]))


def he_uniform(key: Key, shape: tuple[int, ...]) -> np.ndarray:
    """Draw uniform numbers of variance 2 / fan_in. Source: He et al. (2015)."""
    bound = math.sqrt(6.0 / _fans(shape)[0])
    return draw_uniform(key, shape, -bound, bound)


def glorot_normal(key: Key, shape: tuple[int, ...]) -> np.ndarray:
    """Draw normal numbers of variance 2 / (fan_in + fan_out). Source: Glorot and Bengio (2010)."""
    return draw_normal(key, shape, 0.0, math.sqrt(2.0 / sum(_fans(shape))))


def glorot_uniform(key: Key, shape: tuple[int, ...]) -> np.ndarray:
    """Draw uniform numbers of variance 2 / (fan_in + fan_out). Source: Glorot and Bengio (2010)."""
    bound = math.sqrt(6.0 / sum(_fans(shape)))
    return draw_uniform(key, shape, -bound, bound)


def lecun_normal(key: Key, shape: tuple[int, ...]) -> np.ndarray:
    """Draw normal numbers of variance 1 / fan_in. Source: LeCun, Bottou, Orr and Mueller (1998)."""
    return draw_normal(key, shape, 0.0, math.sqrt(1.0 / _fans(shape)[0]))


def lecun_uniform(key: Key, shape: tuple[int, ...]) -> np.ndarray:
    """Draw uniform numbers of variance 1 / fan_in. Source: LeCun, Bottou, Orr and Mueller (1998)."""
    bound = math.sqrt(3.0 / _fans(shape)[0])
    return draw_uniform(key, shape, -bound, bound)
