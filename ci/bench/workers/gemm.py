"""What the processor can multiply at best, by NumPy's BLAS.

{"do": "measure"} -> {"gflop_s"}     of square float32 products, the fastest of some turns
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
from serve import answer

SIDE, SECONDS = 1536, 1.0


def measure(request: dict[str, Any]) -> dict[str, float]:
    """Multiply for a second, and keep the shortest time."""
    a, b = np.random.default_rng(0).random((2, SIDE, SIDE), dtype=np.float32)
    c = np.empty_like(a)
    shortest, end = float("inf"), perf_counter() + SECONDS
    while perf_counter() < end:
        began = perf_counter()
        np.matmul(a, b, out=c)
        shortest = min(shortest, perf_counter() - began)
    return {"gflop_s": 2 * SIDE**3 / shortest / 1e9}


if __name__ == "__main__":
    answer(measure)
