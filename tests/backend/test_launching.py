"""What kernels for NumPy arrays call: memory, work, and the layout of arrays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from xpnet.backend import (
    Program,
    as_contiguous,
    as_rows,
    as_shape,
    copied,
    empty,
    empty_aligned,
    launch,
    record_call,
    scratch,
    this_thread,
)


def numbers(*values: float) -> np.ndarray:
    return np.asarray(values, np.float64)


def test_without_a_program_launched_work_runs_once() -> None:
    done: list[int] = []
    launch(done.append, 3)
    assert done == [3]
    assert this_thread.program is None


def test_without_a_program_each_array_is_a_new_one() -> None:
    a, b = empty((2, 3), np.float32), empty((2, 3), np.float32)
    assert a is not b
    assert (a.shape, a.dtype) == ((2, 3), np.float32)


def test_without_a_program_results_are_not_copied() -> None:
    made = numbers(1, 2)
    assert record_call(lambda: made) is made
    assert record_call(lambda: (made, made))[1] is made


@pytest.mark.parametrize(("shape", "dtype"), [((), "float64"), ((1, 3), "float32"), ((5, 7), "float32"), ((3,), bool)])
def test_aligned_arrays_begin_at_a_multiple_of_64_bytes(shape: tuple[int, ...], dtype: str) -> None:
    for _ in range(8):
        array = empty_aligned(shape, dtype)
        assert (array.shape, array.dtype, array.ctypes.data % 64) == (shape, np.dtype(dtype), 0)
        assert array.flags.c_contiguous
        assert array.flags.writeable


# Layout.


def fixed(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


ODD = {
    "strided": np.arange(24.0).reshape(4, 6)[:, ::2],
    "transposed": np.arange(12.0).reshape(3, 4).T,
    "reversed": np.arange(12.0).reshape(4, 3)[::-1],
    "read-only": fixed(np.arange(12.0).reshape(4, 3)),
    "misaligned": np.frombuffer(bytearray(12 * 8 + 1), np.float64, 12, 1).reshape(4, 3),
}


@pytest.mark.parametrize("name", ODD)
def test_what_compiled_loops_cannot_take_is_copied_row_by_row(name: str) -> None:
    y = as_contiguous(ODD[name])
    assert y.flags.carray
    assert not np.shares_memory(y, ODD[name])
    assert np.array_equal(y, ODD[name])


def test_what_compiled_loops_take_is_not_copied() -> None:
    x = np.ones((4, 3))
    assert as_contiguous(x) is x
    assert np.shares_memory(as_shape(x, (2, 6)), x)
    assert np.shares_memory(as_rows(x.T, 4), x)  # of rank 2, in any layout


def test_another_shape_of_a_strided_array_is_that_of_a_copy() -> None:
    x = np.arange(24.0).reshape(2, 3, 4).transpose(0, 2, 1)
    assert np.array_equal(as_shape(x, (24,)), x.reshape(-1))
    assert np.array_equal(as_rows(x, 3), x.reshape(-1, 3))


def test_a_replay_copies_again() -> None:
    program, x = Program(), np.arange(6.0).reshape(2, 3).T
    with program.recording():
        y = copied(x)
    x *= 10
    program()
    assert np.array_equal(y, x)


# Scratch memory.


def test_scratch_memory_is_the_same_for_a_name_and_another_for_another() -> None:
    first = scratch("first", (3, 4), np.float32)
    assert (first.shape, first.dtype) == ((3, 4), np.float32)
    assert np.shares_memory(first, scratch("first", (2, 2), np.float64))
    assert not np.shares_memory(first, scratch("second", (3, 4), np.float32))


def test_scratch_memory_grows_with_what_is_asked_for() -> None:
    small = scratch("growing", (2,), np.float64)
    large = scratch("growing", (1000,), np.float64)
    assert large.shape == (1000,)
    assert not np.shares_memory(small, large)
    assert np.shares_memory(large, scratch("growing", (2,), np.float64))


def test_each_thread_and_each_program_has_scratch_memory_of_its_own() -> None:
    here = scratch("own", (4,), np.float64)
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(scratch, "own", (4,), np.float64).result()
    program = Program()
    with program.recording():
        recorded = scratch("own", (4,), np.float64)
    assert not np.shares_memory(here, there)
    assert not np.shares_memory(here, recorded)
    assert program.nbytes == 32
