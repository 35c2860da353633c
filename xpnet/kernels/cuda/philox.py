"""The arguments that name a random draw: draw_of of philox.cuh takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import namespace
from xpnet.random import Key, bounded, cipher_key

__all__ = ["draw_arguments"]


def draw_arguments(key: Key) -> tuple[Any, ...]:
    """Name a draw: seed, hash, step on the device or None, step, epoch on the device or None, epoch.

    Args:
        key: its step and epoch are numbers, or 0-d integer arrays on the device, which the kernels read each time they
            run.
    """
    seed, purpose = cipher_key(key)
    return (_signed(seed), _signed(purpose), *_number("step", key.step), *_number("epoch", key.epoch))


def _number(name: str, value: Any) -> tuple[Any, int]:
    if isinstance(value, int | np.integer | np.ndarray):
        return None, _signed(bounded(name, value))
    xp = namespace(value)
    return xp.astype(value, xp.int64, copy=False), 0


def _signed(word: int) -> int:
    """The number whose 64 bits, as a long long, are those of a word."""
    return word - (1 << 64) if word >> 63 else word
