"""CuPy: NumPy's functions on CUDA GPUs, and the recording of their work as CUDA graphs."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np

from xpnet.backend.base import Array, Backend, Memory, Recorder
from xpnet.backend.faults import is_out_of_memory
from xpnet.backend.ring import CuPyCopier, Ring
from xpnet.errors import DeviceError

__all__ = ["CuPy", "open_cupy"]

T = TypeVar("T")

_recording: contextvars.ContextVar[bool] = contextvars.ContextVar("xpnet_recording_cuda", default=False)
_recorders: weakref.WeakSet[CuPyRecorder] = weakref.WeakSet()
_local = threading.local()  # the streams for recording
_most_held: dict[int, int] = {}  # bytes of device memory, by device


class CuPy(Backend):
    """CuPy on one GPU."""

    @property
    def device_name(self) -> str:
        return f"cuda:{self.device.id}"

    @property
    def precisions(self) -> tuple[str, ...]:
        """Tensor cores multiply float16 from compute capability 7.0 on, and TF32 from 8.0 on."""
        capability = int(self.device.compute_capability)
        return ("fp32", *(["tf32"] if capability >= 80 else []), *(["fp16"] if capability >= 70 else []))

    def __hash__(self) -> int:
        return hash((self.name, self.device.id))  # CuPy's devices have no hash

    def from_numpy(self, array: np.ndarray) -> Array:
        if _recording.get():  # the copy would be repeated from memory that holds something else by then
            raise DeviceError("from_numpy", "a step that is recorded copies nothing from the host", shape=array.shape)
        with self.device:
            return self.xp.asarray(array)

    def to_numpy(self, array: Array) -> np.ndarray:
        return array.get()

    def synchronize(self) -> None:
        self.device.synchronize()

    def active(self) -> AbstractContextManager[Any]:
        return self.device

    def memory(self) -> Memory:
        """Report what CuPy's pool and the recorders' own pools hold of the device.

        A pool keeps what it was given, so ``peak`` is an upper bound of the peak of use: what is free within the pools
        counts. ``used`` counts a recorder's pool whole, as its replays use all of it. ``total`` leaves out what other
        processes have.
        """
        import cupy

        with self.device:
            pool, own = cupy.get_default_memory_pool(), _recorded_bytes(self.device.id)
            held = _note_held(self.device.id)
            return Memory(pool.used_bytes() + own, _most_held[self.device.id], self.device.mem_info[0] + held)

    def recorder(self) -> Recorder:
        return CuPyRecorder(self.device)

    def ring(self, parts: Sequence[tuple[tuple[int, ...], Any]], slots: int = 3) -> Ring:
        return Ring(CuPyCopier(self.device), parts, slots)


class CuPyRecorder:
    """Records the work of one CUDA graph, which lives in a memory pool of its own; see Recorder.

    The graph writes to the pool's memory whenever it is replayed, also to what Python has given back by then, so
    nothing else may ever be given memory from this pool.
    """

    def __init__(self, device: Any) -> None:
        import cupy

        self._cuda, self._device = cupy.cuda, device
        self._pinned = cupy.get_default_pinned_memory_pool()
        self._source = _Source(cupy.cuda)
        self.pool = cupy.cuda.MemoryPool(self._source)
        self.device_id: int = device.id
        self._stream = _own_stream(cupy.cuda, device)
        _recorders.add(self)
        weakref.finalize(self, _give_back, self.pool, device).atexit = False

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
        """Record work as a graph; a replay launches it on the current stream, where it keeps its place in the queue."""
        with self.warm(), self._strict():
            self._stream.begin_capture()
            try:
                result = work()
            except BaseException:
                with contextlib.suppress(Exception):  # the capture is over either way
                    self._stream.end_capture()
                raise
            graph = self._stream.end_capture()
        _note_held(self.device_id)
        kept = (self, result)  # the graph's memory; the result's is given back first

        def replay() -> None:
            graph.launch()
            _ = kept

        return result, replay

    @contextlib.contextmanager
    def _strict(self) -> Iterator[None]:
        """No collection of cycles, whose finalizers may free memory and events; no copies from the host."""
        collecting, token = gc.isenabled(), _recording.set(True)
        gc.disable()
        self._source.recording = True
        pinned = self._pinned.malloc
        self._cuda.set_pinned_memory_allocator(lambda size: _on_the_way(size) or pinned(size))
        try:
            yield
        finally:
            self._cuda.set_pinned_memory_allocator(pinned)
            self._source.recording = False
            _recording.reset(token)
            if collecting:
                gc.enable()


class _Source:
    """Where a recorder's pool gets its memory.

    When there is no more, a pool gives back what is free in it and tries again. What is free while work is recorded
    belongs to the graph nevertheless, so then it is told nothing that it could try again after.
    """

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self.recording = False

    def __call__(self, size: int) -> Any:
        try:
            return self._cuda.MemoryPointer(self._cuda.Memory(size), 0)
        except Exception as error:
            if self.recording and is_out_of_memory(error):
                raise MemoryError(f"{size} bytes for a recorded step") from error
            raise


def _give_back(pool: Any, device: Any) -> None:
    """Give the memory of a pool that nothing works in any more back to the device; CuPy's, when dropped, do not."""
    with device:
        pool.free_all_blocks()


def _own_stream(cuda: Any, device: Any) -> Any:
    """This thread's stream for recording on a device: one for all recorders, as libraries keep a workspace a stream."""
    streams = _local.__dict__.setdefault("streams", {})
    if device.id not in streams:
        with device:
            streams[device.id] = cuda.Stream(non_blocking=True)
    return streams[device.id]


def _on_the_way(size: int) -> None:
    """Refuse pinned memory to the thread that records, through which CuPy copies from the host, often unasked.

    Joining more than eight arrays does so, for one. A replay would copy what lies in that memory by then.
    """
    if _recording.get():
        raise DeviceError("recorder", "a step that is recorded copies nothing from the host", bytes=size)


def _recorded_bytes(device: int) -> int:
    return sum(r.pool.total_bytes() for r in list(_recorders) if r.device_id == device)


def _note_held(device: int) -> int:
    """Return the bytes that all pools hold of the current device, and remember the most there ever was."""
    import cupy

    held = cupy.get_default_memory_pool().total_bytes() + _recorded_bytes(device)
    _most_held[device] = max(held, _most_held.get(device, 0))
    return held


def open_cupy(device: str | None) -> Backend:
    """Open CuPy on "cuda" or "cuda:N"; DeviceError without a GPU, and where a part of CUDA is missing."""
    import array_api_compat.cupy as xp
    import cupy

    if not cupy.is_available():
        raise _unavailable(cupy.cuda.runtime, device)
    count = cupy.cuda.runtime.getDeviceCount()
    index = (device or "0").removeprefix("cuda").removeprefix(":") or "0"
    if not index.isdecimal() or int(index) >= count:
        places = ", ".join(f"cuda:{i}" for i in range(count))
        raise DeviceError("get_backend", f"the device is one of {places}", device=device)
    place = cupy.cuda.Device(int(index))
    _try_out(xp, place)
    return CuPy("cupy", xp, place)


def _unavailable(runtime: Any, device: str | None) -> DeviceError:
    """Say why CuPy finds no GPU: a driver older than its CUDA, or none at all."""
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
                "the NVIDIA driver knows the CUDA that cupy was built for",
                "update the driver" + (", or pip install 'xpnet[cuda12]' in place of cuda13" if older else ""),
                driver=f"for CUDA {driver}",
                cupy=f"for CUDA {needed}",
            )
    return DeviceError(
        "get_backend",
        "cupy needs a CUDA GPU and its driver, and finds none",
        "see whether nvidia-smi lists one, or use --device cpu",
        device=device or "cuda",
        reason=reason,
    )


def _version(ask: Callable[[], int]) -> str:
    """A version of CUDA, such as 13.0, which it gives as 13000."""
    try:
        number = ask()
    except Exception:
        return "unknown"
    return f"{number // 1000}.{number % 1000 // 10}"


def _try_out(xp: Any, place: Any) -> None:
    """Compile a kernel and multiply two matrices: a missing part of CUDA is missed here, not in mid-training."""
    try:
        with place:
            x = xp.ones((2, 2), dtype=xp.float32)
            ((x + x) @ x).get()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        if is_out_of_memory(error):
            raise DeviceError(
                "get_backend",
                "the GPU has free memory",
                "see with nvidia-smi what else runs on it, or use another with --device cuda:N",
                device=f"cuda:{place.id}",
            ) from error
        raise DeviceError(
            "get_backend",
            "cupy finds all parts of CUDA and can use the GPU",
            "pip install 'xpnet[cuda13]' (or cuda12, to match the driver)",
            device=f"cuda:{place.id}",
            reason=reason,
        ) from error
