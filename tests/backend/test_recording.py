"""Programs: work that is recorded while it runs, and replayed."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from xpnet.backend import (
    Program,
    Unsupported,
    empty,
    get_backend,
    launch,
    record_call,
    run_parallel,
    shut_down_workers,
    this_thread,
)
from xpnet.errors import ShapeError


@contextlib.contextmanager
def recording(program: Program) -> Iterator[None]:
    with program.recording():
        assert this_thread.program is program
        yield
    assert this_thread.program is None


def numbers(*values: float) -> np.ndarray:
    return np.asarray(values, np.float64)


def fill(out: np.ndarray, value: float) -> None:
    out[...] = value


# Launched work.


def test_recorded_work_runs_while_it_is_recorded_and_at_each_replay_in_its_order() -> None:
    program, done = Program(), []
    with recording(program):
        launch(done.append, "first")
        launch(done.append, "second")
    assert done == ["first", "second"]
    assert program.launches == 2
    program()
    program()
    assert done == ["first", "second"] * 3


def test_a_replay_fills_the_same_arrays_from_new_numbers() -> None:
    program, x = Program(), numbers(1, 2)
    with recording(program):
        y = empty((2,), np.float64)
        launch(np.multiply, x, 3.0, y)
    assert y.tolist() == [3, 6]
    x[...] = 5, 7
    program()
    assert y.tolist() == [15, 21]


def test_a_view_made_once_shows_what_each_replay_writes() -> None:
    program, x = Program(), np.arange(6.0).reshape(2, 3)
    with recording(program):
        y = empty((3, 2), np.float64)
        launch(np.add, x.T, 1.0, y)
        tail = y.reshape(-1)[::-2]
    x *= 10
    program()
    assert tail.tolist() == [51, 41, 31]


def test_work_launched_within_launched_work_is_recorded_once() -> None:
    program, done = Program(), []

    def outer() -> None:
        assert this_thread.program is None
        launch(done.append, "inner")
        empty((3,), np.float32)

    with recording(program):
        launch(outer)
    assert program.launches == 1
    program()
    assert done == ["inner", "inner"]


def test_a_program_that_records_within_another_records_alone() -> None:
    outer, inner, done = Program(), Program(), []
    with recording(outer):
        launch(done.append, 1)
        with inner.recording():
            launch(done.append, 2)
        launch(done.append, 3)
    assert (outer.launches, inner.launches) == (2, 1)
    outer()
    assert done == [1, 2, 3, 1, 3]


def fail(*_: Any) -> None:
    raise ShapeError("here", "n = 2", n=1)


@pytest.mark.parametrize("way", ["launch", "record_call"])
def test_work_that_fails_is_not_recorded_and_recording_goes_on(way: str) -> None:
    program, done = Program(), []
    ways: dict[str, Callable[[], Any]] = {
        "launch": lambda: launch(fail),
        "record_call": lambda: record_call(fail),
    }
    with recording(program):
        with pytest.raises(ShapeError, match="n = 2"):
            ways[way]()
        assert this_thread.program is program
        launch(done.append, "after")
    program()
    assert done == ["after", "after"]


def test_an_error_ends_recording_with_its_block() -> None:
    with pytest.raises(ShapeError), Program().recording():
        launch(fail)
    assert this_thread.program is None


def test_an_error_in_a_replay_is_raised_after_the_work_before_it() -> None:
    program, x, y = Program(), numbers(1), numbers(0)

    def check() -> None:
        if x[0] > 9:
            fail()

    with recording(program):
        launch(np.copyto, y, x)
        launch(check)
        launch(fill, y, -1.0)
    x[...] = 10
    with pytest.raises(ShapeError):
        program()
    assert y[0] == 10


# Recorded calls.


def test_a_recorded_call_is_made_at_each_replay_and_its_result_copied_to_the_first_one() -> None:
    program, x = Program(), numbers(1, 2)
    with recording(program):
        y = record_call(np.square, x)
    x[...] = 3, 4
    program()
    assert y.tolist() == [9, 16]


def test_each_of_several_results_is_copied() -> None:
    program, x = Program(), numbers(1, 4)
    with recording(program):
        low, high = record_call(lambda a: (np.min(a), np.max(a)), x)
    x[...] = -3, 8
    program()
    assert (float(low), float(high)) == (-3, 8)


def test_a_result_that_is_an_argument_is_not_copied() -> None:
    program, total, x = Program(), numbers(0, 0), numbers(1, 2)

    def add(into: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        into += a
        return into, into * 2

    with recording(program):
        same, twice = record_call(add, total, x)
    assert same is total
    program()
    assert total.tolist() == [2, 4]
    assert twice.tolist() == [4, 8]


def test_a_result_that_shares_memory_with_what_the_function_keeps_is_a_copy() -> None:
    program, kept, x = Program(), numbers(0), numbers(1)

    def put(a: np.ndarray) -> np.ndarray:
        kept[...] = a
        return kept

    with recording(program):
        y = record_call(put, x)
    kept[...] = 99
    assert y[0] == 1


def test_what_a_function_launches_is_part_of_it() -> None:
    program, x = Program(), numbers(2)

    def twice(a: np.ndarray) -> np.ndarray:
        out = empty(a.shape, a.dtype)
        launch(np.multiply, a, 2.0, out)
        return out

    with recording(program):
        y = record_call(twice, x)
    assert program.launches == 1
    x[...] = 8
    program()
    assert y[0] == 16


def _launched(function: Callable[..., Any], *arguments: Any) -> np.ndarray:
    out = empty((2,), np.float64)
    launch(function, *arguments, out)
    return out


# Threads, and memory.


def test_tasks_that_run_in_parallel_are_recorded_and_run_in_parallel_again() -> None:
    program, x = Program(), numbers(1, 2)
    with recording(program):
        a, b = run_parallel([lambda: _launched(np.add, x, 1.0), lambda: record_call(np.square, x)])
    assert program.launches == 1
    x[...] = 3, 5
    program()
    shut_down_workers()
    assert (a.tolist(), b.tolist()) == ([4, 6], [9, 25])


def test_two_threads_record_at_once() -> None:
    meet, found = threading.Barrier(2, timeout=20), {}

    def work(name: str) -> None:
        program = Program()
        with program.recording():
            meet.wait()
            for _ in range(50):
                launch(found.setdefault(name, []).append, name)
            meet.wait()
        found[name + " launches"] = program.launches

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    assert this_thread.program is None
    for thread in threads:
        thread.join()
    assert found == {"a": ["a"] * 50, "b": ["b"] * 50, "a launches": 50, "b launches": 50}


def test_a_thread_beside_one_that_records_is_not_recorded() -> None:
    program, seen = Program(), []

    def beside() -> None:
        seen.append(this_thread.program)
        launch(seen.append, "done")

    with recording(program):
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
    assert seen == [None, "done"]
    assert program.launches == 0


def test_a_program_keeps_its_arrays_and_frees_them_with_itself() -> None:
    program, x = Program(), numbers(1, 2)
    with recording(program):
        arrays = [_launched(np.add, x, 1.0), record_call(np.square, x)]
    held = [weakref.ref(a) for a in (x, *arrays)]
    del arrays, x
    gc.collect()
    assert all(ref() is not None for ref in held)
    program()
    assert held[1]().tolist() == [2, 3]  # type: ignore[union-attr]
    del program
    assert [ref() for ref in held] == [None] * 3  # by counting references alone


def test_an_op_that_cannot_be_recorded_stops_the_recording_and_is_named() -> None:
    program = Program()
    with pytest.raises(Unsupported, match=r"^gelu$"), program.recording():
        program.unsupported("gelu")
    assert this_thread.program is None


def test_a_result_that_is_none_stays_none() -> None:
    program, x = Program(), numbers(1, 2)
    with recording(program):
        y, nothing = record_call(lambda a: (a + 1, None), x)
    x[...] = 5
    program()
    assert (y.tolist(), nothing) == ([6, 6], None)


def test_a_program_counts_the_bytes_of_its_arrays_and_of_those_of_parallel_tasks() -> None:
    program, x = Program(), numbers(1, 2)
    with recording(program):
        run_parallel([lambda: _launched(np.add, x, 1.0), lambda: record_call(np.square, x)])
        empty((4,), np.float32)
    shut_down_workers()
    assert program.nbytes == 16 + 16 + 16


def test_the_hosts_recorder_records_what_it_runs() -> None:
    recorder, x = get_backend("numpy").recorder(), numbers(1, 2)
    assert recorder is not None
    with recorder.warm():
        y, replay = recorder.record(lambda: _launched(np.add, x, 1.0))
    assert (y.tolist(), recorder.is_device, recorder.nbytes) == ([2, 3], False, 16)
    x[...] = 5
    replay()
    assert y.tolist() == [6, 6]
