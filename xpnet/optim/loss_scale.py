"""The factor by which a loss in half precision is multiplied, kept where the gradients are.

Half precision holds nothing smaller than 6e-8, and many gradients of a deep model are smaller. So the loss is
multiplied before the backward pass, and every gradient is divided after it, in single precision. The factor is as large
as possible: when a gradient overflows, that update is left out and the factor halved; after many good updates it is
doubled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from xpnet.arguments import instance, mapping
from xpnet.backend import Array, Backend, set_at
from xpnet.errors import CheckpointError

__all__ = ["LossScale"]


class LossScale:
    """A factor for the loss that adapts itself; it never waits for the device::

        gradients = backward(loss, scale.value)     # of scale * loss
        if all gradients are finite:  good = good + 1; scale doubles when good is a multiple of PATIENCE
        else:                         good = 0; skipped = skipped + 1; scale halves

    Args:
        backend: where the gradients are.
    Source: Micikevicius et al., "Mixed precision training" (2018), section 3.2; the numbers are PyTorch's.
    """

    FIRST = 2.0**16
    LEAST, MOST = 1.0, 2.0**24
    PATIENCE = 2000  # good updates before the factor is doubled

    value: Array  # (), float32, a power of two, LEAST .. MOST
    good: Array  # (), int64: updates in a row without an overflow
    skipped: Array  # (), int64: updates left out so far

    def __init__(self, backend: Backend) -> None:
        instance("LossScale", "backend", backend, kind=Backend, rule="a Backend", do="open it with get_backend")
        self._create(backend, self.FIRST, 0, 0)

    def _create(self, backend: Backend, value: float, good: int, skipped: int) -> None:
        xp, device = backend.xp, backend.device
        self.backend = backend
        self.value = xp.asarray(value, dtype=xp.float32, device=device)
        self.good, self.skipped = (xp.asarray(n, dtype=xp.int64, device=device) for n in (good, skipped))

    def to(self, backend: Backend) -> None:
        """Move to where the gradients are now."""
        if backend != self.backend:
            self._create(backend, **self.state())

    def finite(self, gradients: Sequence[Array]) -> Array:
        """Return whether every element of some gradients is finite: a truth value, (), on the device."""
        xp = self.backend.xp
        return xp.all(xp.stack([xp.all(xp.isfinite(g)) for g in gradients]))

    def renew(self, finite: Array) -> None:
        """Count one more update, good or left out, and adapt the factor; in place."""
        xp, value = self.backend.xp, self.value
        good = xp.where(finite, self.good + 1, xp.zeros_like(self.good))
        # not xp.clip: array-api-compat's waits for a GPU
        doubled = xp.minimum(value * 2.0, xp.full_like(value, self.MOST))
        halved = xp.maximum(value * 0.5, xp.full_like(value, self.LEAST))
        new = xp.where(finite, xp.where(good % self.PATIENCE == 0, doubled, value), halved)
        skipped = xp.where(finite, self.skipped, self.skipped + 1)
        self.value = set_at(value, ..., new)
        self.good, self.skipped = set_at(self.good, ..., good), set_at(self.skipped, ..., skipped)

    def state(self) -> dict[str, Any]:
        """Copy the numbers to the host, for JSON."""
        return {name: self.backend.to_numpy(getattr(self, name)).item() for name in ("value", "good", "skipped")}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take over the numbers that state gave, in the existing arrays, which a recorded step reads.

        Raises:
            CheckpointError: a number is missing or outside its range.
        """
        saved = mapping("LossScale", "saved", saved)
        numbers = {name: saved.get(name) for name in ("value", "good", "skipped")}
        value, good, skipped = numbers.values()
        power = isinstance(value, int | float) and self.LEAST <= value <= self.MOST and math.frexp(value)[0] == 0.5
        if not power or not all(isinstance(n, int) and n >= 0 for n in (good, skipped)):
            raise CheckpointError("LossScale", "a power of two and two whole numbers >= 0", **numbers)
        for name, number in numbers.items():
            setattr(self, name, set_at(getattr(self, name), ..., number))
