"""NumPy, torch and jax: how each differs from the standard, and how it is opened."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from xpnet.backend.base import Array, Backend, Memory, host_memory
from xpnet.backend.recording import HostRecorder
from xpnet.errors import DeviceError, DTypeError

__all__ = ["open_jax", "open_numpy", "open_torch"]


class _NumPy(Backend):
    on_host = splits = True
    kernels = ("numba", "numpy")

    def recorder(self) -> HostRecorder:
        return HostRecorder()

    def to_numpy(self, array: Array) -> np.ndarray:
        try:
            return np.array(array)
        except ValueError:
            raise self._no_array("to_numpy", array) from None


class _Torch(Backend):
    def devices(self) -> dict[str, str]:
        import torch

        gpus = {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        return {"cpu": "", **gpus, **({"mps:0": ""} if torch.backends.mps.is_available() else {})}

    def has_devices(self) -> bool:
        import torch

        return torch.cuda.device_count() > 0 or torch.backends.mps.is_available()  # without waking a GPU

    def from_numpy(self, array: np.ndarray) -> Array:
        return self.xp.asarray(np.array(array), device=self.device)

    def to_numpy(self, array: Array) -> np.ndarray:
        try:
            array = array.detach().cpu()
            if array.dtype == self.xp.bfloat16:  # which NumPy does not have
                array = array.float()
            return np.array(array.numpy())
        except AttributeError:
            raise self._no_array("to_numpy", array) from None
        except (TypeError, NotImplementedError) as error:
            what, got = "NumPy has no such array", {"dtype": array.dtype, "error": error}
            raise DTypeError.event("to_numpy", what, **got) from error

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
    """jax, whose 64-bit numbers are off unless the process or a context switches them on: ``active`` does."""

    checks = True
    writable = False

    def label(self, device: Any) -> str:
        return f"{device.platform}:{device.id}"

    def devices(self) -> dict[str, str]:
        import jax

        return {self.label(device): "" for device in jax.devices()}

    def active(self) -> AbstractContextManager[Any]:
        import jax

        return jax.enable_x64(True)

    def check(self, x: Array) -> None:
        import jax

        if x.dtype == np.float64 and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            do = "compute within `with xpnet.use_backend('jax'):`, or set jax_enable_x64"
            raise DTypeError.event("jax", "jax rounds float64 to float32 here", do, dtype=x.dtype)

    def from_numpy(self, array: np.ndarray) -> Array:
        with self.active():
            return super().from_numpy(array)

    def to_numpy(self, array: Array) -> np.ndarray:
        return np.array(array)

    def add_at(self, x: Array, index: Any, value: Array) -> Array:
        return x.at[index].add(value)

    def set_at(self, x: Array, index: Any, value: Array) -> Array:
        return x.at[index].set(value)

    def synchronize(self) -> None:
        self.xp.zeros((), device=self.device).block_until_ready()

    def memory(self) -> Memory:
        stats = self.device.memory_stats()
        if not stats:
            return host_memory()
        return Memory(stats["bytes_in_use"], stats.get("peak_bytes_in_use", 0), stats.get("bytes_limit", 0))


def _choice(device: str | None, choices: list[str]) -> DeviceError:
    return DeviceError("get_backend", "one of the devices " + ", ".join(choices), device=repr(device))


def open_numpy(device: str | None) -> Backend:
    """Open NumPy; its one device is "cpu"."""
    if device not in (None, "cpu"):
        raise DeviceError(
            "get_backend", "cpu, the device of numpy", "for a GPU use cupy, torch or jax", device=repr(device)
        )
    return _NumPy("numpy", np, "cpu")


def open_torch(device: str | None) -> Backend:
    """Open torch on a device as torch spells it; DeviceError where there is none or it holds no numbers."""
    import array_api_compat.torch as xp
    import torch

    found = _Torch("torch", xp, torch.device("cpu"))
    try:
        trial = torch.ones(1, device=device or "cpu")
        trial.cpu()
    except Exception as error:  # which one depends on the device's name
        raise _choice(device, list(found.devices())) from error
    return found if trial.device == found.device else _Torch("torch", xp, trial.device)


def open_jax(device: str | None) -> Backend:
    """Open jax on "cpu", "cuda" or "platform:N"."""
    import jax

    platform, _, index = (device or jax.default_backend()).partition(":")
    try:
        found = jax.devices("gpu" if platform == "cuda" else platform)
        return _Jax("jax", jax.numpy, found[int(index or 0)])
    except (RuntimeError, IndexError, ValueError):
        raise _choice(device, [f"{d.platform}:{d.id}" for d in jax.devices()]) from None
