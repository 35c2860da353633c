"""The general checks of each exercise, and the typical mistakes that they know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.exercises.cases import images, layers, learning, programs

__all__ = ["GENERAL"]

# (backend, *functions of the student's file) -> None, or raises hints.Wrong
GENERAL: dict[str, Callable[..., Any]] = {
    "perceptron_rule": learning.perceptron_rule,
    "softmax": layers.softmax,
    "cross_entropy": layers.cross_entropy,
    "backpropagation": layers.backpropagation,
    "im2col": images.im2col,
    "convolution": images.convolution,
    "max_pool_gradient": images.max_pool_gradient,
    "lrn": images.lrn,
    "momentum": learning.momentum,
    "batch_norm": layers.batch_norm,
    "tape": programs.tape,
    "replay": programs.replay,
}
