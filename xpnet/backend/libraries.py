"""NumPy, torch and jax: how their arrays come and go, wait, and report memory, and how they are opened."""

from __future__ import annotations

import numpy as np

from xpnet.backend.base import Array, Backend, Memory, host_memory
from xpnet.backend.heap import keep_freed
from xpnet.errors import DeviceError

__all__ = ["open_jax", "open_numpy", "open_torch"]


class _NumPy(Backend):
    @property
    def splits(self) -> bool:
        return True

    @property
    def replays(self) -> bool:
        return True

    def to_numpy(self, array: Array) -> np.ndarray:
        return np.array(array)


class _Torch(Backend):
    def from_numpy(self, array: np.ndarray) -> Array:
        return self.xp.asarray(np.array(array), device=self.device)

    def to_numpy(self, array: Array) -> np.ndarray:
        return np.array(array.detach().cpu().numpy())

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)

    def memory(self) -> Memory:
        if self.device.type != "cuda":
            return host_memory()
        import torch

        used, peak = torch.cuda.memory_allocated(self.device), torch.cuda.max_memory_allocated(self.device)
        return Memory(used, peak, torch.cuda.mem_get_info(self.device)[1])


class _Jax(Backend):
    @property
    def device_name(self) -> str:
        return f"{self.device.platform}:{self.device.id}"

    def to_numpy(self, array: Array) -> np.ndarray:
        return np.array(array)

    def synchronize(self) -> None:
        self.xp.zeros((), device=self.device).block_until_ready()

    def memory(self) -> Memory:
        stats = self.device.memory_stats()
        if not stats:
            return host_memory()
        return Memory(stats["bytes_in_use"], stats.get("peak_bytes_in_use", 0), stats.get("bytes_limit", 0))


def _absent(device: str | None, *choices: str) -> DeviceError:
    return DeviceError("get_backend", "the device is one of " + ", ".join(choices), device=device)


def open_numpy(device: str | None) -> Backend:
    """Open NumPy; its one device is "cpu"."""
    if device not in (None, "cpu"):
        raise DeviceError(
            "get_backend", "numpy runs on device cpu", "use --backend cupy, torch or jax for a GPU", device=device
        )
    keep_freed()
    return _NumPy("numpy", np, "cpu")


def open_torch(device: str | None) -> Backend:
    """Open torch on a device as torch spells it; DeviceError where it is not there."""
    import array_api_compat.torch as xp
    import torch

    try:
        place = torch.device(device or "cpu")
    except RuntimeError:
        raise _absent(device, "cpu", "cuda", "cuda:N") from None
    if place.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "get_backend",
            "torch was built without CUDA or finds no GPU",
            "see whether nvidia-smi lists one, or use --device cpu",
            device=device,
        )
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise _absent(device, *(f"cuda:{i}" for i in range(torch.cuda.device_count())))
    if place.type == "cuda":
        place = torch.device("cuda", place.index or 0)
    return _Torch("torch", xp, place)


def open_jax(device: str | None) -> Backend:
    """Open jax on "cpu", "cuda" or "platform:N"; switches its 64-bit types on for the process."""
    import jax

    # An op keeps the dtype it is given; without this jax makes float64 float32.
    jax.config.update("jax_enable_x64", True)
    platform, _, index = (device or jax.default_backend()).partition(":")
    try:
        places = jax.devices("gpu" if platform == "cuda" else platform)
        return _Jax("jax", jax.numpy, places[int(index or 0)])
    except (RuntimeError, IndexError, ValueError):
        found = [f"{d.platform}:{d.id}" for d in jax.devices()]
        raise _absent(device, *found) from None
