"""Counter-based random draws: the same bits on every backend, in any order.

A draw is a pure function of its key (seed, purpose, epoch, step, call), so it does not depend on the backend, on other
draws, on how a batch is split over threads, or on where a run was resumed.

The generator is NumPy's Philox-4x64-10. Its 128-bit key is (seed, the first 64 bits of the BLAKE2b hash of purpose and
call);
block i of four 64-bit words is generated at counter (i, 0, step, epoch), lowest word first.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

from __future__ import annotations

import contextvars
import functools
import hashlib
import math
from typing import NamedTuple, SupportsInt

import numpy as np
from numpy.typing import NDArray

from xpnet.arguments import MOST, as_index, count, number, shown
from xpnet.arguments import shape as read_shape
from xpnet.errors import ConfigError

__all__ = [
    "Key",
    "StepContext",
    "bounded",
    "cipher_key",
    "current",
    "drop_threshold",
    "keep_mask",
    "normal",
    "permutation",
    "random_bits",
    "step_key",
    "uniform",
    "use",
]

_WORD = 1 << 64
_BLOCK = 1 << 16  # normal numbers generated at a time, through several float64 arrays


class Key(NamedTuple):
    """The name of one draw.

    Args:
        seed: the run's seed, 0 <= seed < 2**64.
        purpose: what the draw is for, such as "init/conv1.weight"; different purposes give independent bits.
        epoch: the epoch it belongs to, from 0.
        step: the step within the epoch, from 0.
        call: which of the draws for this purpose within the step it is, from 0: a layer may be called more than once.

    While a step is captured, epoch and step are 0-d int64 arrays on the device: a kernel reads them each time it runs,
    so that every replay draws new bits. A draw on the host by such a key would wait for the device, which is an error
    during capture.
    """

    seed: int
    purpose: str
    epoch: int = 0
    step: int = 0
    call: int = 0


def random_bits(key: Key, n: int, start: int = 0) -> NDArray[np.uint64]:
    """Return 64-bit words start, ..., start + n - 1 of a key's stream.

    Args:
        key: the draw's name.
        n: how many words, >= 0.
        start: the first word's position in the stream, >= 0; seeking costs nothing.
    Returns:
        uint64, (n,), each word uniform over 0 .. 2**64 - 1.
    Raises:
        ConfigError: the seed, epoch or step is outside 0 .. 2**64 - 1.
    Cost: about 4 ns a word on one core.
    """
    seed, purpose = cipher_key(key)
    block, skip = divmod(start, 4)
    counter = block | (bounded("step", key.step) << 128) | (bounded("epoch", key.epoch) << 192)
    generator = np.random.Philox(
        key=seed | (purpose << 64),
        counter=(counter - 1) % (1 << 256),  # NumPy steps the counter before each block
    )
    return generator.random_raw(n + skip)[skip:]


def cipher_key(key: Key) -> tuple[int, int]:
    """Return the two 64-bit words of the generator's key: the seed, and the hash of purpose and call."""
    if not isinstance(key, Key):
        raise ConfigError("random", "a Key", "write random.Key(seed, purpose)", key=shown(key))
    return bounded("seed", key.seed), _hash(f"{key.purpose}#{key.call}" if key.call else key.purpose)


@functools.lru_cache(1024)
def _hash(purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")


def bounded(name: str, value: SupportsInt) -> int:
    """Return a seed, an epoch or a step as an int.

    Raises:
        ConfigError: it is outside 0 .. 2**64 - 1.
    """
    found = as_index(value)
    if found is None or not 0 <= found < _WORD:
        raise ConfigError("random", f"{name} between 0 and 2**64 - 1", **{name: shown(value)})
    return found


def _halves(key: Key, n: int, start: int = 0) -> NDArray[np.uint32]:
    """32-bit halves start .. start + n - 1 of the stream, the low half of each word first."""
    first, skip = divmod(start, 2)
    whole = random_bits(key, (n + skip + 1) // 2, first)
    return whole.astype("<u8", copy=False).view("<u4")[skip : skip + n]


def uniform(key: Key, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> NDArray[np.float32]:
    """Draw from the uniform distribution over [low, high), in steps of (high - low) / 2**24.

    Returns: float32, (*shape,).
    """
    shape, low, high = (
        read_shape("uniform", "shape", shape),
        number("uniform", "low", low),
        number("uniform", "high", high),
    )
    fraction = (_halves(key, math.prod(shape)) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return (np.float32(low) + np.float32(high - low) * fraction).reshape(shape)


def normal(
    key: Key, shape: tuple[int, ...], mean: float = 0.0, std: float = 1.0, start: int = 0
) -> NDArray[np.float32]:
    """Draw from the normal distribution, by the Box-Muller transform in float64, rounded to float32.

        z = mean + std * sqrt(-2 log(u)) * (cos(2 pi v), sin(2 pi v)),  u in (0, 1], v in [0, 1)

    Args:
        key: the draw's name.
        shape: of what is drawn.
        mean, std: of the distribution.
        start: how many numbers of the draw precede these, an even number, >= 0.
    Returns: float32, (*shape,).
    Source: Box and Muller (1958).
    """
    shape, mean, std = (
        read_shape("normal", "shape", shape),
        number("normal", "mean", mean),
        number("normal", "std", std),
    )
    z = np.empty(math.prod(shape), dtype=np.float32)
    for first in range(0, len(z), _BLOCK):
        part = z[first : first + _BLOCK]
        pairs = random_bits(key, 2 * ((len(part) + 1) // 2), start + first).reshape(-1, 2)
        unit = (pairs >> np.uint64(11)).astype(np.float64) * 2.0**-53  # [0, 1)
        radius = np.sqrt(-2.0 * np.log(1.0 - unit[:, 0]))
        angle = 2.0 * np.pi * unit[:, 1]
        both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
        part[:] = mean + std * both[: len(part)]
    return z.reshape(shape)


def permutation(key: Key, n: int) -> NDArray[np.int64]:
    """Draw an order of 0 .. n-1, each of the n! equally likely (ties of 64-bit sort keys keep their order)."""
    return np.argsort(random_bits(key, count("permutation", "n", n, 0, MOST)), kind="stable")


def keep_mask(key: Key, shape: tuple[int, ...], rate: float, start: int = 0) -> NDArray[np.bool_]:
    """Draw which elements dropout keeps: True with probability 1 - rate, to 2**-32.

    Args:
        key: the draw's name.
        shape: the mask's shape.
        rate: the probability of dropping an element, 0 <= rate < 1.
        start: how many elements of the mask precede this part of it, so that a shard draws the bits of its rows.
    Returns:
        bool, (*shape,).
    """
    return (_halves(key, math.prod(shape), start) >= np.uint32(drop_threshold(rate))).reshape(shape)


def drop_threshold(rate: float) -> int:
    """Return the smallest 32-bit half that keeps an element at a dropout rate."""
    return min(round(rate * 2.0**32), 2**32 - 1)


class StepContext(NamedTuple):
    """The step that is being computed, for the draws made within it.

    Args:
        seed, epoch, step: as in Key; epoch and step are device arrays while a step is captured.
        row: how many examples of the batch precede the shard computed here.
    """

    seed: int
    epoch: int
    step: int
    row: int = 0


class use:
    """Set the step to which draws within a with-block belong; None: to no step.

    Args:
        context: the step, which begins here: what is drawn is counted from 0.
        after: a block in which the first part of the step was computed: counting goes on from there.
    """

    __slots__ = ("calls", "context", "token")

    def __init__(self, context: StepContext | None, after: use | None = None) -> None:
        self.context = context
        self.calls: dict[str, int] = {} if after is None else dict(after.calls)

    def __enter__(self) -> use:
        self.token = _CURRENT.set(self)
        return self

    def __exit__(self, *error: object) -> None:
        _CURRENT.reset(self.token)


_CURRENT: contextvars.ContextVar[use | None] = contextvars.ContextVar("xpnet_step_context", default=None)


def current() -> StepContext | None:
    """Return the step being computed, or None outside of a Trainer's step."""
    block = _CURRENT.get()
    return None if block is None else block.context


def step_key(purpose: str) -> Key | None:
    """Return the key of the next draw for a purpose within the step being computed; None outside of a step."""
    block = _CURRENT.get()
    if block is None or block.context is None:
        return None
    call = block.calls[purpose] = block.calls.get(purpose, -1) + 1
    return Key(block.context.seed, purpose, block.context.epoch, block.context.step, call)
