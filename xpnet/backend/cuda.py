"""CuPy: NumPy's functions on CUDA GPUs, and the recording of their work as CUDA graphs."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from xpnet.backend.base import Array, Backend, Memory, Recorder
from xpnet.backend.faults import is_out_of_memory
from xpnet.backend.nccl import NCCL
from xpnet.backend.staging import StagingBuffers, StagingDevice
from xpnet.errors import DeviceError

if TYPE_CHECKING:
    import cupy

__all__ = ["CuPy", "open_cupy"]

T = TypeVar("T")

_recording: contextvars.ContextVar[bool] = contextvars.ContextVar("xpnet_recording_cuda", default=False)
_recorders: weakref.WeakSet[CuPyRecorder] = weakref.WeakSet()
_local = threading.local()  # the streams for recording, by device
_peak_bytes: dict[int, int] = {}  # of device memory held by all pools, by device


class CuPy(Backend):
    """CuPy on one GPU."""

    device: cupy.cuda.Device
    kernels = ("cuda",)

    def label(self, device: cupy.cuda.Device) -> str:
        return f"cuda:{device.id}"

    def devices(self) -> dict[str, str]:
        """Name, memory and compute capability of each GPU that CuPy sees."""
        import cupy

        found = {}
        for i in range(cupy.cuda.runtime.getDeviceCount()):
            gpu = cupy.cuda.runtime.getDeviceProperties(i)
            size, capability = f"{gpu['totalGlobalMem'] / 2**30:.0f} GiB", f"{gpu['major']}.{gpu['minor']}"
            found[f"cuda:{i}"] = f"{gpu['name'].decode()}, {size}, compute capability {capability}"
        return found

    def has_devices(self) -> bool:
        import cupy

        return cupy.cuda.runtime.getDeviceCount() > 1

    @property
    def precisions(self) -> tuple[str, ...]:
        """Tensor cores multiply float16 from compute capability 7.0 on, and TF32 from 8.0 on."""
        capability = int(self.device.compute_capability)
        return ("fp32", *(["tf32"] if capability >= 80 else []), *(["fp16"] if capability >= 70 else []))

    def __hash__(self) -> int:
        return hash((self.name, self.device.id))  # CuPy's devices have no hash

    def from_numpy(self, array: np.ndarray) -> Array:
        if _recording.get():  # a replay would copy from memory that holds something else by then
            raise DeviceError("from_numpy", "no copy from the host while work is recorded", shape=array.shape)
        with self.device:
            return self.xp.asarray(array)

    def to_numpy(self, array: Array) -> np.ndarray:
        try:
            return array.get()
        except AttributeError:
            raise self._no_array("to_numpy", array) from None

    def synchronize(self) -> None:
        self.device.synchronize()

    def active(self) -> AbstractContextManager[Any]:
        return self.device

    def memory(self) -> Memory:
        """Report the bytes that CuPy's pool and the recorders' pools hold of the device.

        ``used`` counts a recorder's pool whole, because its replays use all of it. ``peak`` is an upper bound, because
        it counts what is free within the pools. ``total`` leaves out the memory of other processes.
        """
        import cupy

        with self.device:
            pool, recorded = cupy.get_default_memory_pool(), _recorded_bytes(self.device.id)
            held = _held_bytes(self.device.id)
            return Memory(pool.used_bytes() + recorded, _peak_bytes[self.device.id], self.device.mem_info[0] + held)

    def recorder(self) -> Recorder:
        return CuPyRecorder(self.device)

    def collectives(self) -> NCCL:
        return NCCL(self.device, str(self.device.pci_bus_id))

    def staging_buffers(self, parts: Sequence[tuple[tuple[int, ...], Any]], slots: int = 3) -> StagingBuffers:
        return StagingBuffers(StagingDevice(self.device), parts, slots)


class CuPyRecorder:
    """Records work as one CUDA graph, with a memory pool for that graph alone; see Recorder.

    A replay writes to any of the pool's memory, also to what Python freed after the recording, so no other work may
    allocate from this pool.
    """

    is_device = True
    warm_calls = 3

    def __init__(self, device: cupy.cuda.Device) -> None:
        import cupy

        self._cuda, self._device = cupy.cuda, device
        self._pinned = cupy.get_default_pinned_memory_pool()
        self._allocator = _Allocator(cupy.cuda)
        self.pool = cupy.cuda.MemoryPool(self._allocator)
        self.device_id: int = device.id
        self._stream = _recording_stream(cupy.cuda, device)
        _recorders.add(self)
        weakref.finalize(self, _free_blocks, self.pool, device).atexit = False

    @property
    def nbytes(self) -> int:
        """Bytes that the recording holds."""
        return self.pool.total_bytes()

    @contextlib.contextmanager
    def warm(self) -> Iterator[None]:
        """Queue work on the recorder's stream, from its pool; it comes after earlier work, and later work after it."""
        cuda = self._cuda
        with self._device:
            outside = cuda.get_current_stream()
            self._stream.wait_event(outside.record(cuda.Event(disable_timing=True)))
            try:
                with self._stream, cuda.using_allocator(self.pool.malloc):
                    yield
            finally:
                outside.wait_event(self._stream.record(cuda.Event(disable_timing=True)))

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        """Record work as a graph; a replay launches it on the current stream, in the order of that stream."""
        with self.warm(), self._restricted():
            self._stream.begin_capture()
            try:
                result = work()
            except BaseException:
                with contextlib.suppress(Exception):  # the capture ends even where this raises
                    self._stream.end_capture()
                raise
            graph = self._stream.end_capture()
        _held_bytes(self.device_id)
        kept = (self, result)  # the pool, and what lies in it; the result is freed before the pool is

        def replay() -> None:
            graph.launch()
            _ = kept

        return result, replay

    @contextlib.contextmanager
    def _restricted(self) -> Iterator[None]:
        """No garbage collection, whose finalizers may free memory and events; no copies from the host."""
        collecting, token = gc.isenabled(), _recording.set(True)
        gc.disable()
        self._allocator.recording = True
        pinned = self._pinned.malloc
        self._cuda.set_pinned_memory_allocator(lambda size: _refuse_pinned(size) or pinned(size))
        try:
            yield
        finally:
            self._cuda.set_pinned_memory_allocator(pinned)
            self._allocator.recording = False
            _recording.reset(token)
            if collecting:
                gc.enable()


class _Allocator:
    """Allocates device memory for a recorder's pool.

    When CUDA is out of memory, a pool frees its unused blocks and tries again. While work is recorded those blocks
    belong to the graph, so then a MemoryError is raised instead, after which CuPy's pool does not try again.
    """

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self.recording = False

    def __call__(self, size: int) -> cupy.cuda.MemoryPointer:
        try:
            return self._cuda.MemoryPointer(self._cuda.Memory(size), 0)
        except Exception as error:
            if self.recording and is_out_of_memory(error):
                raise MemoryError(f"{size} bytes for a recorded step") from error
            raise


def _free_blocks(pool: cupy.cuda.MemoryPool, device: cupy.cuda.Device) -> None:
    """Return the memory of a pool to the device; CuPy does not when the pool is dropped."""
    with device:
        pool.free_all_blocks()


def _recording_stream(cuda: Any, device: cupy.cuda.Device) -> cupy.cuda.Stream:
    """This thread's stream for recording on a device; recorders share it, as libraries keep a workspace a stream."""
    streams = _local.__dict__.setdefault("streams", {})
    if device.id not in streams:
        with device:
            streams[device.id] = cuda.Stream(non_blocking=True)
    return streams[device.id]


def _refuse_pinned(size: int) -> None:
    """Refuse pinned memory to the thread that records: CuPy copies from the host through it, often implicitly.

    Joining more than eight arrays does so, for example. A replay would copy whatever lies in that memory by then.
    """
    if _recording.get():
        raise DeviceError("recorder", "no copy from the host while work is recorded", bytes=size)


def _recorded_bytes(device: int) -> int:
    return sum(r.pool.total_bytes() for r in list(_recorders) if r.device_id == device)


def _held_bytes(device: int) -> int:
    """Return the bytes that all pools hold of the current device, and keep the peak."""
    import cupy

    held = cupy.get_default_memory_pool().total_bytes() + _recorded_bytes(device)
    _peak_bytes[device] = max(held, _peak_bytes.get(device, 0))
    return held


def open_cupy(device: str | None) -> Backend:
    """Open CuPy on "cuda" or "cuda:N"; DeviceError without a GPU, and where a library of CUDA is missing."""
    import array_api_compat.cupy as xp
    import cupy

    if not cupy.is_available():
        raise _unavailable(cupy.cuda.runtime, device)
    count = cupy.cuda.runtime.getDeviceCount()
    index = (device or "0").removeprefix("cuda").removeprefix(":") or "0"
    if not index.isdecimal() or int(index) >= count:
        choices = ", ".join(f"cuda:{i}" for i in range(count))
        raise DeviceError("get_backend", f"a device of {choices}", device=device)
    opened = cupy.cuda.Device(int(index))
    _check_libraries(xp, opened)
    return CuPy("cupy", xp, opened)


def _unavailable(runtime: Any, device: str | None) -> DeviceError:
    """Say why CuPy finds no GPU: the driver is older than its CUDA, or there is none."""
    reason = "no GPU"
    try:
        runtime.getDeviceCount()
    except Exception as error:
        reason = str(error).partition("\n")[0]
        if "InsufficientDriver" in reason and _version(runtime.driverGetVersion) != "0.0":  # 0: there is none
            driver, needed = (_version(ask) for ask in (runtime.driverGetVersion, runtime.runtimeGetVersion))
            older = driver.startswith("12.") and not needed.startswith("12.")
            return DeviceError(
                "get_backend",
                f"an NVIDIA driver for CUDA {needed}, which cupy was built for",
                "update the driver" + (", or pip install 'xpnet[cuda12]' in place of cuda13" if older else ""),
                driver=f"for CUDA {driver}",
            )
    do = "see whether nvidia-smi lists one, or use --device cpu"
    return DeviceError("get_backend", "a CUDA GPU and its driver", do, device=device or "cuda", reason=reason)


def _version(ask: Callable[[], int]) -> str:
    """A version of CUDA, such as 13.0, which CUDA gives as 13000."""
    try:
        number = ask()
    except Exception:
        return "unknown"
    return f"{number // 1000}.{number % 1000 // 10}"


def _check_libraries(xp: Any, device: cupy.cuda.Device) -> None:
    """Compile a kernel and multiply two matrices, so that a missing library of CUDA is found before training starts."""
    try:
        with device:
            x = xp.ones((2, 2), dtype=xp.float32)
            ((x + x) @ x).get()
    except Exception as error:
        name = f"cuda:{device.id}"
        if is_out_of_memory(error):
            do = "see with nvidia-smi what else runs on it, or use another with --device cuda:N"
            raise DeviceError.event("get_backend", "the GPU has no free memory", do, device=name) from error
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        do = "pip install 'xpnet[cuda13]' (or cuda12, to match the driver)"
        what = "cupy finds the GPU but not all libraries of CUDA"
        raise DeviceError.event("get_backend", what, do, device=name, reason=reason) from error
