"""The arrays of a layer as PyTorch holds them: under which names, and with which axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xpnet.nn.state import State

__all__ = ["TorchArray", "by_rank"]


class TorchArray(NamedTuple):
    """One array of a layer as PyTorch holds it.

    Args:
        name: its name in the layer of PyTorch, such as "running_mean".
        state: the parameter or buffer whose numbers these are, all of them or some.
        view: turns an array shaped like the state into a view whose axes are in PyTorch's order.
    """

    name: str
    state: State
    view: Callable[[np.ndarray], np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's sizes in PyTorch."""
        return self.view(np.broadcast_to(np.float32(0), self.state.shape)).shape


def by_rank(array: np.ndarray) -> np.ndarray:
    """Put the last axis of an array of rank 4 second, as in filters (F, KH, KW, C/G); others stay."""
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array
