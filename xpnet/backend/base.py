"""What a backend is: one array library on one device."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from xpnet.backend.staging import StagingBuffers

__all__ = ["Array", "Backend", "Memory", "Recorder", "device_label", "host_memory"]

T = TypeVar("T")

Array = Any  # an array of whichever namespace: the standard defines no common class


class Memory(NamedTuple):
    """Bytes of a device's memory, or of the host's for devices that compute there; 0 is not known.

    Args:
        used: what this process uses now.
        peak: the most that it used; where the library does not count that, the most that it held, which is not less.
        total: all that it could have.
    """

    used: int
    peak: int
    total: int


class Recorder(Protocol):
    """Writes down the work that is queued on a device, to queue it again without the host's help.

    with recorder.warm():
        work()                          # a few times: kernels are compiled, plans are made
    result, replay = recorder.record(work)
    replay()                            # result's arrays are filled anew, in place

    A recorder is of one recording, and has memory of its own, which is freed when neither it nor the replay is held.
    What it runs keeps its place in the queue: after the work queued before, and before the work queued next.
    """

    def warm(self) -> AbstractContextManager[None]:
        """Queue work, within a with-block, where it will be recorded: on a stream and from memory of its own."""
        ...

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        """Record what work queues, without doing it, and return what it returned and a function that does it.

        Raises:
            Whatever the library raises where work waits for the device or does what cannot be recorded; the device is
            then as before.
        """
        ...


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
        return device_label(self.device)

    @property
    def spec(self) -> str:
        """The string that get_backend opens this backend with, such as "torch:cuda:0"."""
        return f"{self.name}:{self.device_name}"

    @property
    def precisions(self) -> tuple[str, ...]:
        """In which of PRECISIONS this backend computes: "fp32", and "fp16" where its library has such numbers."""
        return ("fp32", "fp16") if hasattr(self.xp, "float16") else ("fp32",)

    @property
    def splits(self) -> bool:
        """Whether a thread computes what it asks for, and without Python's lock: then threads can share a step."""
        return False

    @property
    def replays(self) -> bool:
        """Whether its arrays are the host's own, so that a Program can note work on them and do it again."""
        return False

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
        return host_memory()

    def active(self) -> AbstractContextManager[Any]:
        """Make this device the one that work goes to within a with-block, in libraries that have a current device.

        Array functions follow their arrays, but kernels and new memory go to the current device; Trainer and
        use_backend enter this for you.
        """
        return nullcontext()

    def recorder(self) -> Recorder | None:
        """Return what records a step on this device, or None where work cannot be recorded."""
        return None

    def staging_buffers(self, parts: Sequence[tuple[tuple[int, ...], Any]], slots: int = 3) -> StagingBuffers | None:
        """Return buffers that copy arrays to this device while it works, or None where only from_numpy does.

        Args:
            parts: shape and dtype of each array of a slot, (B, ...).
            slots: how many, >= 2.
        """
        return None


def host_memory() -> Memory:
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


def device_label(device: Any) -> str:
    """The name within a device's printed form: array-api-strict prints Device('device1')."""
    text = str(device)
    return text.split("'")[1] if text.count("'") == 2 else text
