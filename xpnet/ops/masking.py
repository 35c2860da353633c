"""Choosing by a mask: what is left out may be infinite or NaN."""

from __future__ import annotations

from xpnet import kernels
from xpnet.backend import Array, namespace

__all__ = ["masked"]


@kernels.service("masked")
def masked(x: Array, mask: Array) -> Array:
    """Keep x where mask is True, 0 elsewhere, whatever x is there; the two broadcast together."""
    return namespace(x).where(mask, x, 0.0)
