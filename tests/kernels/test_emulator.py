"""The emulated device's self-check: what every test of the kernels relies on it to find is done wrong here once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import emulator
import numpy as np
import pytest
from emulator import TAPE, Array, CaptureError, compiler
from emulator.array import NAMESPACE as xp

from xpnet.backend import get_backend
from xpnet.kernels.cuda import driver

PROBES = compiler.add(Path(__file__).with_name("probes.cu"))
FLOAT = np.float32

pytestmark = pytest.mark.skipif(not emulator.available(), reason="the emulator compiles kernels with g++")


@pytest.fixture(params=[False, True], ids=["ascending", "descending"])
def device(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The emulated device, in both orders of threads."""
    with driver.use_driver(emulator.EmulatedDriver(descending=request.param)) as found:
        yield found


def put(values: Any, dtype: Any = FLOAT) -> Array:
    return xp.asarray(np.array(values, dtype))


def run(name: str, *arguments: Any, n: int = 1, threads: int = 64, dtype: Any = FLOAT) -> None:
    driver.blocks(PROBES, name, dtype, n, *arguments, threads=threads)


def test_warps_shuffle_and_vote_as_cuda_says(device: Any) -> None:
    made = [driver.empty((64,), np.int64) for _ in range(4)]
    run("warps", *made)
    down, cross, eighth, ballot = (a.get() for a in made)
    me = np.arange(64)
    assert np.array_equal(down, np.where(me % 32 + 5 < 32, me + 5, me))
    assert np.array_equal(cross, me ^ 9)
    assert np.array_equal(eighth, np.where(me % 8 + 3 < 8, me + 3, me))
    assert np.array_equal(ballot, np.full(64, sum(1 << lane for lane in range(0, 32, 3))))


@pytest.mark.parametrize("dtype", [FLOAT, np.float64, np.float16], ids=["float", "double", "half"])
@pytest.mark.parametrize("threads", [32, 96, 736, 1024])
def test_block_sum_adds_every_thread_once_and_gives_all_the_sum(device: Any, threads: int, dtype: Any) -> None:
    x = np.random.default_rng(threads).integers(-8, 8, (3, threads)).astype(dtype)  # whose sums are exact
    y = driver.empty(x.shape, dtype)
    run("sums", xp.asarray(x), y, n=3, threads=threads, dtype=dtype)
    assert np.array_equal(y.get(), np.broadcast_to(x.sum(axis=1, keepdims=True, dtype=np.float64), x.shape))


def test_a_missing_barrier_shows_in_some_order_of_threads(device: Any) -> None:
    y = driver.empty((96,), FLOAT)
    run("neighbours_in_haste", put(range(96)), y, threads=96)
    missed = np.isnan(y.get())  # shared memory that was read before it was written
    assert np.array_equal(missed, (np.arange(96) > 0) == device.descending)
    run("by_a_function", put(range(64)), y)  # with barriers in a function and a macro
    assert np.array_equal(y.get()[:64], np.roll(np.arange(64), -3))


@pytest.mark.parametrize(
    ("kernel", "rule"),
    [
        ("parts_ways", "threads stand before different barriers, in block 0 of 64 threads"),
        ("waits_for_ever", "threads wait for each other for ever"),
        ("leaves_early", "a thread has ended before a shuffle of its warp"),
        ("half_a_warp", "a shuffle is of the whole warp"),
        ("goes_outside", "it writes outside of an array"),
    ],
)
def test_what_no_device_forgives_is_an_error_and_leaves_it_as_it_was(device: Any, kernel: str, rule: str) -> None:
    with pytest.raises(compiler.Failure, match=f"^{kernel}: {rule}"):
        run(kernel, driver.empty((64,), FLOAT))
    y = driver.empty((64,), FLOAT)
    run("by_a_function", put(range(64)), y)
    assert np.array_equal(y.get(), np.roll(np.arange(64), -3))


def test_memory_that_is_not_written_shows(device: Any) -> None:
    for dtype in (FLOAT, np.float64, np.float16):
        assert np.isnan(driver.empty((2, 3), dtype).get()).all()
    assert (driver.empty((4,), np.int64).get() == -1).all()
    y = driver.empty((32,), FLOAT)
    run("forgets_to_begin", y, threads=32)  # shared memory is not zero when a block begins
    assert np.isnan(y.get()).all()


@pytest.mark.parametrize(
    ("arguments", "threads", "rule"),
    [
        ((), 64, "takes 1 arguments, got 0"),
        ((1.0,), 64, "takes an array, got <class 'numpy.float64'>"),
        ((np.zeros(4, FLOAT),), 64, "takes an array, got <class 'numpy.ndarray'>"),
        ((put(np.ones((4, 4)))[:, 0],), 64, "arrays of a launch are contiguous"),
        ((None,), 48, "whole warps"),
        ((None,), 2048, "at most 1024 threads"),
    ],
    ids=["too-few", "number-for-array", "host-array", "strided", "part-of-a-warp", "too-many-threads"],
)
def test_a_launch_that_no_device_takes_is_refused(device: Any, arguments: Any, threads: int, rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        run("half_a_warp", *arguments, threads=threads)


def test_the_host_reads_an_array_only_by_what_waits_for_the_device_and_never_while_it_is_captured() -> None:
    x, host, before = put(3.0), np.ones(1, FLOAT), TAPE.reads
    for look in (np.asarray, np.sum, lambda a: np.add(host, a), lambda a: a + host, lambda a: xp.add(a, host)):
        with pytest.raises(TypeError):
            look(x)
    reads = (float, bool, lambda a: a.get())
    for read in reads:
        read(x)
    assert TAPE.reads == before + 3
    for read in (*reads, lambda a: xp.asarray(host)):
        with pytest.raises(CaptureError, match="not permitted when stream is capturing"):
            get_backend("emulator").recorder().record(lambda read=read: read(x))
    assert float(x * 3) == 9, "the stream takes work again"


def test_a_replay_computes_anew_in_place(device: Any) -> None:
    x, total, kept = put(range(64)), put(0.0), [put(1.0)]

    def work() -> Any:
        y = driver.empty((64,), FLOAT)
        run("by_a_function", x, y)
        total[...] = total + xp.sum(y[::-1] * 2.0)
        kept[0] = kept[0] * 2  # rebinding feeds nothing back
        return y

    y, replay = get_backend("emulator").recorder().record(work)
    assert float(total) == 0, "recorded, not done"
    for i in (1, 2):
        x.set(np.full(64, i, FLOAT))
        replay()
        assert (y.get()[0], float(kept[0])) == (i, 2)
    assert float(total) == 2 * 64 * (1 + 2)
