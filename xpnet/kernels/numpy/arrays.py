"""Types of the kernels for NumPy arrays."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

__all__ = ["VJP", "Array", "Gradients", "Needs", "Result"]

Array = npt.NDArray[Any]
Needs = tuple[bool, ...]  # of which arguments the gradient is needed
Gradients = tuple[Array | None, ...]


class VJP(Protocol):
    """The backward pass of an op: from the gradient of its result to one gradient for each argument."""

    def __call__(self, dy: Array, needs: Needs, /) -> Gradients: ...


Result = tuple[Array, VJP]
