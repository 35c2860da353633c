"""What the tests of pictures share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpnet.backend import Backend


@pytest.fixture
def transfers(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of all arrays copied from the backend to the host."""
    shapes: list[tuple[int, ...]] = []
    real = type(backend).to_numpy

    def counting(self: Backend, array: Any) -> np.ndarray:
        shapes.append(tuple(array.shape))
        return real(self, array)

    monkeypatch.setattr(type(backend), "to_numpy", counting)
    return shapes
