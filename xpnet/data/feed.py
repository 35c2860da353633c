"""Batches on their way to the device: from a set that lies there, or from a thread that stays two batches ahead."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.data.dataset import Dataset
from xpnet.data.transforms import Augment, Normalize, apply_affine
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Key, permutation

__all__ = ["Feed"]

_AHEAD = 2  # batches
_SHARE = 4  # a set lies on the device where it takes at most a quarter of the free memory
_FLOATING = ("float16", "bfloat16", "float32", "float64")
_UNKNOWN = 1 << 30  # bytes taken for that quarter where the backend does not know its memory


class Feed:
    """Serve a data set in batches on a backend, the same ones in the same order everywhere.

    The order of an epoch is permutation(Key(seed, "shuffle", epoch), N), and the augmentation of a step is drawn from
    Key(seed, "augment", epoch, step), so an epoch can be entered at any step.

    Args:
        dataset: the samples.
        batch_size: samples a step, >= 1; the last batch of an epoch may be smaller.
        backend: where batches are wanted.
        normalize: applied on the device; by default x keeps its values.
        dtype: the name of the floating type x gets.
        shuffle: draw another order each epoch; else the order of the data set.
        seed: of the order and of the augmentation.
        augment: applied on the host, ahead of time, by a thread.
        resident: keep the whole set on the device, as it is stored. By default where it takes at most a quarter of the
            free memory (with NumPy: always, it is used where it lies) and augment is not given.
    Raises:
        ConfigError: batch_size is below 1, dtype is no floating type, or resident is True with augment.
        ShapeError: normalize was measured on other channels, or augment is given for vectors.
    Cost: a step is one gather of x and of y, one conversion, one multiplication and one addition. Resident: the bytes
        of the set, once. Otherwise: four batches, and one thread while an epoch is under way; its transfers go to the
        default stream of the device.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        backend: Backend,
        *,
        normalize: Normalize | None = None,
        dtype: str = "float32",
        shuffle: bool = False,
        seed: int = 0,
        augment: Augment | None = None,
        resident: bool | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError("Feed", "batch_size is at least 1", batch_size=batch_size)
        if dtype not in _FLOATING or not hasattr(backend.xp, dtype):
            raise ConfigError("Feed", f"dtype is a floating type of {backend.name}", dtype=repr(dtype))
        if augment is not None and len(dataset.shape) != 3:
            raise ShapeError("Feed", "augment takes images (H, W, C)", sample=dataset.shape)
        if augment is not None and resident:
            raise ConfigError("Feed", "augment works on the host, so the set is not resident", resident=resident)
        if normalize is not None and len(normalize.mean) not in (1, dataset.shape[-1]):
            raise ShapeError(
                "Feed", "normalize and the samples have as many channels C",
                normalize=len(normalize.mean), sample=dataset.shape,
            )  # fmt: skip
        self.dataset, self.batch_size, self.backend = dataset, batch_size, backend
        self.shuffle, self.seed, self.augment = shuffle, seed, augment
        self._dtype = getattr(backend.xp, dtype)
        self._factors = None if normalize is None else normalize.factors(backend.xp, backend.device, dtype)
        self._on_host = backend.xp is np
        if resident is None:
            resident = augment is None and (self._on_host or _fits(dataset, backend))
        self.resident = resident
        if resident and not self._on_host:
            self._x, self._y = backend.from_numpy(dataset.x), backend.from_numpy(dataset.y)
        else:
            self._x, self._y = dataset.x, dataset.y

    def __len__(self) -> int:
        """Steps an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Array, Array]]:
        """Iterate over the batches of an epoch.

        Args:
            epoch: its number, >= 0; names its order.
            start: the first step, 0..len(self).
        Returns:
            An iterator of (x, y): x (B, H, W, C) or (B, D) of the feed's dtype, normalized; y (B,) int64. Without
            shuffle and normalize, float x may be a view of the data set. Closing it early ends its thread.
        Raises:
            ConfigError: epoch or start is out of range. What goes wrong in the thread is raised by the iterator.
        """
        if epoch < 0 or not 0 <= start <= len(self):
            raise ConfigError(
                "Feed.epoch", "epoch is at least 0, start in 0..steps", epoch=epoch, start=start, steps=len(self)
            )
        if self.resident:
            return self._from_device(epoch, start)
        return self._from_thread(epoch, start)

    def _order(self, epoch: int) -> np.ndarray | None:
        return permutation(Key(self.seed, "shuffle", epoch), len(self.dataset)) if self.shuffle else None

    def _from_device(self, epoch: int, start: int) -> Iterator[tuple[Array, Array]]:
        xp, x, y, size, n = self.backend.xp, self._x, self._y, self.batch_size, len(self.dataset)
        order = self._order(epoch)
        if order is not None and not self._on_host:
            order = self.backend.from_numpy(order)
        for i in range(start * size, n, size):
            part = slice(i, min(i + size, n))
            if order is None:
                yield self._finish(x[part, ...], owned=False), y[part]
            else:
                rows = order[part]
                yield self._finish(xp.take(x, rows, axis=0), owned=True), xp.take(y, rows, axis=0)

    def _finish(self, x: Array, owned: bool) -> Array:
        """Convert and normalize a batch on the device."""
        if self._factors is None:
            return self.backend.xp.astype(x, self._dtype, copy=False)
        return apply_affine(self.backend.xp, x, self._dtype, *self._factors, owned=owned)

    def _from_thread(self, epoch: int, start: int) -> Iterator[tuple[Array, Array]]:
        order, size, n = self._order(epoch), self.batch_size, len(self.dataset)

        def batch(step: int) -> tuple[Array, Array]:
            part = slice(step * size, min((step + 1) * size, n))
            if order is None:
                x, y = self._x[part], self._y[part]
            else:
                x, y = np.take(self._x, order[part], axis=0), np.take(self._y, order[part])
            if self.augment is not None:
                x = self.augment(x, Key(self.seed, "augment", epoch, step))
            if self._on_host:
                return x, y
            return self.backend.from_numpy(x), self.backend.from_numpy(y)

        owned = order is not None or self.augment is not None or not self._on_host
        for x, y in _ahead(batch, range(start, len(self))):
            yield self._finish(x, owned), y


def _fits(dataset: Dataset, backend: Backend) -> bool:
    memory = backend.memory()
    allowed = (memory.total - memory.used) // _SHARE if memory.total else _UNKNOWN
    return dataset.x.nbytes + dataset.y.nbytes <= allowed


def _ahead(work: Callable[[int], Any], steps: range) -> Iterator[Any]:
    """Yield work(step) for each step, computed in a thread that stays a few results ahead."""
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def produce() -> None:
        try:
            for step in steps:
                if stop.is_set():
                    return
                ready.put((work(step), None))
        except BaseException as error:  # every kind: raised again in the consumer
            ready.put((None, error))

    thread = threading.Thread(target=produce, name="xpnet-feed", daemon=True)
    thread.start()
    try:
        for _ in steps:
            result, error = ready.get()
            if error is not None:
                raise error
            yield result
    finally:
        stop.set()
        while not ready.empty():  # a place for the one result it may be about to put
            ready.get_nowait()
        if not sys.is_finalizing():  # at exit the thread no longer runs and could not be waited for
            thread.join()
