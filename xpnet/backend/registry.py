"""Backends by name, by string, and by the type of an array."""

from __future__ import annotations

import contextlib
import contextvars
import importlib.util
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend.base import Array, Backend, device_label
from xpnet.backend.cuda import open_cupy
from xpnet.backend.libraries import open_jax, open_numpy, open_torch
from xpnet.errors import ConfigError, DeviceError, DTypeError, nearest

__all__ = [
    "REGISTRY",
    "SPREAD",
    "backend_of",
    "current_backend",
    "family",
    "get_backend",
    "namespace",
    "register_backend",
    "use_backend",
]


_OPENED: dict[str, Backend] = {}
_NAMESPACE: dict[type, Any] = {np.ndarray: np}
_FAMILY: dict[type, str] = {np.ndarray: "numpy"}
SPREAD: set[type] = set()  # types of arrays of which backends on more than one device are open


class _Entry(NamedTuple):
    open: Callable[[str | None], Backend]
    package: str
    install: str


REGISTRY: dict[str, _Entry] = {
    "numpy": _Entry(open_numpy, "numpy", "pip install numpy"),
    "cupy": _Entry(open_cupy, "cupy", "pip install 'xpnet[cuda13]' (or cuda12, to match the driver)"),
    "torch": _Entry(open_torch, "torch", "pip install 'xpnet[torch]'"),
    "jax": _Entry(open_jax, "jax", "pip install 'xpnet[jax]'"),
}


def register_backend(
    name: str, open: Callable[[str | None], Backend], *, package: str | None = None, install: str = ""
) -> None:
    """Add an array library under a name that get_backend, ``--backend`` and ``Module.to`` then know.

        class Strict(Backend):
            def to_numpy(self, x):
                return np.asarray(self.xp.asarray(x, device=self.xp.Device("CPU_DEVICE")))

        def open_strict(device):
            import array_api_strict as xp
            return Strict("array-api-strict", xp, xp.Device(device or "CPU_DEVICE"))

        register_backend("array-api-strict", open_strict, install="pip install array-api-strict")

    Args:
        name: letters, digits and dashes; an existing name is replaced.
        open: takes what followed "name:" in the request, or None, and returns a Backend. An ImportError of its own
            library is reported with the install command.
        package: the distribution whose version ``xpnet devices`` shows; the name by default.
        install: the command that installs it.
    Raises:
        ConfigError: the name holds a colon or is empty.
    """
    if not name or ":" in name:
        raise ConfigError("register_backend", "a name is not empty and holds no colon", name=repr(name))
    REGISTRY[name] = _Entry(open, package or name, install)
    _OPENED.clear()
    _open.cache_clear()


def get_backend(spec: str | Backend | None = None) -> Backend:
    """Open the backend that a string names.

    Args:
        spec: "cpu" (NumPy), "cuda" or "cuda:N" (CuPy), or "name" or "name:device" of a registered backend, such as
            "torch:cuda" or "array-api-strict:device1". None is the current default; a Backend is returned as it is.
    Returns:
        An immutable Backend; asking twice gives the same one.
    Raises:
        ConfigError: no backend of that name.
        DeviceError: its library is not installed (the message gives the command), or the device is not there.
    """
    if spec is None:
        return current_backend()
    if isinstance(spec, Backend):
        return spec
    return _open(spec)


@cache
def _open(spec: str) -> Backend:
    name, _, device = spec.partition(":")
    if name == "cpu":
        name = "numpy"
    elif name == "cuda":
        name = "cupy"
    entry = REGISTRY.get(name)
    if entry is None:
        raise ConfigError(
            "get_backend", "no such backend", nearest(name, {*REGISTRY, "cpu", "cuda"}), backend=repr(spec)
        )
    try:
        backend = entry.open(device or None)
    except ImportError as error:
        absent = importlib.util.find_spec(module_name(name)) is None
        why = "is not installed" if absent else f"does not import ({error})"
        rule = f"{name} {why}" if spec == name else f"{spec} needs {name}, which {why}"
        raise DeviceError("get_backend", rule, entry.install, backend=repr(spec)) from error
    kind = type(backend.xp.empty(0, device=backend.device))
    _NAMESPACE.setdefault(kind, backend.xp)
    _FAMILY.setdefault(kind, name)
    if any(b.name == backend.name and b != backend for b in _OPENED.values()):
        SPREAD.add(kind)
    return _OPENED.setdefault(backend.spec, backend)  # "cuda" and "cupy:0" are one object


def module_name(name: str) -> str:
    return name.replace("-", "_")


# Finding the namespace of an array, by its type.


def namespace(x: Array, *others: Array | None) -> Any:
    """Return the Array API namespace of arrays that must share one; None is passed over.

    Raises:
        DTypeError: x is not an array.
        DeviceError: the arrays belong to different libraries, or lie on different devices of one.
    Cost: under 0.2 us for one array: a dictionary by type. Devices are compared only where backends on two devices of
        a library were opened.
    """
    kind = type(x)
    if kind in SPREAD:
        _on_one_device(x, *others)
    for other in others:
        if other is not None and type(other) is not kind and namespace(other) is not namespace(x):
            raise DeviceError(
                "namespace",
                "arrays of one op live on one backend",
                "move one with Module.to or Backend.from_numpy",
                arrays=", ".join(family(a) for a in (x, *others) if a is not None),
            )
    try:
        return _NAMESPACE[kind]
    except KeyError:
        return _learn(x)


def _on_one_device(x: Array, *others: Array | None) -> None:
    for other in others:
        if other is not None and type(other) is type(x) and other.device != x.device:
            raise DeviceError(
                "namespace",
                "arrays of one op live on one device",
                "move one with Module.to or Backend.from_numpy",
                devices=", ".join(backend_of(a).spec for a in (x, *others) if a is not None),
            )


def _learn(x: Array) -> Any:
    """Find and remember the namespace of a type met for the first time."""
    kind = type(x)
    if isinstance(x, np.generic | np.ndarray):
        xp, name = np, "numpy"
    else:
        root = kind.__module__.partition(".")[0]
        name = {"jaxlib": "jax", "cupy": "cupy", "torch": "torch", "jax": "jax"}.get(root, "")
        if name:
            xp = _open(name if name != "torch" else f"torch:{x.device}").xp
        elif hasattr(x, "__array_namespace__"):
            xp, name = x.__array_namespace__(), root.replace("_", "-")
        else:
            raise DTypeError("namespace", "an op takes arrays", "convert it with Backend.from_numpy", x=kind.__name__)
    _NAMESPACE[kind], _FAMILY[kind] = xp, name
    return xp


def family(x: Array) -> str:
    """Return the name under which an array's library is registered, such as "numpy"."""
    namespace(x)
    return _FAMILY[type(x)]


def backend_of(x: Array) -> Backend:
    """Return the backend an array lives on."""
    name = family(x)
    if name == "numpy":
        return _open("numpy")
    device = x.device
    if name == "cupy":
        device = device.id
    elif name == "jax":
        device = f"{device.platform}:{device.id}"
    return _open(f"{name}:{device_label(device)}")


# The default.

_CURRENT: contextvars.ContextVar[Backend | None] = contextvars.ContextVar("xpnet_backend", default=None)


def current_backend() -> Backend:
    """Return the backend that new models live on: NumPy, unless within use_backend."""
    return _CURRENT.get() or _open("numpy")


@contextlib.contextmanager
def use_backend(spec: str | Backend) -> Iterator[Backend]:
    """Make a backend the default within a with-block, for this thread and task only.

        with use_backend("torch"):
            model = lenet5((28, 28, 1), 10)     # its arrays are torch's

    Args:
        spec: as get_backend takes it.
    Raises:
        ConfigError, DeviceError: as get_backend.
    """
    backend = get_backend(spec)
    token = _CURRENT.set(backend)
    try:
        with backend.active():
            yield backend
    finally:
        _CURRENT.reset(token)
