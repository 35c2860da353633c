"""What the device can do at best: bytes copied a second, and multiply-adds of large products in each precision.

    {"do": "measure", "device": ..., "precisions": [...]}
        -> {"device", "capability", "library", "copy_gb_s": ..., "gemm_tflop_s": {precision: ...}}

PyTorch measures, for its copies and its cuBLAS are as good as any, and every reader knows them.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import torch
from serve import answer

TURNS = 7


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Time a copy and a square product in each precision; medians."""
    device = torch.device(request["device"])
    big = device.type == "cuda"
    source = torch.zeros((1 << 30 if big else 1 << 24) // 4, device=device)  # far more than any cache of a GPU holds
    target = torch.empty_like(source)
    seconds = _seconds(lambda: target.copy_(source), device)
    found: dict[str, float] = {}
    for precision in request["precisions"]:
        side = (8192 if precision != "fp32" else 4096) if big else 256
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        a = torch.randn(side, side, device=device, dtype=torch.float16 if precision == "fp16" else torch.float32)
        found[precision] = 2 * side**3 / _seconds(lambda a=a: a @ a, device) / 1e12
    about = torch.cuda.get_device_properties(device) if big else None
    return {
        "device": about.name if about else "CPU",
        "capability": f"{about.major}.{about.minor}" if about else "",
        "library": f"torch {torch.__version__}, CUDA {torch.version.cuda}" if big else f"torch {torch.__version__}",
        "copy_gb_s": 2 * source.nbytes / seconds / 1e9,  # read and written
        "gemm_tflop_s": found,
    }


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    """The median time of some turns of 5 calls, divided by 5, after a warm-up."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times = []
    for _ in range(TURNS + 2):
        wait()
        start = perf_counter()
        for _ in range(5):
            work()
        wait()
        times.append((perf_counter() - start) / 5)
    return median(times[2:])


if __name__ == "__main__":
    answer(measure)
