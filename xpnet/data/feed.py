"""Batches of a set on the device: from memory there, or from a thread that prepares two batches ahead."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.backend import Array, Backend, StagingBuffers, set_at
from xpnet.data.augmentation import Augmentation
from xpnet.data.augmentation.transform import augmented
from xpnet.data.batches import Batches, Conversion, LabelWeight, Layout
from xpnet.data.dataset import Dataset
from xpnet.data.lazy import gather, is_resident
from xpnet.data.part import WHOLE, Part
from xpnet.data.prefetch import send_ahead, work_ahead
from xpnet.data.transforms import Normalize
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Key, permutation

__all__ = ["Feed"]

_SHARE = 4  # a set is stored on the device if it takes at most a quarter of the free memory
_FLOATING = ("float16", "bfloat16", "float32", "float64")
_UNKNOWN = 1 << 30  # bytes assumed for that quarter if the backend does not report its memory


class Feed(Batches):
    """Serve a data set in batches on a backend, in an order that is the same on every backend.

    The order of an epoch is permutation(Key(seed, "shuffle", epoch), N), and the augmentation of a step is drawn from
    Key(seed, "augment", epoch, step), so an epoch can start at any step.

    Of several processes each reads, augments and sends only its own rows of each batch, which have the bits that they
    have in the whole batch; see Batches.

    Args:
        dataset: the samples.
        batch_size: samples per step, of all processes, >= 1; the last batch of an epoch may be smaller.
        backend: where the batches are created.
        normalize: applied on the device; by default x keeps its values.
        dtype: the name of the floating type of x.
        shuffle: draw a new order each epoch; by default, the order of the data set.
        seed: of the order and of the augmentation.
        augment: applied on the host by a thread, ahead of time; or on the device, if a kernel exists and images are
            only shifted and mirrored. The draws are the same.
        resident: keep the whole set on the device, in its own dtype. By default, if it takes at most a quarter of the
            free memory (with NumPy always, without a copy) and augment does not need the host.
        part: the virtual shards whose rows are served; by default all.
    Raises:
        ConfigError: batch_size is below 1, dtype is not a floating type, or resident is True with an augment that needs
            the host.
        ShapeError: normalize was measured on another number of channels, or augment is given for vectors.
    Cost: per step one gather of x and of y, one conversion, one multiplication and one addition; with a kernel, one
        launch. Resident: the bytes of the set, once. Otherwise: four batches, and one thread during an epoch; on CUDA,
        three batches in pinned memory and three on the device, copied while the device computes.
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
        augment: Augmentation | None = None,
        resident: bool | None = None,
        part: Part = WHOLE,
    ) -> None:
        batch_size, seed = (
            arguments.count("Feed", "batch_size", batch_size),
            arguments.count("Feed", "seed", seed, 0, (1 << 64) - 1),
        )
        arguments.instance("Feed", "dataset", dataset, kind=Dataset, rule="a Dataset")
        arguments.instance("Feed", "backend", backend, kind=Backend, rule="a Backend")
        self.part = arguments.instance("Feed", "part", part, kind=Part, rule="a Part")
        if not (normalize is None or hasattr(normalize, "factors")):
            raise ConfigError("Feed", "normalize, a Normalize or None", normalize=arguments.shown(normalize))
        arguments.optional(arguments.function)("Feed", "augment", augment)
        shuffle = arguments.boolean("Feed", "shuffle", shuffle)
        resident = arguments.optional(arguments.boolean)("Feed", "resident", resident)
        if dtype not in _FLOATING or not hasattr(backend.xp, dtype):
            raise ConfigError("Feed", f"a floating dtype of {backend.name}", dtype=repr(dtype))
        if augment is not None and len(dataset.shape) != 3:
            raise ShapeError("Feed", "images of shape (H, W, C), since augment is given", sample=dataset.shape)
        if normalize is not None and len(normalize.mean) not in (1, dataset.shape[-1]):
            rule = "as many channels C in normalize as in the samples"
            raise ShapeError("Feed", rule, normalize=len(normalize.mean), sample=dataset.shape)
        self.dataset, self.batch_size, self.backend = dataset, batch_size, backend
        self.shuffle, self.seed, self.augment = shuffle, seed, augment
        moves = getattr(augment, "only_moves", False)  # not of a custom function
        self.layout = Layout(dataset.shape, len(dataset.classes) if dataset.labelled else 0)
        self.finish = Conversion(backend, normalize, dtype)
        self._on_host = backend.on_host
        on_device = augment is None or (self.finish.kernel is not None and moves and dtype != "bfloat16")
        if resident and not is_resident(dataset.x):
            raise ConfigError("Feed", "resident=False, since the set is not in memory", resident=resident)
        if resident and not on_device:
            raise ConfigError("Feed", "resident=False, since augment runs on the host", resident=resident)
        if resident is None:
            resident = on_device and is_resident(dataset.x) and (self._on_host or _fits(dataset, backend))
        self.resident = bool(resident)
        self._current: Array | None = None  # the order of the current epoch
        self._buffers: list[StagingBuffers] = []  # those not in use
        if resident and not self._on_host:
            self._x = backend.from_numpy(np.ascontiguousarray(dataset.x))
            self._y = backend.from_numpy(np.ascontiguousarray(dataset.y))
        else:
            self._x, self._y = dataset.x, dataset.y

    def __len__(self) -> int:
        """Return the number of steps of an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    @property
    def steps(self) -> int:
        """The number of steps of an epoch."""
        return len(self)

    @property
    def examples(self) -> int:
        """The number of examples of an epoch."""
        return len(self.dataset)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Array, Array]]:
        """Iterate over the batches of an epoch.

        Args:
            epoch: its number, >= 0, which determines the order.
            start: the first step, 0..len(self).
        Returns:
            An iterator of (x, y): x (M, H, W, C) or (M, D) of the feed's dtype, normalized; y (M,) int64, or
            targets; M rows of the part, which may be none. Without shuffle and normalize, float x may be a view of the
            data set. Closing it early ends its thread.
        Raises:
            ConfigError: epoch or start is out of range. Errors in the thread are raised by the iterator.
        """
        self._check_range("Feed.epoch", epoch, start)
        if self.resident:
            return self._from_device(epoch, start)
        return self._finished(epoch, start)

    def labels(self, epoch: int) -> np.ndarray:
        """Return the labels of an epoch on the host, (N,), in its order."""
        order = self._order(epoch)
        return self.dataset.y if order is None else self.dataset.y[order]

    def batch_weights(self, epoch: int, label_weight: LabelWeight | None) -> Callable[[int], float] | None:
        """Return the weight of a step by its labels; None where they have none."""
        if label_weight is None:
            return None
        labels, size = self.labels(epoch), self.batch_size
        return lambda step: label_weight(labels[step * size : (step + 1) * size])

    def size(self, step: int) -> int:
        """Return N, the number of examples of a step's whole batch."""
        return min(self.batch_size, len(self.dataset) - step * self.batch_size)

    def begin(self, epoch: int) -> None:
        """Write the order of an epoch where batch_at reads it, in place if arrays are writable, without synchronizing.

        Args:
            epoch: its number, >= 0.
        Raises:
            ConfigError: epoch is below 0, or the set is not resident.
        """
        if epoch < 0:
            raise ConfigError("Feed.begin", "epoch of at least 0", epoch=epoch)
        self._require_resident("Feed.begin")
        order = self._order(epoch)
        if order is None:
            return
        if self._current is None:
            self._current = self.backend.from_numpy(order)
        else:
            self._current = set_at(self._current, (slice(None),), self.backend.from_numpy(order))

    def batch_at(self, step: Array | int, epoch: Array | int, size: int | None = None) -> tuple[Array, Array]:
        """Make a batch of the current epoch, from numbers that may be on the device; the host reads no value.

        The result equals what epoch() yields at that step, bit for bit.

        Args:
            step: its number in the epoch, an int or a 0-d int64 array on the device. It is not checked.
            epoch: the epoch's number, likewise; the one given to begin.
            size: N, the number of samples of the whole batch: batch_size by default, fewer for the last of an epoch.
        Returns:
            x and y as from epoch(), new arrays.
        Raises:
            ConfigError: size is not in 1..batch_size, the set is not resident, or begin was not called.
        """
        size = min(self.batch_size, len(self.dataset)) if size is None else size
        if not 1 <= size <= self.batch_size:
            raise ConfigError("Feed.batch_at", "size in 1..batch_size", size=size, batch_size=self.batch_size)
        self._require_resident("Feed.batch_at")
        if self.shuffle and self._current is None:
            raise ConfigError("Feed.batch_at", "a call of begin before", epoch=epoch)
        return self._batch(self._current, step, epoch, size)

    def raw(self, epoch: int = 0, start: int = 0) -> Generator[tuple[Array, Array], None, None]:
        """Iterate over the batches of an epoch, augmented, but not yet converted and normalized by finish.

        Args:
            epoch, start: as for epoch().
        Returns:
            An iterator of (x, y) on the device: x (M, H, W, C) or (M, D) of the set's dtype; y (M,) int64. They are
            valid until the next batch is requested. Closing it early ends its thread.
        Raises:
            ConfigError: epoch or start is out of range, or the set is resident.
        """
        self._check_range("Feed.raw", epoch, start)
        if self.resident:
            raise ConfigError("Feed.raw", "a set that is not resident", "use batch_at", resident=True)
        return self._from_thread(epoch, start, self._staging())

    def finish_batch(self, *arrays: Array) -> tuple[Array, Array]:
        """Finish a batch as yielded by raw."""
        x, y = arrays
        return self.finish(x), y

    def _require_resident(self, where: str) -> None:
        if not self.resident:
            raise ConfigError(where, "a resident set", "use raw and finish", resident=False)

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
        """Take the part's rows of a batch of size, which begins at step * batch_size in an order (None: the set's)."""
        xp, x, y = self.backend.xp, self._x, self._y
        first, stop = self.part.rows(size)
        if self.finish.kernel is not None:
            key = Key(self.seed, "augment", epoch, step)  # type: ignore[arg-type]
            labels = y if self.dataset.labelled else None
            dtype, factors = self.finish.dtype, self.finish.factors
            batch, augment = self.batch_size, self.augment
            made = self.finish.kernel(x, labels, order, batch, stop - first, key, dtype, factors, augment, first)
            if made is not NotImplemented:
                rows = None if labels is not None else self._rows(order, step, first, stop)
                return made if rows is None else (made[0], xp.take(y, rows, axis=0))
        if isinstance(step, int):
            part = slice(step * self.batch_size + first, step * self.batch_size + stop)
            if order is None:
                return self.finish.cast(x[part, ...], owned=False), y[part, ...]
            rows = order[part]
            if self._on_host:  # np.take costs more than a batch of one
                return self.finish.cast(x.take(rows, axis=0), owned=True), y.take(rows, axis=0)
        else:
            rows = self._rows(order, step, first, stop)
        return self.finish.cast(xp.take(x, rows, axis=0), owned=True), xp.take(y, rows, axis=0)

    def _rows(self, order: Array | None, step: Array | int, first: int, stop: int) -> Array:
        """Return which samples are rows first .. stop - 1 of a step; its number may be on the device."""
        xp = self.backend.xp
        rows = step * self.batch_size + xp.arange(first, stop, device=self.backend.device)
        return rows if order is None else xp.take(order, rows, axis=0)

    def _load(self, order: np.ndarray | None, epoch: int, step: int, out: Sequence[np.ndarray]) -> int:
        """Fill the first rows of out, host arrays of x and y, with the part's of a batch; return how many they are."""
        begin, size = step * self.batch_size, self.size(step)
        first, stop = self.part.rows(size)
        rows, n = slice(begin + first, begin + stop), stop - first
        rows = rows if order is None else order[rows]
        if self.augment is None:
            gather(self._x, rows, out[0][:n])
        else:
            key = Key(self.seed, "augment", epoch, step)
            out[0][:n] = augmented(self.augment, self._x[rows], key, self.part, size)
        gather(self._y, rows, out[1][:n])
        return n

    def _from_thread(
        self, epoch: int, start: int, buffers: StagingBuffers | None
    ) -> Generator[tuple[Array, Array], None, None]:
        """Yield batches as raw does; from staging buffers, each is valid until the next."""
        order, steps = self._order(epoch), range(start, len(self))

        def load(step: int, out: Sequence[np.ndarray]) -> int:
            return self._load(order, epoch, step, out)

        def make(step: int) -> list[Array]:
            arrays = [np.empty(shape, dtype) for shape, dtype in self._parts()]
            n = load(step, arrays)
            return [array[:n] if self._on_host else self.backend.from_numpy(array[:n]) for array in arrays]

        if buffers is None:
            yield from work_ahead(make, steps)
            return
        try:
            yield from send_ahead(buffers, load, steps)
        finally:
            self._buffers.append(buffers)

    def _finished(self, epoch: int, start: int) -> Iterator[tuple[Array, Array]]:
        buffers = self._staging()
        with contextlib.closing(self._from_thread(epoch, start, buffers)) as batches:
            for x, y in batches:
                yield self.finish(x), y if buffers is None else self.backend.xp.asarray(y, copy=True)

    def _parts(self) -> list[tuple[tuple[int, ...], Any]]:
        """Return the shape and dtype of two arrays that hold the part's rows of any batch, at least one."""
        spans = [self.part.rows(self.size(step)) for step in (0, len(self) - 1)]  # a smaller batch may give more
        most = max(1, *(stop - first for first, stop in spans))
        return [((most, *a.shape[1:]), a.dtype) for a in (self._x, self._y)]

    def _staging(self) -> StagingBuffers | None:
        """Return staging buffers that no other epoch uses; None if the backend has none."""
        return self._buffers.pop() if self._buffers else self.backend.staging_buffers(self._parts())


def _fits(dataset: Dataset, backend: Backend) -> bool:
    memory = backend.memory()
    allowed = (memory.total - memory.used) // _SHARE if memory.total else _UNKNOWN
    return dataset.x.nbytes + dataset.y.nbytes <= allowed
