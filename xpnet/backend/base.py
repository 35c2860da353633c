"""What a backend is: one array library on one device."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np

from xpnet.arguments import shown
from xpnet.errors import DTypeError

if TYPE_CHECKING:
    from xpnet.backend.nccl import NCCL
    from xpnet.backend.staging import StagingBuffers

__all__ = ["Array", "Backend", "Memory", "Recorder", "host_memory"]

T = TypeVar("T")

Array = Any  # an array of whichever namespace: the standard defines no common class


class Memory(NamedTuple):
    """Bytes of a device's memory, or of the host's for devices that compute there; 0 is not known.

    Args:
        used: what this process uses now.
        peak: the most that it used or, where the library does not count that, the most that it reserved.
        total: all that it could use.
    """

    used: int
    peak: int
    total: int


class Recorder(Protocol):
    """Records the work of one function, and runs it again without the Python code that led to it.

        with recorder.warm():
            work()                          # warm_calls times: kernels are compiled, plans are made
        result, replay = recorder.record(work)
        replay()                            # writes new values into result's arrays

    A recorder serves one recording. Its memory is freed when neither it nor the replay is referenced. On a device,
    recorded work keeps its order: it runs after the work queued before it, and before the work queued next.
    """

    @property
    def is_device(self) -> bool:
        """Whether record queues work for a device without running it; on the host, record runs it."""
        ...

    @property
    def warm_calls(self) -> int:
        """How many calls of a function come before its first recording."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that the recording holds."""
        ...

    def warm(self) -> AbstractContextManager[None]:
        """Queue work within a with-block as it will be recorded: on the recorder's stream, from its memory."""
        ...

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        """Record what work launches or queues; return its result and the function that runs it again.

        Raises:
            Unsupported: on the host, work calls code that cannot be recorded. On a device, the library's own error
            where work waits for the device or cannot be recorded; the device is then unchanged.
        """
        ...


@dataclass(frozen=True)
class Backend:
    """One array library on one device; get it from get_backend.

    A subclass says how a library differs from the standard, in attributes and methods: no other code asks for a
    backend's name. Two backends are equal when name and device are. A backend is pickled as its spec.

    Args:
        name: the name it is registered under, such as "torch".
        xp: its Array API namespace.
        device: what the namespace takes as ``device=``.
    """

    name: str
    xp: Any
    device: Any

    on_host: ClassVar[bool] = False  # its arrays are NumPy's: nothing is copied between this process and a device
    splits: ClassVar[bool] = False  # a call computes in its own thread, without Python's lock: threads may share a step
    kernels: ClassVar[
        tuple[str, ...]
    ] = ()  # folders of xpnet/kernels that serve its arrays, in the order they are tried
    checks: ClassVar[bool] = False  # each op calls ``check``
    writable: ClassVar[bool] = True  # its arrays can be written in place; if not, it defines add_at and set_at

    @property
    def device_name(self) -> str:
        """The device as get_backend spells it after the colon, such as "cuda:0"."""
        return self.label(self.device)

    @property
    def spec(self) -> str:
        """The string that get_backend opens this backend with, such as "torch:cuda:0"."""
        return f"{self.name}:{self.device_name}"

    @property
    def precisions(self) -> tuple[str, ...]:
        """In which of PRECISIONS this backend computes: "fp32", and "fp16" where its library has such numbers."""
        return ("fp32", "fp16") if hasattr(self.xp, "float16") else ("fp32",)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a backend that no name opens by its namespace's name; one that get_backend opened is by its spec."""
        return _of_namespace, (type(self), self.name, self.xp.__name__, self.device)

    def __repr__(self) -> str:
        return f"<xpnet backend {self.spec}>"

    def label(self, device: Any) -> str:
        """Return how get_backend spells one of the library's devices: array-api-strict prints Device('device1')."""
        text = str(device)
        return text.split("'")[1] if text.count("'") == 2 else text

    def devices(self) -> dict[str, str]:
        """Return the label of each device of the library, and a description of its hardware, "" where unknown."""
        info = getattr(self.xp, "__array_namespace_info__", None)
        devices = [d for d in info().devices() if d is not None] if info else [self.device]
        return {self.label(device): "" for device in devices}

    def has_devices(self) -> bool:
        """Whether the library may have arrays on other devices, so that each op must compare the devices of its own."""
        return len(self.devices()) > 1

    def from_numpy(self, array: np.ndarray) -> Array:
        """Copy a NumPy array to this device; dtype and shape stay, but int64 becomes int32 on a device without it.

        Raises:
            DTypeError: the device has no int64, and a number needs it; or it is no array.
        """
        if not hasattr(array, "dtype"):
            raise self._no_array("from_numpy", array)
        if array.dtype == np.int64 and self.xp.arange(0, device=self.device).dtype != self.xp.int64:
            wide, array = array, array.astype(np.int32)
            if not np.array_equal(wide, array):
                raise DTypeError(
                    "from_numpy", f"numbers that int32 holds, as {self.spec} has no int64", dtype=wide.dtype
                )
        return self.xp.asarray(array, device=self.device, copy=True)

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array of this backend to the host."""
        try:
            return np.asarray(array)
        except (TypeError, ValueError):
            raise self._no_array("to_numpy", array) from None
        except RuntimeError:  # it is on another device than the processor
            return np.from_dlpack(array, device="cpu", copy=True)

    def _no_array(self, where: str, value: Any) -> DTypeError:
        return DTypeError(where, f"an array of {self.name if where == 'to_numpy' else 'NumPy'}", array=shown(value))

    def add_at(self, x: Array, index: Any, value: Array) -> Array:
        """Add to a slice of an array, and return a new array; called where arrays are not ``writable``."""
        raise NotImplementedError(f"{self.name} defines no add_at")

    def set_at(self, x: Array, index: Any, value: Array) -> Array:
        """Set a slice of an array, and return a new array, like add_at."""
        raise NotImplementedError(f"{self.name} defines no set_at")

    def check(self, x: Array) -> None:
        """Raise where ops cannot compute with an array as the process is set up; called where ``checks`` is true."""

    def synchronize(self) -> None:
        """Wait until the device has done all its work."""

    def memory(self) -> Memory:
        """Report the memory of the device, in bytes."""
        return host_memory()

    def active(self) -> AbstractContextManager[Any]:
        """Return a context manager within which the library computes on this device, and in every dtype.

        Array functions follow their arrays, but in some libraries kernels and new memory go to a current device, or
        float64 is off by default. Trainer and use_backend enter this.
        """
        return nullcontext()

    def recorder(self) -> Recorder | None:
        """Return what records a step on this device, or None where work cannot be recorded."""
        return None

    def collectives(self) -> NCCL | None:
        """Return what exchanges arrays between the devices of several processes, or None where only the host can.

        Raises:
            DeviceError: the library that does it is missing.
        """
        return None

    def staging_buffers(self, parts: Sequence[tuple[tuple[int, ...], Any]], slots: int = 3) -> StagingBuffers | None:
        """Return buffers that copy arrays to this device while it works, or None where only from_numpy does.

        Args:
            parts: shape and dtype of each array of a slot, (B, ...).
            slots: how many, >= 2.
        """
        return None


def _of_namespace(kind: type[Backend], name: str, module: str, device: Any) -> Backend:
    return kind(name, importlib.import_module(module), device)


def host_memory() -> Memory:
    """Resident set of this process, its peak, and the machine's memory; zeros where the system gives none."""
    try:
        import resource

        page = os.sysconf("SC_PAGE_SIZE")
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[1]) * page
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Memory(used, peak, os.sysconf("SC_PHYS_PAGES") * page)
    except (ImportError, OSError, ValueError):
        return Memory(0, 0, 0)
