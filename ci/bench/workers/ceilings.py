"""What a device can do at best: bytes copied a second, and multiply-adds of large products in each precision.

    {"do": "measure", "device": ..., "precisions": [...]}
        -> {"device", "library", "copy_gb_s": ..., "gemm_tflop_s": {precision: ...}}

PyTorch measures, for its copies, its BLAS and cuBLAS are as good as any.
"""

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import torch


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Time a copy and a square product in each precision."""
    device = torch.device(request["device"])
    cuda = device.type == "cuda"
    source = torch.zeros((1 << 30 if cuda else 1 << 26) // 4, device=device)  # far more than a cache holds
    target = torch.empty_like(source)
    seconds = _seconds(lambda: target.copy_(source), device)
    found: dict[str, float] = {}
    for precision in request["precisions"]:
        side = (8192 if precision != "fp32" else 4096) if cuda else 1024
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        a = torch.randn(side, side, device=device, dtype=torch.float16 if precision == "fp16" else torch.float32)
        found[precision] = 2 * side**3 / _seconds(lambda a=a: a @ a, device) / 1e12
    return {
        "device": torch.cuda.get_device_name(device) if cuda else "CPU",
        "library": f"torch {torch.__version__}" + (f", CUDA {torch.version.cuda}" if cuda else ""),
        "copy_gb_s": 2 * source.nbytes / seconds / 1e9,  # read and written
        "gemm_tflop_s": found,
    }


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    """The median over turns of the time of a call; the least on a CPU, which other programs use too."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times = []
    for _ in range(9):
        wait()
        start = perf_counter()
        for _ in range(5):
            work()
        wait()
        times.append((perf_counter() - start) / 5)
    return median(times[2:]) if device.type == "cuda" else min(times)
