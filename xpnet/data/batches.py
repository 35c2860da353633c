"""What gives the batches of each epoch, whether of a set in memory, of several arrays, or of a stream.

    for x, y in batches.epoch(3): ...           # every source has this

A source whose steps have known sizes can also serve a captured step, which is recorded once and replayed:

    batches.begin(3)                            # resident: writes the order into the memory that batch_at reads
    x, y = batches.batch_at(step, epoch)        # step and epoch are counted on the device

    for raw in batches.raw(3):                  # not resident: unconverted, to be copied to where the step reads them
        x, y = batches.finish_batch(*raw)       # inside the captured step
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import numpy as np

from xpnet import arguments, kernels
from xpnet.backend import Array, Backend
from xpnet.data.part import WHOLE, Part
from xpnet.data.transforms import apply_affine
from xpnet.errors import ConfigError
from xpnet.random import Key

__all__ = ["Batches", "Conversion", "Layout"]

LabelWeight = Callable[[np.ndarray], float]  # labels (N,) -> the weight of their batch


class Layout(NamedTuple):
    """What the arrays of a batch are.

    Args:
        shape: of an example, or one for each of several inputs, in their form.
        classes: K of labels; 0: the targets are no labels.
    """

    shape: Any
    classes: int


class Batches(ABC):
    """What a Trainer asks of a source of batches.

    A batch of N examples is that of all processes: every process goes through the same batches, in the same order. One
    that has only a part of the virtual shards is given rows first .. stop - 1 of each, first, stop = part.rows(N): x
    and y, which may have no rows, with the bits that they have in the whole batch. The weights of examples are always
    those of the whole batch, (N,), so that each process knows its examples' shares in the mean.

    Attributes:
        backend: where the batches are created.
        batch_size: N of a full batch; of a stream, of its first.
        layout: of each batch.
        resident: whether batch_at makes batches from memory of the device.
        counted: whether size returns the number of examples of any step, in advance; begin, batch_at, raw and
            finish_batch need it.
        part: the virtual shards whose rows are served.
    """

    backend: Backend
    batch_size: int
    layout: Layout
    resident: bool = False
    counted: bool = True
    part: Part = WHOLE

    @property
    @abstractmethod
    def steps(self) -> int | None:
        """The number of steps of an epoch; None: not known yet."""

    @property
    @abstractmethod
    def examples(self) -> int | None:
        """The number of examples of an epoch, of all processes; None: not known."""

    @abstractmethod
    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """Iterate over the batches of an epoch from a step on: x and y, or (y, weights), converted and normalized.

        x and y are of the rows of the part, (M, ...); weights are of the whole batch, (N,).
        """

    @abstractmethod
    def batch_weights(self, epoch: int, label_weight: LabelWeight | None) -> Callable[[int], float] | None:
        """Return step -> the weight of its whole batch in the average of the epoch; None: its number of examples.

        Args:
            epoch: its number.
            label_weight: the weight of labels (N,) on the host; None: labels have none.
        """

    def size(self, step: int) -> int:
        """Return N, the number of examples of a step's whole batch; where counted is False, of the step given last."""
        raise self._uncounted("size")

    def begin(self, epoch: int) -> None:
        """Write the order of an epoch where batch_at reads it."""
        raise self._uncounted("begin")

    def batch_at(self, step: Array | int, epoch: Array | int, size: int | None = None) -> tuple[Any, Any]:
        """Make a batch of the current epoch, from numbers that may be on the device; size is N, of the whole batch."""
        raise self._uncounted("batch_at")

    def raw(self, epoch: int = 0, start: int = 0) -> Generator[tuple[Array, ...], None, None]:
        """Iterate over the batches of an epoch, as arrays to be finished by finish_batch."""
        raise self._uncounted("raw")

    def finish_batch(self, *arrays: Array) -> tuple[Any, Any]:
        """Finish a batch as yielded by raw."""
        raise self._uncounted("finish_batch")

    def _uncounted(self, name: str) -> ConfigError:
        return ConfigError(f"{type(self).__name__}.{name}", "batches of known sizes", "use epoch", counted=False)

    def _check_range(self, where: str, epoch: int, start: int) -> None:
        arguments.count(where, "epoch", epoch, 0)
        arguments.count(where, "start", start, 0, (1 << 63) - 1 if self.steps is None else self.steps)


class Conversion:
    """Casts and normalizes arrays of examples on their backend.

    Args:
        backend: of the arrays.
        normalize: has factors(xp, device, dtype), as Normalize does; None: values stay what they are.
        dtype: the name of a floating type.
    """

    def __init__(self, backend: Backend, normalize: Any, dtype: str) -> None:
        self.xp, self.dtype = backend.xp, getattr(backend.xp, dtype)
        self.factors = None if normalize is None else normalize.factors(backend.xp, backend.device, dtype)
        self.kernel = kernels.find("take_batch", backend.xp.empty(0, device=backend.device))

    def __call__(self, x: Array) -> Array:
        """Return a new array of x's shape; x is not written."""
        if self.kernel is not None:
            size = x.shape[0]
            made = self.kernel(x, None, None, size, size, Key(0, ""), self.dtype, self.factors, None)
            if made is not NotImplemented:
                return made[0]
        if self.factors is None:
            return self.xp.astype(x, self.dtype, copy=True)
        return self.cast(x, owned=False)

    def cast(self, x: Array, owned: bool) -> Array:
        """Return x in the dtype and normalized: x itself where nothing changes; x is written only if it is owned."""
        if self.factors is None:
            return x if x.dtype == self.dtype else self.xp.astype(x, self.dtype)
        return apply_affine(self.xp, x, self.dtype, *self.factors, owned=owned)
