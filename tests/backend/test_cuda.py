"""CuPy's backend against a stand-in for CuPy that logs the calls it receives: no GPU is needed, nor CuPy."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import sys
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from tests.harness import raises
from xpnet.backend import cuda, describe_backends, get_backend
from xpnet.backend import registry as backends
from xpnet.errors import DeviceError


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class Stream:
    def __init__(self, cupy, name="default", non_blocking=True):
        self.cupy, self.name = cupy, name
        self.capturing = False
        self.on_end = None

    def __enter__(self):
        self.cupy.streams.append(self)
        return self

    def __exit__(self, *_):
        self.cupy.streams.pop()

    def record(self, event):
        event.of = self.name
        self.cupy.log.append(f"{self.name} records")
        return event

    def wait_event(self, event):
        self.cupy.log.append(f"{self.name} waits for {event.of}")

    def begin_capture(self):
        self.capturing = True
        self.cupy.log.append("begin")

    def end_capture(self):
        self.capturing = False
        self.cupy.log.append("end")
        if self.on_end:
            raise self.on_end
        return SimpleNamespace(launch=lambda: self.cupy.log.append(f"launch on {self.cupy.streams[-1].name}"))


class Pool:
    def __init__(self, source=None):
        self.source, self.held, self.used = source, 0, 0
        self.freed = []

    def malloc(self, size):
        self.held += size
        return self.source(size)

    def free_all_blocks(self):
        self.freed.append(self.held)

    def total_bytes(self):
        return self.held

    def used_bytes(self):
        return self.used


class Device:
    compute_capability = "90"
    mem_info = (700, 1000)

    def __init__(self, cupy, number):
        self.cupy, self.id = cupy, number

    def __enter__(self):
        self.cupy.devices.append(self.id)

    def __exit__(self, *_):
        self.cupy.devices.pop()

    def __eq__(self, other):
        return self.id == other.id

    __hash__ = None  # as CuPy's


class CuPy:
    """The parts of the module cupy that the backend uses."""

    def __init__(self, count=2):
        self.log, self.devices, self.streams, self.allocators = [], [0], [], []
        self.streams.append(Stream(self))
        self.pool, self.error = Pool(), None
        runtime = SimpleNamespace(
            getDeviceCount=self._count,
            driverGetVersion=lambda: 12040,
            runtimeGetVersion=lambda: 13000,
            getDeviceProperties=lambda i: {
                "name": b"NVIDIA H100 80GB HBM3" if i else b"NVIDIA A2",
                "totalGlobalMem": 85 * 10**9 if i else 16 * 10**9,
                "major": 9 if i else 8,
                "minor": 0 if i else 6,
            },
        )
        self.count, self.allocated = count, []
        self.cuda = SimpleNamespace(
            runtime=runtime,
            Device=lambda number: Device(self, number),
            Stream=lambda non_blocking: Stream(self, "own", non_blocking),
            Event=lambda disable_timing: SimpleNamespace(of=None),
            MemoryPool=Pool,
            Memory=self._memory,
            MemoryPointer=lambda memory, offset: memory,
            get_current_stream=lambda: self.streams[-1],
            using_allocator=self._using,
            set_pinned_memory_allocator=self._set_pinned,
        )
        self.pinned_pool = Pool(lambda size: ("pinned", size))
        self._set_pinned(self.pinned_pool.malloc)

    def _count(self):
        if self.error:
            raise self.error
        return self.count

    def is_available(self):
        return self.error is None and self.count > 0

    def get_default_memory_pool(self):
        return self.pool

    def get_default_pinned_memory_pool(self):
        return self.pinned_pool

    def _set_pinned(self, allocator):
        self.pinned = allocator

    def _memory(self, size):
        if self.error:
            raise self.error
        return ("memory", size)

    @contextlib.contextmanager
    def _using(self, allocator):
        self.allocators.append(allocator)
        yield
        self.allocators.pop()


class Namespace:
    """array_api_compat.cupy: NumPy, but its arrays know which device was current."""

    float32, __name__, __version__ = np.float32, "cupy", "14"

    def __init__(self, cupy):
        self.cupy, self.fault = cupy, None

    def asarray(self, array):
        return SimpleNamespace(device=self.cupy.devices[-1], shape=array.shape)

    def empty(self, shape, device=None):
        return SimpleNamespace(device=device)

    def ones(self, shape, dtype):
        if self.fault:
            raise self.fault
        return np.ones(shape, dtype).view(type("A", (np.ndarray,), {"get": lambda self: np.asarray(self)}))


@pytest.fixture
def cupy(monkeypatch):
    fake = CuPy()
    fake.xp = Namespace(fake)
    compat = SimpleNamespace(cupy=fake.xp)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setitem(sys.modules, "array_api_compat", compat)
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", fake.xp)
    monkeypatch.setattr(cuda, "_peak_bytes", {})
    monkeypatch.setattr(cuda, "_local", threading.local())
    monkeypatch.setattr(cuda, "_recorders", weakref.WeakSet())
    monkeypatch.setattr(backends, "_opened", {})
    monkeypatch.setattr(backends, "_libraries", dict(backends._libraries))
    monkeypatch.setattr(backends, "CHECKED", set())
    return fake


# Recording.


def test_recorded_work_comes_after_what_was_queued_before_and_before_what_is_queued_next(cupy):
    recorder = get_backend("cuda").recorder()
    result, replay = recorder.record(lambda: cupy.log.append(f"work on {cupy.streams[-1].name}") or "result")
    assert result == "result"
    assert cupy.log == [
        "default records", "own waits for default", "begin", "work on own", "end", "own records",
        "default waits for own",
    ]  # fmt: skip
    cupy.log.clear()
    replay()
    replay()
    assert cupy.log == ["launch on default"] * 2


def test_warm_work_is_queued_on_the_recorders_stream_from_its_own_pool(cupy):
    recorder = get_backend("cuda").recorder()
    with recorder.warm():
        assert cupy.streams[-1].name == "own"
        assert cupy.allocators == [recorder.pool.malloc]
    assert (len(cupy.streams), cupy.allocators) == (1, [])
    assert cupy.log == ["default records", "own waits for default", "own records", "default waits for own"]


def test_recorders_of_a_thread_share_a_stream_and_not_a_pool(cupy):
    backend = get_backend("cuda")
    first, second = backend.recorder(), backend.recorder()
    assert first._stream is second._stream
    assert first.pool is not second.pool
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(backend.recorder()))
    thread.start()
    thread.join()
    assert elsewhere[0]._stream is not first._stream


@pytest.mark.parametrize("end", [None, CUDARuntimeError("cudaErrorStreamCaptureInvalidated")], ids=["valid", "invalid"])
def test_work_that_cannot_be_recorded_ends_the_capture_and_its_error_is_raised(cupy, end):
    recorder = get_backend("cuda").recorder()
    recorder._stream.on_end = end
    with pytest.raises(ZeroDivisionError):
        recorder.record(lambda: 1 / 0)
    assert cupy.log[-3:] == ["end", "own records", "default waits for own"]
    assert not recorder._stream.capturing
    assert gc.isenabled()
    get_backend("cuda").from_numpy(np.zeros(3))


def test_a_capture_that_is_invalid_at_its_end_is_an_error(cupy):
    recorder = get_backend("cuda").recorder()
    recorder._stream.on_end = CUDARuntimeError("cudaErrorStreamCaptureInvalidated")
    with pytest.raises(CUDARuntimeError, match="Invalidated"):
        recorder.record(lambda: None)
    assert gc.isenabled()


def test_nothing_is_collected_and_nothing_comes_from_the_host_while_work_is_recorded(cupy):
    backend = get_backend("cuda")

    def work():
        assert not gc.isenabled()
        with raises(DeviceError, "from_numpy", "(3,)"):
            backend.from_numpy(np.zeros(3))

    backend.recorder().record(work)
    assert gc.isenabled()


def test_an_implicit_copy_from_the_host_is_refused_while_work_is_recorded(cupy):
    recorder = get_backend("cuda").recorder()
    elsewhere = []

    def work():
        thread = threading.Thread(target=lambda: elsewhere.append(cupy.pinned(8)))  # such as the feed's
        thread.start()
        thread.join()
        cupy.pinned(72)

    with raises(DeviceError, "recorder", "72"):
        recorder.record(work)
    assert elsewhere == [("pinned", 8)]
    assert cupy.pinned(16) == ("pinned", 16)


def test_a_pool_that_runs_out_while_recording_is_not_given_a_second_try(cupy):
    recorder = get_backend("cuda").recorder()

    def allocate():
        cupy.error = CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        recorder.pool.malloc(512)

    with pytest.raises(MemoryError):
        recorder.record(allocate)
    with pytest.raises(CUDARuntimeError), recorder.warm():  # at which the pool frees its blocks and tries again
        allocate()


def test_memory_counts_the_recorders_pools_and_remembers_the_peak(cupy):
    backend = get_backend("cuda")
    cupy.pool.held, cupy.pool.used = 200, 150
    recorder = backend.recorder()
    allocate = recorder.pool.malloc
    _, replay = recorder.record(lambda: allocate(64))
    assert backend.memory() == (150 + 64, 200 + 64, 700 + 200 + 64)
    del recorder
    gc.collect()
    assert backend.memory().used == 150 + 64  # the replay needs the pool
    del replay
    gc.collect()
    assert backend.memory() == (150, 200 + 64, 700 + 200)


def test_a_pool_gives_its_memory_back_when_neither_its_recorder_nor_the_replay_is_held(cupy):
    recorder = get_backend("cuda").recorder()
    pool, allocate = recorder.pool, recorder.pool.malloc
    _, replay = recorder.record(lambda: allocate(64))
    del recorder
    gc.collect()
    assert pool.freed == []
    replay()
    del replay
    gc.collect()
    assert pool.freed == [64]


def test_what_was_recorded_gives_its_memory_back_to_the_pool_before_the_pool_gives_it_to_the_device(cupy):
    recorder = get_backend("cuda").recorder()
    order, pool = [], recorder.pool
    pool.free_all_blocks = lambda: order.append("pool")

    class Result:
        def __del__(self):
            order.append("result")

    replay = recorder.record(Result)[1]
    del recorder
    replay()
    del replay
    gc.collect()
    assert order == ["result", "pool"]


# Devices.


def test_the_second_gpu_is_made_current_for_copies_and_within_active(cupy):
    backend = get_backend("cuda:1")
    assert backend.spec == "cupy:cuda:1"
    assert backend.from_numpy(np.zeros(2)).device == 1
    with backend.active():
        assert cupy.devices == [0, 1]
    with backends.use_backend("cuda:1"):
        assert cupy.devices == [0, 1]
    assert cupy.devices == [0]
    with raises(DeviceError, "get_backend", "cuda:0, cuda:1", "device 2"):
        get_backend("cuda:2")


def test_a_backend_may_be_looked_up_though_cupys_devices_have_no_hash(cupy):
    assert {get_backend("cuda:1"): 1, get_backend("cuda"): 0}[get_backend("cupy:1")] == 1


def test_a_backend_is_pickled_and_copied_as_its_spec_though_cupys_devices_are_not(cupy):
    backend = get_backend("cuda:1")
    assert pickle.loads(pickle.dumps(backend)) is backend
    assert copy.deepcopy([backend])[0] is backend


def test_devices_lists_each_gpu_with_its_name_its_memory_and_what_it_can(cupy, capsys, monkeypatch):
    from xpnet.cli.devices import devices

    monkeypatch.setenv("COLUMNS", "140")
    found = next(info for info in describe_backends() if info.name == "cupy")
    assert found.devices == ["cuda:0", "cuda:1"]
    assert found.hardware[1] == "NVIDIA H100 80GB HBM3, 79 GiB, compute capability 9.0"
    devices(as_json=True)
    printed = capsys.readouterr()
    assert "cuda:0  NVIDIA A2, 15 GiB, compute capability 8.6 " in printed.err
    assert "NVIDIA H100 80GB HBM3" in printed.out


@pytest.mark.parametrize(("capability", "names"), [("61", "fp32"), ("75", "fp32 fp16"), ("80", "fp32 tf32 fp16")])
def test_precisions_follow_from_the_tensor_cores(cupy, monkeypatch, capability, names):
    monkeypatch.setattr(Device, "compute_capability", capability)
    assert " ".join(get_backend("cuda").precisions) == names


def test_without_a_gpu_the_error_says_what_the_driver_said(cupy):
    cupy.error = CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    with raises(DeviceError, "get_backend", "cuda", "cudaErrorNoDevice", "nvidia-smi", "--device cpu"):
        get_backend("cuda")


def test_without_any_driver_there_is_nothing_to_update(cupy, monkeypatch):
    cupy.error = CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
    monkeypatch.setattr(cupy.cuda.runtime, "driverGetVersion", lambda: 0)
    with raises(DeviceError, "get_backend", "a CUDA GPU and its driver", "cudaErrorInsufficientDriver", "--device cpu"):
        get_backend("cuda")


def test_a_driver_older_than_cupy_is_an_error_that_names_both_and_what_to_install(cupy):
    cupy.error = CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
    with raises(DeviceError, "get_backend", "CUDA 13.0", "CUDA 12.4", "xpnet[cuda12]"):
        get_backend("cuda")


@pytest.mark.parametrize(
    "fault",
    [
        ImportError("libcublas.so.13: cannot open shared object file"),
        RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: libnvrtc.so.13: cannot open shared object file"),
    ],
    ids=["cublas", "nvrtc"],
)
def test_a_missing_library_of_cuda_is_reported_when_the_backend_is_opened(cupy, fault):
    cupy.xp.fault = fault
    with raises(DeviceError, "get_backend", "cuda:0", str(fault).split(":")[0], "pip install 'xpnet[cuda13]'"):
        get_backend("cuda")


def test_a_gpu_without_free_memory_is_an_error_when_the_backend_is_opened(cupy):
    cupy.xp.fault = type("OutOfMemoryError", (RuntimeError,), {})("Out of memory allocating 512 bytes")
    with raises(DeviceError, "get_backend", "free memory", "cuda:0", "nvidia-smi"):
        get_backend("cuda")
