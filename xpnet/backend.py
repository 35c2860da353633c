"""Where arrays live: namespaces, devices, transfer, memory. The one door to cupy, torch and jax.

backend = get_backend("cuda:1")         # or "cpu", "torch", "torch:cuda", "jax", ...
x = backend.from_numpy(images)          # moves only when asked
y = backend.xp.exp(x)                   # xp is the backend's Array API namespace
images = backend.to_numpy(y)
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from xpnet.errors import ConfigError, DeviceError, DTypeError, nearest

__all__ = [
    "Array",
    "Backend",
    "Memory",
    "add_at",
    "backend_of",
    "current_backend",
    "describe_backends",
    "get_backend",
    "is_out_of_memory",
    "namespace",
    "register_backend",
    "set_at",
    "use_backend",
]

Array = Any  # an array of whichever namespace: the standard defines no common class


class Memory(NamedTuple):
    """Bytes of a device's memory: what is in use now, the most that was, and all there is (0: not known)."""

    used: int
    peak: int
    total: int


@dataclass(frozen=True)
class Backend:
    """One array library on one device; get it from get_backend.

    A subclass says how a library differs from the standard: how its arrays come from and go to NumPy, how to wait for
    its device, what its memory figures are. Two backends are equal when name and device are.

    Args:
        name: the name it is registered under, such as "torch".
        xp: its Array API namespace.
        device: what the namespace takes as ``device=``.
    """

    name: str
    xp: Any
    device: Any

    @property
    def device_name(self) -> str:
        """The device as get_backend spells it after the colon, such as "cuda:0"."""
        return _device_label(self.device)

    @property
    def spec(self) -> str:
        """The string that get_backend opens this backend with, such as "torch:cuda:0"."""
        return f"{self.name}:{self.device_name}"

    def __repr__(self) -> str:
        return f"<xpnet backend {self.spec}>"

    def __deepcopy__(self, memo: Any) -> Backend:
        return self

    def from_numpy(self, array: np.ndarray) -> Array:
        """Copy a NumPy array to this device; dtype and shape stay."""
        return self.xp.asarray(array, device=self.device, copy=True)

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array of this backend to the host."""
        return np.asarray(array)

    def synchronize(self) -> None:
        """Wait until the device has done all that it was given."""

    def memory(self) -> Memory:
        """Report the memory of the device, in bytes."""
        return _host_memory()


class _NumPy(Backend):
    def to_numpy(self, array: Array) -> np.ndarray:
        return np.array(array)


class _CuPy(Backend):
    @property
    def device_name(self) -> str:
        return f"cuda:{self.device.id}"

    def from_numpy(self, array: np.ndarray) -> Array:
        with self.device:
            return self.xp.asarray(array)

    def to_numpy(self, array: Array) -> np.ndarray:
        return array.get()

    def synchronize(self) -> None:
        self.device.synchronize()

    def memory(self) -> Memory:
        import cupy

        with self.device:
            pool = cupy.get_default_memory_pool()
            return Memory(pool.used_bytes(), pool.total_bytes(), self.device.mem_info[1])


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
            return _host_memory()
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
            return _host_memory()
        return Memory(stats["bytes_in_use"], stats.get("peak_bytes_in_use", 0), stats.get("bytes_limit", 0))


def _host_memory() -> Memory:
    """Resident set of this process, its peak, and the machine's memory; zeros where the system does not tell."""
    try:
        import resource

        page = os.sysconf("SC_PAGE_SIZE")
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[1]) * page
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Memory(used, peak, os.sysconf("SC_PHYS_PAGES") * page)
    except (ImportError, OSError, ValueError):
        return Memory(0, 0, 0)


# Opening the built-in libraries.


def _absent(device: str | None, *choices: str) -> DeviceError:
    return DeviceError("get_backend", "the device is one of " + ", ".join(choices), device=device)


def _open_numpy(device: str | None) -> Backend:
    if device not in (None, "cpu"):
        raise DeviceError(
            "get_backend", "numpy runs on device cpu", "use --backend cupy, torch or jax for a GPU", device=device
        )
    return _NumPy("numpy", np, "cpu")


def _open_cupy(device: str | None) -> Backend:
    import array_api_compat.cupy as xp
    import cupy

    if not cupy.is_available():
        raise DeviceError(
            "get_backend",
            "cupy needs a CUDA GPU and its driver, and finds none",
            "see whether nvidia-smi lists one, or use --device cpu",
            device=device or "cuda",
        )
    count = cupy.cuda.runtime.getDeviceCount()
    index = (device or "0").removeprefix("cuda").removeprefix(":") or "0"
    if not index.isdecimal() or int(index) >= count:
        raise _absent(device, *(f"cuda:{i}" for i in range(count)))
    return _CuPy("cupy", xp, cupy.cuda.Device(int(index)))


def _open_torch(device: str | None) -> Backend:
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


def _open_jax(device: str | None) -> Backend:
    import jax

    jax.config.update(
        "jax_enable_x64", True
    )  # an op keeps the dtype it is given; without this jax makes float64 float32
    platform, _, index = (device or jax.default_backend()).partition(":")
    try:
        places = jax.devices("gpu" if platform == "cuda" else platform)
        return _Jax("jax", jax.numpy, places[int(index or 0)])
    except (RuntimeError, IndexError, ValueError):
        found = [f"{d.platform}:{d.id}" for d in jax.devices()]
        raise _absent(device, *found) from None


class _Entry(NamedTuple):
    open: Callable[[str | None], Backend]
    package: str
    install: str


_REGISTRY: dict[str, _Entry] = {
    "numpy": _Entry(_open_numpy, "numpy", "pip install numpy"),
    "cupy": _Entry(_open_cupy, "cupy", "pip install 'xpnet[cuda13]' (or cuda12, to match the driver)"),
    "torch": _Entry(_open_torch, "torch", "pip install 'xpnet[torch]'"),
    "jax": _Entry(_open_jax, "jax", "pip install 'xpnet[jax]'"),
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
    _REGISTRY[name] = _Entry(open, package or name, install)
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
    entry = _REGISTRY.get(name)
    if entry is None:
        raise ConfigError(
            "get_backend", "no such backend", nearest(name, {*_REGISTRY, "cpu", "cuda"}), backend=repr(spec)
        )
    try:
        backend = entry.open(device or None)
    except ImportError as error:
        why = "is not installed" if importlib.util.find_spec(_module(name)) is None else f"does not import ({error})"
        raise DeviceError(
            "get_backend", f"{spec} needs {name}, which {why}", entry.install, backend=repr(spec)
        ) from error
    kind = type(backend.xp.empty(0, device=backend.device))
    _NAMESPACE[kind], _FAMILY[kind] = backend.xp, name
    return _OPENED.setdefault(backend.spec, backend)  # "cuda" and "cupy:0" are one object


def _module(name: str) -> str:
    return name.replace("-", "_")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of any backend's library says that the device, or the host, has no memory left."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "RESOURCE_EXHAUSTED" in str(error)
    )


# Finding the namespace of an array, by its type.

_OPENED: dict[str, Backend] = {}
_NAMESPACE: dict[type, Any] = {np.ndarray: np}
_FAMILY: dict[type, str] = {np.ndarray: "numpy"}


def namespace(x: Array, *others: Array | None) -> Any:
    """Return the Array API namespace of arrays that must share one; None is passed over.

    Raises:
        DTypeError: x is not an array.
        DeviceError: the arrays belong to different libraries.
    Cost: under 0.2 us for one array: a dictionary by type.
    """
    kind = type(x)
    for other in others:
        if other is not None and type(other) is not kind and namespace(other) is not namespace(x):
            raise DeviceError(
                "namespace",
                "arrays of one op live on one backend",
                "move one with Module.to or Backend.from_numpy",
                found=", ".join(_family(a) for a in (x, *others) if a is not None),
            )
    try:
        return _NAMESPACE[kind]
    except KeyError:
        return _learn(x)


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


def _family(x: Array) -> str:
    namespace(x)
    return _FAMILY[type(x)]


def backend_of(x: Array) -> Backend:
    """Return the backend an array lives on."""
    name = _family(x)
    if name == "numpy":
        return _open("numpy")
    device = x.device
    if name == "cupy":
        device = device.id
    elif name == "jax":
        device = f"{device.platform}:{device.id}"
    return _open(f"{name}:{_device_label(device)}")


def _device_label(device: Any) -> str:
    """The name within a device's printed form: array-api-strict prints Device('device1')."""
    text = str(device)
    return text.split("'")[1] if text.count("'") == 2 else text


def add_at(x: Array, index: Any, value: Array) -> Array:
    """Add to a slice of an array that the caller owns, and return the result: x itself where it can be written.

    Args:
        x: the array; not to be used afterwards, only what is returned.
        index: integers and slices with positive steps, one an axis.
        value: shaped like x[index].
    """
    if _FAMILY.get(type(x)) == "jax":
        return x.at[index].add(value)
    x[index] += value
    return x


def set_at(x: Array, index: Any, value: Array) -> Array:
    """Write a slice of an array that the caller owns, and return the result, as add_at does."""
    if _FAMILY.get(type(x)) == "jax":
        return x.at[index].set(value)
    x[index] = value
    return x


# The default, and what there is.

_CURRENT: contextvars.ContextVar[Backend | None] = contextvars.ContextVar("xpnet_backend", default=None)


def current_backend() -> Backend:
    """Return the backend that new models live on: NumPy, unless within use_backend."""
    return _CURRENT.get() or _open("numpy")


@contextlib.contextmanager
def use_backend(spec: str | Backend) -> Iterator[Backend]:
    """Make a backend the default within a with-block, for this thread and task only.

    with use_backend("torch"):
        model = lenet5((28, 28, 1), 10)     # its arrays are torch's
    """
    backend = get_backend(spec)
    token = _CURRENT.set(backend)
    try:
        yield backend
    finally:
        _CURRENT.reset(token)


@dataclass(frozen=True)
class BackendInfo:
    """What ``xpnet devices`` says of one backend; version is empty when it is not installed."""

    name: str
    version: str
    devices: list[str]
    problem: str
    install: str


def describe_backends() -> list[BackendInfo]:
    """List every registered backend: version, devices, and for the absent ones why and the command that installs them.

    Cost: imports each installed library.
    """
    found = []
    for name, entry in _REGISTRY.items():
        version, devices, problem = "", [], ""
        try:
            backend = _open(name)
            version = str(getattr(backend.xp, "__version__", "")) or _version(entry.package)
            devices = _devices(name, backend)
        except (DeviceError, ConfigError) as error:
            problem = error.rule
            version = str(getattr(importlib.import_module(name), "__version__", "")) if _importable(name) else ""
        found.append(BackendInfo(name, version, devices, problem, entry.install))
    return found


def _importable(name: str) -> bool:
    return importlib.util.find_spec(_module(name)) is not None


def _version(package: str) -> str:
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
    return [_device_label(d) for d in info().devices() if d is not None] if info else [_device_label(backend.device)]
