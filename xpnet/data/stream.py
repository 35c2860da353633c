"""Batches of other libraries, read again in each epoch: of data loaders, functions that make generators, iterables.

    stream = Stream("fit", loader)
    for x, y in stream.epoch():                 # NumPy arrays
        ...

Nothing is kept but the batches that head() has read ahead, which the next epoch gives first.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data import several
from xpnet.data.arrays import host
from xpnet.data.items import batch_array, inputs_of, log_transposed, pair_of
from xpnet.data.stream_batch import Batch, check_batch, is_example, joined
from xpnet.errors import DataError, XpnetError
from xpnet.output import counted
from xpnet.random import Key, permutation

__all__ = ["Stream", "shuffled"]

_HEAD, _HEAD_BYTES = 1024, 1 << 26  # examples by which a stream is measured
_END = object()

_log = logging.getLogger("xpnet")


class Stream:
    """Gives batches of NumPy arrays, each like the first.

    Args:
        where: for messages, such as "fit".
        data: iterable, or a function that returns something iterable; or, with order, gives examples by number.
            Items are batches (x, y), or examples, whose y is one number, which are stacked into batches.
        steps: how many batches an epoch has; None: all there are.
        batch_size: N of batches that are made of examples.
        targets: whether there must be y.
        form: of the inputs that a model takes, for items that hold nothing else; see items.inputs_of.
        order: epoch -> the numbers of all examples in their order, of a set that gives them by number.
    Raises, from where data is read:
        DataError: a batch is empty, or unlike the first in shape or kind; or data raised an error.
    """

    def __init__(
        self,
        where: str,
        data: Any,
        *,
        steps: int | None = None,
        batch_size: int = 256,
        targets: bool = True,
        form: Hashable = None,
        order: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        self.where, self.data, self.limit, self.batch_size = where, data, steps, batch_size
        self.once = hasattr(data, "__next__")  # what was read cannot be read again
        self._targets, self._form, self._order = targets, form, order
        self._ahead: deque[Batch] = deque()
        self._open: Iterator[Batch] | None = None  # what gives the batches after those ahead
        self._first: Batch | None = None
        self._given = 0  # batches of the epoch under way, of data that is read once
        self._learned: int | None = None
        self._of_examples = order is not None
        self._transposed = False

    @property
    def steps(self) -> int | None:
        """The number of batches of an epoch; None: not known before one has ended."""
        if self.limit is not None or self._learned is not None:
            return self.limit or self._learned
        try:
            n = len(self.data)
        except Exception:  # no length, or an error of the data's own code
            return None
        return -(-n // self.batch_size) if self._of_examples else n

    @property
    def ahead(self) -> tuple[Batch, ...]:
        """The batches that were read ahead."""
        return tuple(self._ahead)

    @property
    def first(self) -> int:
        """How many examples the first batch has, once it was read."""
        return 0 if self._first is None else self._first.size

    def head(self) -> Batch:
        """Return the first examples in one batch: about 1,024, or 64 MB; the next epoch begins with them."""
        if not self._ahead:
            self._open = self._pass(0)
        assert self._open is not None
        count = size = 0
        for batch in self._ahead:
            count, size = count + batch.size, size + batch.nbytes
        while count < _HEAD and size < _HEAD_BYTES and len(self._ahead) != self.limit:
            if (batch := next(self._open, None)) is None:
                break
            self._ahead.append(batch)
            count, size = count + batch.size, size + batch.nbytes
        if not self._ahead:
            raise self._nothing()
        arrays = [np.concatenate(each) for each in zip(*(several.each(b.x) for b in self._ahead), strict=True)]
        ys = [b.y for b in self._ahead if b.y is not None]
        return Batch(0, several.like(self._ahead[0].x, arrays), np.concatenate(ys) if ys else None)

    def epoch(self, epoch: int = 0, start: int = 0, least: int | None = None) -> Generator[Batch, None, None]:
        """Iterate over the batches of an epoch.

        Args:
            epoch: its number, which decides the order of a set that gives examples by number.
            start: the first batch: those before are read and left out, unless they were given already.
            least: how many batches there were before, if not start.
        Raises:
            DataError: there is no batch, or fewer than least or than steps.
        """
        if self.once:
            first, batches = self._given, self._ahead_and(self._open or self._pass(0))
        elif self._ahead and not (self._order and (epoch or start)):
            first, batches = 0, self._ahead_and(self._open or iter(()))
        else:
            self._ahead.clear()
            first = start if self._order else 0
            batches = self._pass(epoch, first)
        index = first
        if start > first:
            text = "%s: epoch %d continues at batch %d: those before are read and skipped"
            _log.warning(text, self.where, epoch + 1, start)
        try:
            while index != self.limit:
                if (batch := next(batches, None)) is None:
                    if self.limit is not None:
                        rule = f"{counted(self.limit, 'batch')}, as steps says"
                        raise DataError(self.where, rule, self._advice(), batches=index)
                    break
                index += 1
                self._given = index
                if index > start:
                    yield batch._replace(number=index - 1)
            if not index:
                raise self._nothing()
            if index < (least := start if least is None else least):
                rule = f"at least the {counted(least, 'batch')} trained on before"
                raise DataError(self.where, rule, batches=index)
            self._learned, self._given = index, 0
        finally:
            if not self.once:
                self._open = None
                self._ahead.clear()
                getattr(batches, "close", lambda: None)()

    def _ahead_and(self, rest: Iterator[Batch]) -> Iterator[Batch]:
        """Give the batches that were read ahead, and then the rest."""
        self._open = rest
        while self._ahead:
            yield self._ahead.popleft()
        yield from rest if not self.once else iter(lambda: next(rest, None), None)  # which stays open

    def _nothing(self) -> DataError:
        return DataError(self.where, "at least one batch", self._advice(), batches=0)

    def _advice(self) -> str:
        is_read = self.once or self._first is not None
        return "a generator is read once: pass the function that makes it, or a data loader" if is_read else ""

    def _pass(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Read the data once, from a batch on."""
        for index, (x, y) in enumerate(self._pairs(epoch, start), start):
            if self._first is not None:
                x = several.ordered(x, self._first.x)
            arrays = [batch_array(self.where, each) for each in several.each(x)]
            own = [np.array(a, order="C") for a, _ in arrays]  # data may use its memory again for the next batch
            batch = Batch(index, several.like(x, own), None if y is None else np.array(host(self.where, y)))
            self._first = self._first or batch
            check_batch(self.where, batch, self._first)
            self._say(any(transposed for _, transposed in arrays))
            yield batch

    def _say(self, transposed: bool) -> None:
        if transposed and not self._transposed:
            self._transposed = True
            log_transposed(self.where)

    def _stacked(self, pairs: list[tuple[Any, Any]], number: int) -> tuple[Any, Any]:
        x, y, transposed = joined(self.where, pairs, number)
        self._say(transposed)
        return x, y

    def _pairs(self, epoch: int, start: int) -> Generator[tuple[Any, Any], None, None]:
        """Give x and y of each batch; examples are stacked."""
        with contextlib.closing(self._items(epoch, start * self.batch_size if self._order else 0)) as items:
            index, held = start, []
            for item in items:
                place = f"batch {index}"
                if self._targets:
                    x, y = pair_of(self.where, item, place)
                else:
                    x, y = inputs_of(self.where, item, place, self._form)
                if self._order is None and not is_example(x, y):
                    index += 1
                    yield x, y
                    continue
                self._of_examples = True
                held.append((x, y))
                if len(held) == self.batch_size:
                    yield self._stacked(held, index)
                    index, held = index + 1, []
            if held:
                yield self._stacked(held, index)

    def _items(self, epoch: int, start: int) -> Generator[Any, None, None]:
        """Iterate over the items of the data; an error that it raises becomes one line."""
        try:
            if self._order is not None:
                items: Iterator[Any] = (self.data[int(i)] for i in self._order(epoch)[start:])
            else:
                items = iter(self.data if hasattr(self.data, "__iter__") else self.data())
        except Exception as error:
            raise self._unreadable(error) from error
        try:
            while True:
                try:
                    item = next(items, _END)
                except XpnetError:
                    raise
                except Exception as error:
                    raise self._unreadable(error) from error
                if item is _END:
                    return
                yield item
        finally:
            if not self.once:
                getattr(items, "close", lambda: None)()

    def _unreadable(self, error: Exception) -> DataError:
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        return DataError.event(self.where, "the data could not be read", error=text)


def shuffled(data: Any, seed: int) -> Callable[[int], np.ndarray]:
    """Return the order of each epoch of a set, as a Feed draws it."""
    n = arguments.count("fit", "length of the set", len(data), 1)
    return lambda epoch: permutation(Key(seed, "shuffle", epoch), n)
