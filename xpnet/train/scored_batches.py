"""What is found of batches that are divided among processes, brought to all of them.

    found = gathered(communicator, [Found((0, 512), scores, loss=0.7, weight=256), ...])

Each process has the same then, in the order of one process, to the bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet.distributed import Communicator

__all__ = ["Found", "gathered", "own_batches", "same"]


class Found(NamedTuple):
    """What is found of one batch.

    Args:
        place: which set of a stream it is of, and its first example there.
        scores: (N, ...); None where they are not kept.
        each: a figure of each example, (N,), or None.
        loss, weight: of the batch, and what it weighs in the average; None: not measured.
        bad: how many examples have scores that are NaN.
    """

    place: tuple[int, int]
    scores: np.ndarray | None
    each: np.ndarray | None = None
    loss: float | None = None
    weight: float = 0.0
    bad: int = 0


def own_batches(communicator: Communicator, n: int, batch_size: int, number: int = 0) -> tuple[int, int]:
    """Return the first example of a set that this process scores, and the one after the last: consecutive batches.

    Args:
        communicator: of the processes.
        n: N, of the set; batch_size: of a batch; the last may be smaller.
        number: of the set in a stream. The first is divided in the order of the processes; each next one is shifted by
            a process, so that sets of one batch are scored in turns.
    """
    size, batches = communicator.size, -(-n // batch_size)
    rank = (communicator.rank + number) % size
    first, stop = (min(n, i * batches // size * batch_size) for i in (rank, rank + 1))
    return first, stop


def gathered(communicator: Communicator, found: Sequence[Found], most: int | None = None) -> list[Found]:
    """Return what all processes found, by place.

    Args:
        communicator: of the processes, all of which call this.
        found: by this one.
        most: bytes of scores after which no more are kept; None: all are. A process that has found so many need not
            keep what comes after.
    Cost: every process receives all scores.
    """
    if most is not None:
        found = _limited(communicator, found, most)
    if communicator.size == 1:
        return list(found)
    own = [each._replace(scores=_kind(each.scores), each=_kind(each.each)) for each in found]
    received = [[Found(*each) for each in json.loads(data)] for data in communicator.allgather_bytes(_packed(own))]
    scores, each = (
        _exchanged(communicator, [getattr(f, name) for f in found], [[getattr(t, name) for t in r] for r in received])
        for name in ("scores", "each")
    )
    every = [
        record._replace(place=tuple(record.place), scores=a, each=b)
        for records, of_scores, of_each in zip(received, scores, each, strict=True)
        for record, a, b in zip(records, of_scores, of_each, strict=True)
    ]
    return sorted(every, key=lambda found: found.place)


def same(communicator: Communicator, figures: dict[str, Any]) -> dict[str, Any]:
    """Return figures with the numbers that the first process has: what they decide, they decide alike everywhere."""
    if communicator.size == 1:
        return figures
    numbers = {name: value for name, value in figures.items() if isinstance(value, float)}
    return {**figures, **json.loads(communicator.allgather_bytes(_packed(numbers))[0])}


def _limited(communicator: Communicator, found: Sequence[Found], most: int) -> list[Found]:
    """Return what was found with the scores of the first batches, up to the one with which they are so many bytes."""
    own = [(each.place, each.scores.nbytes) for each in found if each.scores is not None]
    received = [tuple(each) for data in communicator.allgather_bytes(_packed(own)) for each in json.loads(data)]
    kept, size = set(), 0
    for place, nbytes in sorted(received):
        if size < most:
            kept.add(tuple(place))
        size += nbytes
    return [each if each.place in kept else each._replace(scores=None) for each in found]


def _packed(values: Any) -> bytes:
    return json.dumps(values).encode()


def _kind(array: np.ndarray | None) -> Any:
    """Return dtype and shape of an array in a form that JSON can hold."""
    return None if array is None else (array.dtype.name, array.shape)


def _exchanged(communicator: Communicator, own: list[Any], kinds: list[list[Any]]) -> list[list[Any]]:
    """Return the arrays of each process, or None in their places, of which all know dtype and shape."""
    sent = b"".join(np.ascontiguousarray(array).tobytes() for array in own if array is not None)
    every = []
    for data, of_process in zip(communicator.allgather_bytes(sent), kinds, strict=True):
        arrays, offset = [], 0
        for kind in of_process:
            if kind is None:
                arrays.append(None)
                continue
            dtype, shape = np.dtype(kind[0]), tuple(kind[1])
            arrays.append(np.frombuffer(data, dtype, math.prod(shape), offset).reshape(shape))
            offset += arrays[-1].nbytes
        every.append(arrays)
    return every
