"""The emulated device itself: it must show what a real one would not forgive.

Each check of the kernels rests on it, so each thing that it is to catch is done wrong here once.
"""

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
FLOAT, DOUBLE, HALF = np.float32, np.float64, np.float16

pytestmark = pytest.mark.skipif(not emulator.available(), reason="the emulator compiles kernels with g++")


@pytest.fixture(params=[False, True], ids=["ascending", "descending"])
def device(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The emulated device, in both orders of threads."""
    with driver.use_driver(emulator.EmulatedDriver(descending=request.param)) as found:
        yield found


@pytest.fixture
def tape() -> Iterator[Any]:
    """The stream, which no test leaves captured."""
    yield TAPE
    TAPE.open = False
    TAPE.end()


def put(values: Any, dtype: Any = FLOAT) -> Array:
    return xp.asarray(np.array(values, dtype))


def run(name: str, *arguments: Any, n: int = 1, threads: int = 64, dtype: Any = FLOAT) -> None:
    driver.blocks(PROBES, name, dtype, n, *arguments, threads=threads)


# What threads do together


def test_a_shuffle_brings_each_lane_what_cuda_says(device: Any) -> None:
    made = [driver.empty((64,), np.int64) for _ in range(5)]
    run("shuffles", *made)
    down, up, cross, third, eighth = (a.get() for a in made)
    for me in range(64):
        warp, lane = me // 32 * 32, me % 32
        assert down[me] == (me + 5 if lane + 5 < 32 else me)
        assert up[me] == (me - 5 if lane >= 5 else me)
        assert cross[me] == warp + (lane ^ 9)
        assert third[me] == warp + 3
        assert eighth[me] == (me + 3 if me % 8 + 3 < 8 else me)


@pytest.mark.parametrize("positive", [[], [0, 31, 33], range(64)], ids=["none", "some", "all"])
def test_a_vote_is_of_each_warp(device: Any, positive: Any) -> None:
    x = np.zeros(64, np.int64)
    x[list(positive)] = 1
    made = [driver.empty((64,), np.int64) for _ in range(3)]
    run("votes", put(x, np.int64), *made)
    ballot, some, every = (a.get() for a in made)
    for me in range(64):
        warp = x[me // 32 * 32 : me // 32 * 32 + 32]
        assert ballot[me] == sum(int(v) << lane for lane, v in enumerate(warp))
        assert (some[me], every[me]) == (int(warp.any()), int(warp.all()))


@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE, HALF], ids=["float", "double", "half"])
@pytest.mark.parametrize("threads", [32, 64, 96, 256, 736, 1024])
def test_block_sum_adds_every_thread_once_and_tells_all(device: Any, threads: int, dtype: Any) -> None:
    x = np.random.default_rng(threads).integers(-8, 8, (3, threads)).astype(dtype)  # whose sums are exact
    y = driver.empty(x.shape, dtype)
    run("sums", xp.asarray(x), y, n=3, threads=threads, dtype=dtype)
    assert np.array_equal(y.get(), np.broadcast_to(x.sum(axis=1, keepdims=True, dtype=DOUBLE), x.shape))


def test_the_order_of_a_block_sum_does_not_depend_on_the_order_of_threads() -> None:
    x = np.random.default_rng(0).standard_normal(1024).astype(FLOAT)
    found = []
    for descending in (False, True):
        with driver.use_driver(emulator.EmulatedDriver(descending)):
            y = driver.empty(x.shape, FLOAT)
            run("sums", xp.asarray(x), y, threads=1024)
            found.append(y.get())
    assert np.array_equal(*found)


def test_threads_that_wait_see_what_the_others_wrote(device: Any) -> None:
    x, y = put(range(96)), driver.empty((96,), FLOAT)
    run("neighbours", x, y, threads=96)
    assert np.array_equal(y.get(), np.roll(np.arange(96), 1))


def test_a_missing_barrier_shows_in_both_orders_of_threads() -> None:
    missed = []
    for descending in (False, True):
        with driver.use_driver(emulator.EmulatedDriver(descending)):
            y = driver.empty((96,), FLOAT)
            run("neighbours_in_haste", put(range(96)), y, threads=96)
            missed.append(np.isnan(y.get()))  # shared memory that was read before it was written
    assert np.array_equal(missed[0], np.arange(96) == 0)
    assert np.array_equal(missed[1], np.arange(96) > 0)


def test_threads_before_different_barriers_are_an_error(device: Any) -> None:
    rule = "^parts_ways: threads stand before different barriers, in block 0 of 64 threads$"
    with pytest.raises(compiler.Failure, match=rule):
        run("parts_ways", driver.empty((64,), FLOAT))


def test_threads_that_wait_for_ever_are_an_error(device: Any) -> None:
    with pytest.raises(compiler.Failure, match="threads wait for each other for ever"):
        run("waits_for_ever", driver.empty((64,), FLOAT))


def test_a_shuffle_after_a_thread_has_left_is_an_error(device: Any) -> None:
    x, y = put(range(32)), driver.empty((32,), FLOAT)
    run("leaves_early", x, y, 32, threads=32)
    assert y.get()[0] == sum(range(32))
    with pytest.raises(compiler.Failure, match="a thread has ended before a shuffle of its warp"):
        run("leaves_early", x, y, 31, threads=32)


def test_a_barrier_does_not_wait_for_threads_that_have_ended(device: Any) -> None:
    y = driver.empty((64,), FLOAT)
    run("leaves_before_a_barrier", y)
    assert np.array_equal(y.get()[:40], np.arange(40))
    assert np.isnan(y.get()[40:]).all()


def test_a_shuffle_of_half_a_warp_is_an_error(device: Any) -> None:
    with pytest.raises(compiler.Failure, match="a shuffle is of the whole warp"):
        run("half_a_warp", driver.empty((64,), FLOAT))


def test_shared_memory_is_not_zero_when_a_block_begins(device: Any) -> None:
    y = driver.empty((3, 32), FLOAT)
    run("forgets_to_begin", put(range(32)), y, n=3, threads=32)
    assert np.isnan(y.get()).all()


def test_a_barrier_is_found_in_functions_and_macros_that_a_kernel_uses(device: Any) -> None:
    found = compiler.kernels(PROBES)
    assert found["by_a_function"].cooperative
    assert not found["converts"].cooperative
    y = driver.empty((64,), FLOAT)
    run("by_a_function", put(range(64)), y)
    assert np.array_equal(y.get(), np.roll(np.arange(64), -3))


def test_a_failure_leaves_the_device_as_it_was(device: Any) -> None:
    y = driver.empty((96,), FLOAT)
    with pytest.raises(compiler.Failure):
        run("parts_ways", y, threads=96)
    run("neighbours", put(range(96)), y, threads=96)
    assert np.array_equal(y.get(), np.roll(np.arange(96), 1))


# Numbers


def test_every_half_becomes_its_float_and_comes_back(device: Any) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(HALF)
    y = driver.empty(every.shape, HALF)
    driver.launch(PROBES, "converts", HALF, every.size, xp.asarray(every), y, every.size)
    same = (y.get().view(np.uint16) == every.view(np.uint16)) | (np.isnan(every) & np.isnan(y.get()))
    assert same.all()


def test_sixteen_bytes_move_at_once(device: Any) -> None:
    x = put([-1, 2, -3, 4, 5, -6, 7, -8])
    y = driver.empty((8,), FLOAT)
    driver.launch(PROBES, "wide_moves", FLOAT, 8, x, y, 8)
    assert np.array_equal(y.get(), [1, 2, -3, -4, 5, -6, 7, 8])


def test_a_structure_is_passed_by_value(device: Any) -> None:
    kind = np.dtype([("at", np.uint64), ("n", np.int64), ("by", np.float32)], align=True)
    x = put([1, 2, 3])
    pair = np.zeros(1, kind)
    pair[0] = (driver.current().pointer(x), 2, 10)
    driver.launch(PROBES, "by_value", FLOAT, 2, pair)
    assert np.array_equal(x.get(), [10, 20, 3])


# Memory and launches


@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE, HALF], ids=["float", "double", "half"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3)], ids=str)
def test_memory_that_is_not_written_shows(device: Any, shape: tuple[int, ...], dtype: Any) -> None:
    made = driver.empty(shape, dtype).get()
    assert (made.shape, made.dtype) == (shape, dtype)
    assert np.isnan(made).all()
    assert (driver.empty((4,), np.int64).get() == -1).all()
    assert not driver.zeros(shape, dtype).get().any()


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ((1,), "takes 3 arguments, got 1"),
        ((1.0, 2.0, 3), "takes an array, got <class 'numpy.float64'>"),
        ((np.zeros(4, FLOAT), None, 4), "takes an array, got <class 'numpy.ndarray'>"),
        ((None, None, 4.0), "long long takes int64, got <class 'numpy.float64'>"),
        ((None, None, np.int32(4)), "long long takes int64, got <class 'numpy.int32'>"),
        ((put(np.ones((4, 4)))[:, 0], None, 4), "arrays of a launch are contiguous"),
    ],
    ids=["too-few", "number-for-array", "host-array", "float-for-count", "small-integer", "strided"],
)
def test_an_argument_that_the_kernel_does_not_take_is_refused(device: Any, arguments: Any, rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        driver.launch(PROBES, "converts", FLOAT, 4, *arguments)


@pytest.mark.parametrize(("threads", "rule"), [(48, "whole warps"), (2048, "at most 1024 threads")])
def test_a_block_that_no_device_runs_is_refused(device: Any, threads: int, rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        run("neighbours", put([1]), put([1]), threads=threads)


def test_a_kernel_that_is_not_there_is_refused(device: Any) -> None:
    with pytest.raises(AttributeError, match="host_no_such_kernel"):
        run("no_such_kernel")


def test_a_family_that_does_not_compile_says_where(device: Any, tmp_path: Path) -> None:
    file = tmp_path / "broken.cu"
    file.write_text('extern "C" __global__ void broken(T* x) {\n  undefined = 3;\n}\n')
    with pytest.raises(RuntimeError, match=r"broken\.cu:2:"):
        driver.launch(compiler.add(file), "broken", FLOAT, 1, None)


def test_a_write_outside_of_an_array_is_an_error(device: Any) -> None:
    x, y = put(range(9)), driver.empty((8,), FLOAT)
    driver.launch(PROBES, "converts", FLOAT, 8, x, y, 8)
    with pytest.raises(compiler.Failure, match="converts: it writes outside of an array"):
        driver.launch(PROBES, "converts", FLOAT, 9, x, y[:], 9)


# The wall


def test_nothing_reads_an_array_without_saying_so() -> None:
    x = put([1, 2])
    host = np.ones(2, FLOAT)
    looks = [
        np.asarray,
        np.sum,
        lambda a: np.add(host, a),
        lambda a: host + a,
        lambda a: a + host,
        lambda a: xp.add(a, host),
    ]
    for look in looks:
        with pytest.raises(TypeError):
            look(x)


def test_each_read_by_the_host_is_counted(tape: Any) -> None:
    x = put(3.0)
    before = tape.reads
    float(x), int(x), bool(x), x.get()
    assert tape.reads == before + 4


@pytest.mark.parametrize(
    "read",
    [float, bool, lambda x: x.get(), lambda x: xp.asarray(np.ones(3)), lambda x: get_backend("emulator").to_numpy(x)],
    ids=["float", "bool", "get", "asarray", "to_numpy"],
)
def test_the_host_reads_and_brings_nothing_while_captured(tape: Any, read: Any) -> None:
    x = put(3.0)
    tape.begin()
    with pytest.raises(CaptureError, match="not permitted when stream is capturing"):
        read(x)


def test_arrays_of_two_devices_do_not_mix() -> None:
    one, two = xp.ones((2,)), xp.ones((2,), device="emulated:1")
    assert ((one + 1).device, (two + 1).device) == ("emulated:0", "emulated:1")
    mixes = [
        lambda: one + two,
        lambda: xp.concat([one, two]),
        lambda: one.__iadd__(two),
        lambda: one.__setitem__(0, two[0]),
    ]
    for mix in mixes:
        with pytest.raises(ValueError, match="array device must be same as the current device"):
            mix()


# The tape


def record(work: Any) -> tuple[Any, Any]:
    return get_backend("emulator").recorder().record(work)


def test_a_replay_computes_anew_in_place(device: Any) -> None:
    x, total = put([1, 2, 3]), put(0.0)

    def work() -> Any:
        y = driver.empty((3,), FLOAT)
        driver.launch(PROBES, "converts", FLOAT, 3, x, y, 3)
        double = y[::-1] * 2.0
        total[...] = total + xp.sum(double)
        return double

    result, replay = record(work)
    assert float(total) == 0  # written down, not done
    replay()
    assert (result.get().tolist(), float(total)) == ([6, 4, 2], 12)
    x.set(np.array([5, 0, 0], FLOAT))
    replay()
    assert (result.get().tolist(), float(total)) == ([0, 0, 10], 22)


def test_a_view_is_of_the_same_memory_and_needs_no_doing_again(tape: Any) -> None:
    x = put(np.arange(6))
    tape.begin()
    views = [x[2:], xp.reshape(x, (2, 3)), xp.reshape(x, (2, 3)).T, xp.expand_dims(x, axis=0)]
    assert tape.end() == []
    x[...] = 7.0
    assert all((view.get() == 7).all() for view in views)


def test_rebinding_feeds_nothing_back_and_writing_in_place_does() -> None:
    kept = {"rebound": put(1.0), "written": put(1.0)}

    def work() -> None:
        kept["rebound"] = kept["rebound"] * 2
        kept["written"] *= 2

    _, replay = record(work)
    for _ in range(3):
        replay()
    assert (float(kept["rebound"]), float(kept["written"])) == (2, 8)


def test_a_capture_that_fails_leaves_the_stream_open_for_work() -> None:
    x = put(2.0)
    with pytest.raises(CaptureError):
        record(lambda: float(x))
    assert float(x * 3) == 6
    assert not TAPE.open
