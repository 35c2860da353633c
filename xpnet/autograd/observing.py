"""What sees each op that is applied to tensors, and each tensor whose values are read: how a computation is traced."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from xpnet.autograd.values import Values

__all__ = ["Observer", "observe_ops", "observer"]


class Observer(Protocol):
    """Receives what happens to tensors, in order."""

    def applied(self, op: Callable[..., Any], inputs: tuple[Any, ...], options: dict[str, Any], y: Values) -> None:
        """See that ``op(*inputs, **options)`` gave y; inputs are tensors, arrays or what else the op takes."""
        ...

    def read(self, where: str, x: Values) -> None:
        """See that the values of x are copied to the host, where a Python program may depend on them."""
        ...


_observer: contextvars.ContextVar[Observer | None] = contextvars.ContextVar("xpnet_observer", default=None)
observer = _observer.get  # observer() is what sees the ops of this thread and task, or None


@contextlib.contextmanager
def observe_ops(seen_by: Observer) -> Iterator[None]:
    """Show an observer each op within a with-block, in this thread and task only."""
    token = _observer.set(seen_by)
    try:
        yield
    finally:
        _observer.reset(token)
