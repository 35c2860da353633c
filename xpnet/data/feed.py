"""Batches on their way to the device: from a set that lies there, or from a thread that stays two batches ahead.

    for x, y in feed.epoch(3):                  # what everyone asks for

A step that is recorded once and replayed takes its batch apart from where it is in the epoch:

    feed.begin(3)                               # resident: the order is written into the memory that batch_at reads
    x, y = feed.batch_at(step, epoch)           # step and epoch are on the device, and counted there

    for raw, y in feed.raw(3):                  # not resident: bytes, to be copied to where the step reads them
        x = feed.finish(raw)                    # part of the step
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from xpnet import kernels
from xpnet.backend import Array, Backend, StagingBuffers, set_at
from xpnet.data.dataset import Dataset
from xpnet.data.prefetch import ahead, through
from xpnet.data.transforms import Augment, Normalize, apply_affine
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Key, permutation

__all__ = ["Feed"]

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
        augment: applied on the host, ahead of time, by a thread; on the device where the set is resident, there is a
            kernel, and images are only moved and mirrored. The draws are the same.
        resident: keep the whole set on the device, as it is stored. By default where it takes at most a quarter of the
            free memory (with NumPy: always, it is used where it lies) and augment does not need the host.
    Raises:
        ConfigError: batch_size is below 1, dtype is no floating type, or resident is True with an augment that needs
            the host.
        ShapeError: normalize was measured on other channels, or augment is given for vectors.
    Cost: a step is one gather of x and of y, one conversion, one multiplication and one addition; where there is a
        kernel, one launch. Resident: the bytes of the set, once. Otherwise: four batches, and one thread while an epoch
        is under way; on CUDA, three batches in pinned memory and three on the device, copied beside the work.
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
        self._kernel = kernels.find("take_batch", backend.xp.empty(0, device=backend.device))
        on_device = augment is None or (self._kernel is not None and augment.moves is not None and dtype != "bfloat16")
        if resident and not on_device:
            raise ConfigError("Feed", "augment works on the host, so the set is not resident", resident=resident)
        if resident is None:
            resident = on_device and (self._on_host or _fits(dataset, backend))
        self.resident = resident
        self._current: Array | None = None  # the order of the epoch begun
        self._buffers: list[StagingBuffers] = []  # those that no epoch uses
        if resident and not self._on_host:
            self._x = backend.from_numpy(np.ascontiguousarray(dataset.x))
            self._y = backend.from_numpy(np.ascontiguousarray(dataset.y))
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
        self._in_range("Feed.epoch", epoch, start)
        if self.resident:
            return self._from_device(epoch, start)
        return self._finished(epoch, start)

    def begin(self, epoch: int) -> None:
        """Write the order of an epoch where batch_at reads it, in place where arrays can be written; waits for nothing.

        Args:
            epoch: its number, >= 0.
        Raises:
            ConfigError: epoch is below 0, or the set is not resident.
        """
        if epoch < 0:
            raise ConfigError("Feed.begin", "epoch is at least 0", epoch=epoch)
        self._on_device("Feed.begin")
        order = self._order(epoch)
        if order is None:
            return
        if self._current is None:
            self._current = self.backend.from_numpy(order)
        else:
            self._current = set_at(self._current, (slice(None),), self.backend.from_numpy(order))

    def batch_at(self, step: Array | int, epoch: Array | int, size: int | None = None) -> tuple[Array, Array]:
        """Make a batch of the epoch begun, from numbers that may lie on the device: work for the device only.

        It is what epoch() yields at that step, bit for bit.

        Args:
            step: its number in the epoch, a 0-d int64 array on the device, or an int. Its rows must be there: the host
                does not look.
            epoch: the epoch's number, likewise; it must be the one that begin was given.
            size: B, the samples: batch_size by default, fewer for the last batch of an epoch.
        Returns:
            x and y, as epoch() gives them, new arrays.
        Raises:
            ConfigError: size is not in 1..batch_size, the set is not resident, or no epoch was begun.
        """
        size = min(self.batch_size, len(self.dataset)) if size is None else size
        if not 1 <= size <= self.batch_size:
            raise ConfigError("Feed.batch_at", "size is in 1..batch_size", size=size, batch_size=self.batch_size)
        self._on_device("Feed.batch_at")
        if self.shuffle and self._current is None:
            raise ConfigError("Feed.batch_at", "an epoch was begun", "call begin first", epoch=epoch)
        return self._batch(self._current, step, epoch, size)

    def raw(self, epoch: int = 0, start: int = 0) -> Generator[tuple[Array, Array], None, None]:
        """Iterate over the batches of an epoch as they are stored, varied by augment, but neither converted nor
        normalized: finish does that.

        Args:
            epoch, start: as for epoch().
        Returns:
            An iterator of (x, y) on the device: x (B, H, W, C) or (B, D) of the set's dtype; y (B,) int64. They are
            good until the next batch is asked for. Closing it early ends its thread.
        Raises:
            ConfigError: epoch or start is out of range, or the set is resident.
        """
        self._in_range("Feed.raw", epoch, start)
        if self.resident:
            raise ConfigError("Feed.raw", "the set is not resident", "use batch_at", resident=True)
        return self._from_thread(epoch, start, self._staging())

    def finish(self, x: Array) -> Array:
        """Convert and normalize a batch on the device.

        Args:
            x: as raw gives it; not written.
        Returns:
            A new array of x's shape and the feed's dtype.
        """
        if self._kernel is not None:
            size = x.shape[0]
            made = self._kernel(x, None, None, size, size, Key(0, ""), self._dtype, self._factors, None)
            if made is not NotImplemented:
                return made[0]
        if self._factors is None:
            return self.backend.xp.astype(x, self._dtype, copy=True)
        return self._finish(x, owned=False)

    def _in_range(self, where: str, epoch: int, start: int) -> None:
        if epoch < 0 or not 0 <= start <= len(self):
            raise ConfigError(
                where, "epoch is at least 0, start in 0..steps", epoch=epoch, start=start, steps=len(self)
            )

    def _on_device(self, where: str) -> None:
        if not self.resident:
            raise ConfigError(where, "the set is resident", "use raw and finish", resident=False)

    def _order(self, epoch: int) -> np.ndarray | None:
        return permutation(Key(self.seed, "shuffle", epoch), len(self.dataset)) if self.shuffle else None

    def _from_device(self, epoch: int, start: int) -> Iterator[tuple[Array, Array]]:
        size, n = self.batch_size, len(self.dataset)
        order = self._order(epoch)
        if order is not None and not self._on_host:
            order = self.backend.from_numpy(order)
        for step in range(start, len(self)):
            yield self._batch(order, step, epoch, min(size, n - step * size))

    def _batch(self, order: Array | None, step: Array | int, epoch: Array | int, size: int) -> tuple[Array, Array]:
        """Take size rows of the set on the device, from step * batch_size on in an order (None: the set's own)."""
        xp, x, y = self.backend.xp, self._x, self._y
        if self._kernel is not None:
            key = Key(self.seed, "augment", epoch, step)  # type: ignore[arg-type]
            moves = None if self.augment is None else self.augment.moves
            made = self._kernel(x, y, order, self.batch_size, size, key, self._dtype, self._factors, moves)
            if made is not NotImplemented:
                return made
        first = step * self.batch_size
        if isinstance(first, int):
            part = slice(first, first + size)
            if order is None:
                return self._finish(x[part, ...], owned=False), y[part]
            rows = order[part]
            if self._on_host:  # the functions of the standard take longer than a batch of one
                return self._finish(x.take(rows, axis=0), owned=True), y.take(rows)
        else:
            rows = first + xp.arange(size, dtype=xp.int64, device=self.backend.device)
            if order is not None:
                rows = xp.take(order, rows, axis=0)
        return self._finish(xp.take(x, rows, axis=0), owned=True), xp.take(y, rows, axis=0)

    def _finish(self, x: Array, owned: bool) -> Array:
        if self._factors is None:
            return x if x.dtype == self._dtype else self.backend.xp.astype(x, self._dtype)
        return apply_affine(self.backend.xp, x, self._dtype, *self._factors, owned=owned)

    def _load(self, order: np.ndarray | None, epoch: int, step: int, into: list[np.ndarray] | None = None) -> Any:
        """Take a batch from the set on the host, varied; fill the first rows of arrays with it where they are given."""
        part = slice(step * self.batch_size, min((step + 1) * self.batch_size, len(self.dataset)))
        x_out, y_out = (None, None) if into is None else (a[: part.stop - part.start] for a in into)
        if order is None:
            x, y = self._x[part], self._y[part]
        else:
            straight = x_out if self.augment is None else None
            x = np.take(self._x, order[part], axis=0, out=straight, mode="clip")  # a checked out= would be buffered
            y = np.take(self._y, order[part], out=y_out, mode="clip")
        if self.augment is not None:
            x = self.augment(x, Key(self.seed, "augment", epoch, step))
        for out, value in ((x_out, x), (y_out, y)):
            if out is not None and out is not value:
                np.copyto(out, value)
        return x, y

    def _from_thread(
        self, epoch: int, start: int, buffers: StagingBuffers | None
    ) -> Generator[tuple[Array, Array], None, None]:
        """Batches as raw gives them; through staging buffers, each is valid until the next."""
        order, steps = self._order(epoch), range(start, len(self))

        def fill(step: int, arrays: list[np.ndarray]) -> int:
            return len(self._load(order, epoch, step, arrays)[1])

        def batch(step: int) -> tuple[Array, Array]:
            x, y = self._load(order, epoch, step)
            return (x, y) if self._on_host else (self.backend.from_numpy(x), self.backend.from_numpy(y))

        if buffers is None:
            yield from ahead(batch, steps)
            return
        try:
            yield from through(buffers, fill, steps)
        finally:
            self._buffers.append(buffers)

    def _finished(self, epoch: int, start: int) -> Iterator[tuple[Array, Array]]:
        buffers, xp = self._staging(), self.backend.xp
        owned = self.shuffle or self.augment is not None or not self._on_host
        with contextlib.closing(self._from_thread(epoch, start, buffers)) as batches:
            for x, y in batches:
                if buffers is None:
                    yield self._finish(x, owned), y
                else:
                    yield self.finish(x), xp.asarray(y, copy=True)

    def _staging(self) -> StagingBuffers | None:
        """Staging buffers that no other epoch uses, where the backend has them."""
        if self._buffers:
            return self._buffers.pop()
        size = min(self.batch_size, len(self.dataset))
        return self.backend.staging_buffers([((size, *a.shape[1:]), a.dtype) for a in (self._x, self._y)])


def _fits(dataset: Dataset, backend: Backend) -> bool:
    memory = backend.memory()
    allowed = (memory.total - memory.used) // _SHARE if memory.total else _UNKNOWN
    return dataset.x.nbytes + dataset.y.nbytes <= allowed
