"""What holds around a call of a module: evaluation mode, a watch; and how often modules have changed."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from xpnet.autograd import Tensor, has_tape
from xpnet.backend import Array

__all__ = [
    "BatchPart",
    "batch_part",
    "changes",
    "count_change",
    "in_inference",
    "inference",
    "modes",
    "observe",
    "use_part",
    "watch",
    "watching",
]

Observer = Callable[[Any, Any, Any], None]  # (module, its first input, its output)


class Watch(NamedTuple):
    """What is called before and after each call of a module."""

    before: Callable[[Any], None] | None
    after: Observer


class BatchPart(Protocol):
    """A part of a batch of which layers see no more: what they do where an output depends on the other parts.

    Attributes:
        synchronized: whether reduce is to be used.
        first: whether this is the part in whose computation a layer keeps what it finds of the whole batch.
    """

    synchronized: bool
    first: bool

    def whole(self, shape: tuple[int, ...]) -> int:
        """Return how many numbers of each channel the whole batch has, from the shape of this part, (N, ..., C)."""
        ...

    def reduce(self, values: Array, merge: Callable[[Array, Array], Array]) -> Array:
        """Return the combination of the values of all parts, (E,), each of which calls this."""
        ...

    def kept(self, module: Any, arrays: list[Array]) -> list[Array]:
        """Return what this part's computation uses in the place of a layer's buffers, copies at first."""
        ...

    def keep(self, module: Any, arrays: list[Array]) -> None:
        """Set what kept returns next; at the end of the step the layer's buffers become the mean over the parts."""
        ...


_part: contextvars.ContextVar[BatchPart | None] = contextvars.ContextVar("xpnet_batch_part", default=None)
_watched: contextvars.ContextVar[Watch | None] = contextvars.ContextVar("xpnet_watched", default=None)
watching = _watched.get  # watching() is what is called around each call of a module, or None
_inference: contextvars.ContextVar[bool] = contextvars.ContextVar("xpnet_inference", default=False)
_changes = 0


@contextlib.contextmanager
def inference() -> Iterator[None]:
    """Put every module into evaluation mode within a with-block, in this thread and task only.

        with nn.inference():
            scores = model(x)

    No module is written to: another thread may train the same model meanwhile.
    """
    token = _inference.set(True)
    try:
        yield
    finally:
        _inference.reset(token)


def in_inference() -> bool:
    """Tell whether nn.inference() is on."""
    return _inference.get()


def modes() -> tuple[bool, bool]:
    """Return whether nn.inference() is on, and whether ops go on the tape: what a step computes depends on both."""
    return _inference.get(), has_tape()


@contextlib.contextmanager
def use_part(part: BatchPart) -> Iterator[None]:
    """Compute a part of a batch within a with-block."""
    token = _part.set(part)
    try:
        yield
    finally:
        _part.reset(token)


def batch_part() -> BatchPart | None:
    """Return the part of a batch that is computed here; None: all of it, or a layer's output is that of the part."""
    return _part.get()


@contextlib.contextmanager
def watch() -> Iterator[dict[str, Tensor]]:
    """Keep the output of each layer that is called within a with-block, in this thread and task only.

        with nn.watch() as seen:
            model(x)
        seen["conv1"]

    Returns:
        A dictionary from path to output, in the order of calls; of a layer called twice the last output. Within the
        block activations are not fused, so that their inputs are seen too.
    """
    seen: dict[str, Tensor] = {}
    with observe(lambda module, x, y: seen.__setitem__(module.path, y)):
        yield seen


@contextlib.contextmanager
def observe(after: Observer, before: Callable[[Any], None] | None = None) -> Iterator[None]:
    """Within a with-block, call a function with (module, first input, output) after each call of a module, and one with
    the module before it."""
    token = _watched.set(Watch(before, after))
    try:
        yield
    finally:
        _watched.reset(token)


def changes() -> int:
    """Return how often parts or settings of modules have changed in this process; see nn.predict."""
    return _changes


def count_change() -> None:
    """Count that a module has changed: what was recorded of it may be out of date."""
    global _changes
    _changes += 1
