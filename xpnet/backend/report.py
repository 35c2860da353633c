"""The backends of this machine: versions, devices, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from xpnet.backend import registry
from xpnet.errors import ConfigError, DeviceError

__all__ = ["BackendInfo", "describe_backends"]


@dataclass(frozen=True)
class BackendInfo:
    """What ``xpnet devices`` prints of one backend.

    Args:
        name: the name it is registered under.
        version: its library's; "" where it is not installed.
        devices: as get_backend spells them after the colon; none where it does not open.
        hardware: a description of each device; empty where there is none.
        records: whether steps and predictions can be recorded and replayed on it.
        problem: why it does not open, or "".
        install: the command that installs it.
    """

    name: str
    version: str
    devices: list[str]
    hardware: list[str]
    records: bool
    problem: str
    install: str


def describe_backends() -> list[BackendInfo]:
    """List every registered backend: version and devices, or why it does not open and what installs it.

    Cost: imports each installed library.
    """
    found = []
    for name, entry in registry.REGISTRY.items():
        devices, records, problem = {}, False, ""
        try:
            backend = registry.get_backend(name)
            devices, records = backend.devices(), backend.recorder() is not None
        except (DeviceError, ConfigError) as error:
            problem = error.rule if error.is_event else str(error)
        version = _version(name, entry.package) or ("" if problem else "unknown")
        hardware = [text for text in devices.values() if text]
        found.append(BackendInfo(name, version, list(devices), hardware, records, problem, entry.install))
    return found


def _version(name: str, package: str) -> str:
    """The version that a library's module states, or else its distribution; "" where it has neither."""
    import importlib.metadata  # 20 ms that import xpnet saves

    try:
        return str(importlib.import_module(registry.module_name(name)).__version__)
    except (ImportError, AttributeError):
        pass
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
