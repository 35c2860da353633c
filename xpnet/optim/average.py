"""The running average of all parameters (EMA), which often predicts better than the parameters of the last step.

optimizer.average = Average(optimizer.flat, decay=0.999)    # each update moves it on
with optimizer.average.shown():                             # the parameters' data is the average here
    model.predict(x)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet import kernels
from xpnet.arguments import number
from xpnet.backend import Array, backend_of, library, namespace, set_at
from xpnet.optim.flat import FlatBuffer

__all__ = ["Average"]


class Average:
    """An exponential moving average of the parameters of a flat buffer.

        average <- average + r * (parameters - average),    r = max(1 - decay, 10 / (9 + t))

    where t is the number of the update, from 1: so the average forgets the first values of the parameters, which counts
    in runs of fewer than some 10 / (1 - decay) updates.

    Args:
        flat: of the parameters.
        decay: 0 <= decay < 1, such as 0.999.
    Cost: one more array of the size of the parameters, and one pass over it each update.
    """

    def __init__(self, flat: FlatBuffer, decay: float) -> None:
        self.decay = number("Average", "decay", decay, 0, 1)
        self.flat = flat
        self.value: Array = flat.xp.asarray(flat.value, copy=True)
        self.is_shown = False
        self._views: list[Array] = []
        self._viewed: Array = None  # the value that the views are of
        self._stale = False  # the parameters were given other values than those that the average was made of

    def __getstate__(self) -> dict[str, Any]:
        """Copies make views of their own; while averages are shown, the trained values are copied beside them."""
        parts = zip(self.flat.parameters, self._views, strict=False)
        is_changed = self.is_shown and not all(p.data is view or _same(p.data, view) for p, view in parts)
        trained = self.flat.value if self.is_shown and not is_changed else None
        stale = self._stale or is_changed
        return vars(self) | {"_views": [], "_viewed": None, "is_shown": False, "_stale": stale, "trained": trained}

    def __setstate__(self, state: dict[str, Any]) -> None:
        trained = state.pop("trained", None)
        vars(self).update(state)
        if trained is not None:  # the copied buffer was made of parameters that were averages
            self.flat.assign(self.flat.from_host(backend_of(trained).to_numpy(trained)))
            self.sync()
            self.show()

    def advance(self, t: Any) -> None:
        """Move the average towards the parameters, after update t: an int, or an int64 array (), as update takes it."""
        if (new := average(self.value, self.flat.value, self.decay, t)) is not None:
            self.value = new

    def sync(self) -> None:
        """Move to the backend and the dtype of the parameters; Optimizer.sync calls it."""
        flat = self.flat
        if self._stale:
            self.value, self._stale = flat.xp.asarray(flat.value, copy=True), False
        elif backend_of(self.value) != flat.backend or self.value.dtype != flat.dtype:
            self.value = flat.from_host(backend_of(self.value).to_numpy(self.value))

    def assign(self, value: Array) -> None:
        """Set the average, (size,), of the backend and dtype of the parameters."""
        self.value = set_at(self.value, ..., value)

    def show(self) -> None:
        """Give the parameters the averages as their data, until hide: what they were trained to stays in the buffer."""
        if self.is_shown:
            return
        if self._viewed is not self.value:
            self._viewed, self._views = self.value, self.flat.views(self.value)
        for p, view in zip(self.flat.parameters, self._views, strict=True):
            p.data = view
        self.is_shown = True

    def hide(self) -> None:
        """Give the parameters their trained values back, on the backend that the model was moved to meanwhile.

        Parameters that were given other values meanwhile keep those, and the average begins with them.
        """
        if not self.is_shown:
            return
        self.is_shown = False
        for p, view, trained in zip(self.flat.parameters, self._views, self.flat.bound, strict=True):
            if p.data is view:
                p.data = trained
            elif _same(p.data, view):  # moved or cast
                dtype = backend_of(p.data).to_numpy(p.data).dtype
                p.data = backend_of(p.data).from_numpy(backend_of(trained).to_numpy(trained).astype(dtype))
            else:
                self._stale = True

    @contextlib.contextmanager
    def shown(self, shown: bool = True) -> Iterator[None]:
        """Show the averages within a with-block, or hide them; after it all is as before."""
        before = self.is_shown
        (self.show if shown else self.hide)()
        try:
            yield
        finally:
            (self.show if before else self.hide)()


@kernels.service("average")
def average(value: Array, parameters: Array, decay: float, t: Any) -> Array | None:
    """Move an average, (size,), towards parameters, in place where arrays can be written.

    Returns:
        None, or the new average where arrays cannot be written.
    """
    xp = namespace(value)
    if isinstance(t, int) or library(value).on_host:
        rate: Any = max(1.0 - decay, 10.0 / (9 + int(t)))
    else:
        each = 10.0 / (xp.astype(t, value.dtype) + 9.0)
        rate = xp.maximum(each, xp.full_like(each, 1.0 - decay))
    new = set_at(value, ..., value + (parameters - value) * rate)
    return None if new is value else new


def _same(moved: Array, view: Array) -> bool:
    values, before = backend_of(moved).to_numpy(moved), backend_of(view).to_numpy(view)
    return values.shape == before.shape and np.array_equal(values.astype(before.dtype), before, equal_nan=True)
