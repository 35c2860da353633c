"""What there is on this machine."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

from xpnet.backend import registry
from xpnet.backend.base import Backend, device_label
from xpnet.errors import ConfigError, DeviceError

__all__ = ["BackendInfo", "describe_backends"]


@dataclass(frozen=True)
class BackendInfo:
    """What ``xpnet devices`` says of one backend; version is empty when it is not installed.

    hardware says of each device what it is, and is empty where that goes without saying.
    """

    name: str
    version: str
    devices: list[str]
    hardware: list[str]
    problem: str
    install: str


def describe_backends() -> list[BackendInfo]:
    """List every registered backend: version, devices, and for the absent ones why and the command that installs them.

    Cost: imports each installed library.
    """
    found = []
    for name, entry in registry.REGISTRY.items():
        version, devices, hardware, problem = "", [], [], ""
        try:
            backend = registry.get_backend(name)
            version = str(getattr(backend.xp, "__version__", "")) or _version(entry.package)
            devices = _devices(name, backend)
            hardware = _gpus(len(devices)) if name == "cupy" else []
        except (DeviceError, ConfigError) as error:
            problem = error.rule
            version = (
                str(getattr(importlib.import_module(registry.module_name(name)), "__version__", ""))
                if _importable(name)
                else ""
            )
        found.append(BackendInfo(name, version, devices, hardware, problem, entry.install))
    return found


def _importable(name: str) -> bool:
    return importlib.util.find_spec(registry.module_name(name)) is not None


def _version(package: str) -> str:
    import importlib.metadata  # 20 ms that import xpnet can do without

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _devices(name: str, backend: Backend) -> list[str]:
    """Every device of an open backend, as get_backend spells them after the colon."""
    if name == "cupy":
        import cupy

        return [f"cuda:{i}" for i in range(cupy.cuda.runtime.getDeviceCount())]
    if name == "torch":
        import torch

        return ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if name == "jax":
        import jax

        return [f"{d.platform}:{d.id}" for d in jax.devices()]
    info = getattr(backend.xp, "__array_namespace_info__", None)
    return [device_label(d) for d in info().devices() if d is not None] if info else [device_label(backend.device)]


def _gpus(count: int) -> list[str]:
    """Name, memory and compute capability of each GPU that CuPy sees."""
    import cupy

    found = []
    for i in range(count):
        gpu = cupy.cuda.runtime.getDeviceProperties(i)
        size, capability = f"{gpu['totalGlobalMem'] / 2**30:.0f} GiB", f"{gpu['major']}.{gpu['minor']}"
        found.append(f"{gpu['name'].decode()}, {size}, compute capability {capability}")
    return found
