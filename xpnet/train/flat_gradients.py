"""Gradients as flat arrays, laid out as the parameters are: what processes sum.

memory = FlatGradients(optimizer.flat)
(out,) = memory.arrays(1)           # the same array in each step
total = memory.fill(out, [gradients.get(p) for p in optimizer.flat.parameters])
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

from xpnet.backend import Array, backend_of, launch, record_call
from xpnet.optim.flat import FlatBuffer, concatenate

__all__ = ["FlatGradients", "cast"]


class FlatGradients:
    """Flat arrays that each step fills anew, so that a recorded step finds them where they were.

    Args:
        flat: the parameters.
    Cost: the bytes of the parameters for each array. Where arrays cannot be written, each step has new ones.
    """

    def __init__(self, flat: FlatBuffer) -> None:
        self._flat = flat
        self._arrays: list[Array] = []

    def arrays(self, count: int) -> list[Array]:
        """Return so many arrays, (size,): the same in each call, until the parameters are moved or cast."""
        flat = self._flat
        if self._arrays and (self._arrays[0].dtype != flat.dtype or backend_of(self._arrays[0]) != flat.backend):
            self._arrays = []
        while len(self._arrays) < count:
            self._arrays.append(flat.zeros())
        return self._arrays[:count]

    def views(self, out: Array) -> list[Array] | None:
        """Return the places of the parameters in an array; None where it cannot be written."""
        return self._flat.views(out) if self._flat.backend.writable else None

    def fill(self, out: Array, arrays: Sequence[Array | None], views: Sequence[Array] | None = None) -> Array:
        """Return gradients as one flat array: ``out``, or a new one where it cannot be written.

        Args:
            out: one of ``arrays``.
            arrays: a gradient for each parameter, or None, for which there are zeros.
            views: as ``views`` returns them, of which some may be among the gradients; None: they are made.
        """
        flat = self._flat
        views = self.views(out) if views is None else views
        if views is None:
            zeros = (flat.xp.zeros(shape, dtype=flat.dtype, device=flat.backend.device) for shape in flat.shapes)
            each = [zero if g is None else cast(g, flat.dtype) for g, zero in zip(arrays, zeros, strict=True)]
            return concatenate(each, [start for start, _ in flat.bounds])
        for view, g in zip(views, arrays, strict=True):
            if g is None:
                launch(operator.setitem, view, ..., 0)
            elif g is not view:
                launch(operator.setitem, view, ..., cast(g, flat.dtype))
        return out


def cast(g: Array, dtype: object) -> Array:
    """Return a gradient in the dtype of the sums."""
    return g if g.dtype == dtype else record_call(backend_of(g).xp.astype, g, dtype)
