"""Backends by name, by spec, and by the type of an array."""

from __future__ import annotations

import contextlib
import contextvars
import copyreg
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xpnet.arguments import function, instance, optional, text
from xpnet.backend.base import Array, Backend
from xpnet.backend.cuda import open_cupy
from xpnet.backend.libraries import open_jax, open_numpy, open_torch
from xpnet.errors import ConfigError, DeviceError, DTypeError, nearest

__all__ = [
    "CHECKED",
    "REGISTRY",
    "add_at",
    "backend_of",
    "current_backend",
    "get_backend",
    "kernel_folders",
    "library",
    "namespace",
    "register_backend",
    "set_at",
    "use_backend",
]


class _Entry(NamedTuple):
    open: Callable[[str | None], Backend]
    package: str
    install: str
    modules: tuple[str, ...]  # those in which the types of its arrays are defined


REGISTRY: dict[str, _Entry] = {
    "numpy": _Entry(open_numpy, "numpy", "pip install numpy", ("numpy",)),
    "cupy": _Entry(open_cupy, "cupy", "pip install 'xpnet[cuda13]' (or cuda12, to match the driver)", ("cupy",)),
    "torch": _Entry(open_torch, "torch", "pip install 'xpnet[torch]'", ("torch",)),
    "jax": _Entry(open_jax, "jax", "pip install 'xpnet[jax]'", ("jax", "jaxlib")),
}
_ALIASES = {"cpu": "numpy", "cuda": "cupy"}

_NUMPY = open_numpy(None)
_opened: dict[str, Backend] = {_NUMPY.spec: _NUMPY}  # by the string asked for, and by spec
_libraries: dict[type, Backend] = {np.ndarray: _NUMPY}  # by type of array: one backend of its library
CHECKED: set[type] = set()  # types of arrays that are checked at each op: there are other devices, or Backend.checks


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
        open: takes what follows "name:" in the string, or None, and returns a Backend. An ImportError of its
            library is reported with the install command.
        package: the distribution whose version ``xpnet devices`` shows; the name by default.
        install: the command that installs it.
    Raises:
        ConfigError: the name holds a colon or is empty.
    """
    function("register_backend", "open", open)
    optional(text)("register_backend", "package", package)
    if not text("register_backend", "name", name) or ":" in name:
        raise ConfigError("register_backend", "a name that is not empty and holds no colon", name=repr(name))
    REGISTRY[name] = _Entry(open, package or name, install, (module_name(name),))
    _opened.clear()


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


def _open(spec: str) -> Backend:
    if isinstance(spec, str) and spec in _opened:
        return _opened[spec]
    name, _, device = text("get_backend", "backend", spec).partition(":")
    name = _ALIASES.get(name, name)
    entry = REGISTRY.get(name)
    if entry is None:
        advice = "did you mean 'cuda'?" if name == "gpu" else nearest(name, {*REGISTRY, *_ALIASES})
        raise ConfigError("get_backend", "the name of a backend", advice, backend=repr(spec))
    try:
        backend = entry.open(device or None)
    except ImportError as error:
        absent = importlib.util.find_spec(module_name(name)) is None
        reason = "is not installed" if absent else f"does not import ({error})"
        event = f"{name} {reason}" if spec == name else f"{spec} needs {name}, which {reason}"
        raise DeviceError.event("get_backend", event, entry.install, backend=repr(spec)) from error
    instance("get_backend", "backend", backend, kind=Backend, rule="what its open function returns, a Backend")
    copyreg.pickle(type(backend), _reduce)  # pyright: ignore[reportArgumentType]
    backend = _opened.setdefault(backend.spec, backend)  # "cuda" and "cupy:0" are one object
    kind = type(backend.xp.empty(0, device=backend.device))
    _libraries.setdefault(kind, backend)
    others = (b.name == backend.name and b != backend for b in _opened.values())
    if backend.checks or any(others) or backend.has_devices():
        CHECKED.add(kind)
    _opened[spec] = backend
    return backend


def _reduce(backend: Backend) -> tuple[Any, ...]:
    return (get_backend, (backend.spec,)) if backend.name in REGISTRY else backend.__reduce__()


def module_name(name: str) -> str:
    """Return the name under which a backend's library is imported."""
    return name.replace("-", "_")


# Finding the library of an array, by its type.


def namespace(x: Array, *others: Array | None) -> Any:
    """Return the Array API namespace of arrays that must share one; None is skipped.

    Raises:
        DTypeError: x is not an array, or of a dtype that its library does not compute with at present.
        DeviceError: the arrays belong to different libraries, or to different devices of one.
    Cost: under 0.2 us for one array: a dictionary by type. Devices are compared only where a library has several here,
        or backends on two of them are open.
    """
    kind = type(x)
    if kind in CHECKED:
        _check(x, *others)
    for other in others:
        if other is not None and type(other) is not kind and namespace(other) is not namespace(x):
            raise DeviceError(
                "namespace",
                "arrays of one backend",
                "move one with Module.to or Backend.from_numpy",
                arrays=", ".join(library(a).name for a in (x, *others) if a is not None),
            )
    try:
        return _libraries[kind].xp
    except KeyError:
        return _learn(x).xp


def _check(x: Array, *others: Array | None) -> None:
    library(x).check(x)
    for other in others:
        if other is not None and type(other) is type(x) and other.device != x.device:
            raise DeviceError(
                "namespace",
                "arrays on one device",
                "move one with Module.to or Backend.from_numpy",
                devices=", ".join(backend_of(a).spec for a in (x, *others) if a is not None),
            )


def _learn(x: Array) -> Backend:
    """Find and keep the library of a type of array that is seen for the first time."""
    kind = type(x)
    found = _registered(kind) if hasattr(x, "dtype") else None  # a library has classes that are no arrays
    if found is None:
        if not hasattr(x, "__array_namespace__"):
            raise DTypeError("namespace", "an array", "convert it with Backend.from_numpy", x=kind.__name__)
        found = Backend(kind.__module__.partition(".")[0], x.__array_namespace__(), x.device)
        if found.has_devices():
            CHECKED.add(kind)
    return _libraries.setdefault(kind, found)


def _registered(kind: type) -> Backend | None:
    """The backend of a type of array, by the modules that define the type, or None."""
    roots = {base.__module__.partition(".")[0] for base in kind.__mro__}
    name = next((name for name, entry in REGISTRY.items() if roots.intersection(entry.modules)), None)
    return None if name is None else _open(name)


def kernel_folders(kind: type) -> tuple[str, ...]:
    """Return the folders of kernels that serve a type of array, in the order they are tried."""
    found = _libraries.get(kind) or _registered(kind)
    return found.kernels if found else ()


def library(x: Array) -> Backend:
    """Return a backend of an array's library, on any device: it gives the library's namespace and capabilities."""
    return _libraries.get(type(x)) or _learn(x)


def backend_of(x: Array) -> Backend:
    """Return the backend of an array's library and device."""
    found = library(x)
    if x.device == found.device:
        return found
    if found.name not in REGISTRY:
        return replace(found, device=x.device)
    return _open(f"{found.name}:{found.label(x.device)}")


def add_at(x: Array, index: Any, value: Array) -> Array:
    """Add to a slice of an array that the caller owns, and return the result: x itself where it can be written.

    Args:
        x: the array; only what is returned may be used afterwards.
        index: integers and slices with positive steps, one an axis.
        value: shaped like x[index].
    """
    backend = _libraries.get(type(x)) or _learn(x)
    if not backend.writable:
        return backend.add_at(x, index, value)
    x[index] += value
    return x


def set_at(x: Array, index: Any, value: Array) -> Array:
    """Write a slice of an array that the caller owns, and return the result, like add_at."""
    backend = _libraries.get(type(x)) or _learn(x)
    if not backend.writable:
        return backend.set_at(x, index, value)
    x[index] = value
    return x


# The default.

_CURRENT: contextvars.ContextVar[Backend | None] = contextvars.ContextVar("xpnet_backend", default=None)


def current_backend() -> Backend:
    """Return the backend of new models: NumPy, unless within use_backend."""
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
