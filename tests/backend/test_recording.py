"""Programs: work noted while it is done, and done again; which results are filled in place, and which are copied."""

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
    current_program,
    empty,
    launch,
    record_call,
    run_parallel,
    shut_down_workers,
)
from xpnet.errors import ShapeError

Op = Callable[..., tuple[Any, Any]]


@contextlib.contextmanager
def noted(program: Program) -> Iterator[None]:
    with program.recording():
        assert current_program() is program
        yield
    assert current_program() is None


def numbers(*values: float) -> np.ndarray:
    return np.asarray(values, np.float64)


def fill(out: np.ndarray, value: float) -> None:
    out[...] = value


# Without a program.


def test_without_a_program_launched_work_is_done_once() -> None:
    done: list[int] = []
    launch(done.append, 3)
    assert done == [3]
    assert current_program() is None


def test_without_a_program_each_array_is_another() -> None:
    a, b = empty((2, 3), np.float32), empty((2, 3), np.float32)
    assert a is not b
    assert (a.shape, a.dtype) == ((2, 3), np.float32)


def test_without_a_program_results_are_the_functions_own() -> None:
    made = numbers(1, 2)
    assert record_call(lambda: made) is made
    assert record_call(lambda: (made, made))[1] is made


# Launched work.


def test_noted_work_is_done_while_it_is_noted_and_by_each_call_in_its_order() -> None:
    program, done = Program(), []
    with noted(program):
        launch(done.append, "first")
        launch(done.append, "second")
    assert done == ["first", "second"]
    assert program.launches == 2
    program()
    program()
    assert done == ["first", "second"] * 3


def test_a_call_fills_the_same_arrays_from_the_numbers_of_now() -> None:
    program, x = Program(), numbers(1, 2)
    with noted(program):
        y = empty((2,), np.float64)
        launch(np.multiply, x, 3.0, y)
    assert y.tolist() == [3, 6]
    x[...] = 5, 7
    program()
    assert y.tolist() == [15, 21]


def test_a_view_made_once_shows_what_each_call_writes() -> None:
    program, x = Program(), np.arange(6.0).reshape(2, 3)
    with noted(program):
        y = empty((3, 2), np.float64)
        launch(np.add, x.T, 1.0, y)
        tail = y.reshape(-1)[::-2]
    x *= 10
    program()
    assert tail.tolist() == [51, 41, 31]


def test_work_launched_within_launched_work_is_noted_once() -> None:
    program, done = Program(), []

    def outer() -> None:
        assert current_program() is None
        launch(done.append, "inner")
        empty((3,), np.float32)

    with noted(program):
        launch(outer)
    assert program.launches == 1
    program()
    assert done == ["inner", "inner"]


def test_within_a_program_a_second_one_notes_for_itself() -> None:
    outer, inner, done = Program(), Program(), []
    with noted(outer):
        launch(done.append, 1)
        with inner.recording():
            launch(done.append, 2)
        launch(done.append, 3)
    assert (outer.launches, inner.launches) == (2, 1)
    outer()
    assert done == [1, 2, 3, 1, 3]


def fail(*_: Any) -> None:
    raise ShapeError("here", "it never fits", n=1)


@pytest.mark.parametrize("way", ["launch", "record_call", "apply"])
def test_work_that_fails_is_not_noted_and_noting_goes_on(way: str) -> None:
    program, done = Program(), []
    ways: dict[str, Callable[[], Any]] = {
        "launch": lambda: launch(fail),
        "record_call": lambda: record_call(fail),
        "apply": lambda: program.apply(fail, [], {}),
    }
    with noted(program):
        with pytest.raises(ShapeError, match="never fits"):
            ways[way]()
        assert current_program() is program
        launch(done.append, "after")
    program()
    assert done == ["after", "after"]


def test_an_error_ends_noting_with_its_block() -> None:
    with pytest.raises(ShapeError), Program().recording():
        launch(fail)
    assert current_program() is None


def test_an_error_in_a_call_comes_out_and_what_was_before_it_is_done() -> None:
    program, x, y = Program(), numbers(1), numbers(0)

    def check() -> None:
        if x[0] > 9:
            fail()

    with noted(program):
        launch(np.copyto, y, x)
        launch(check)
        launch(fill, y, -1.0)
    x[...] = 10
    with pytest.raises(ShapeError):
        program()
    assert y[0] == 10


# What is computed otherwise.


def test_a_function_is_called_again_and_its_result_copied_to_where_it_was() -> None:
    program, x = Program(), numbers(1, 2)
    with noted(program):
        y = record_call(np.square, x)
    x[...] = 3, 4
    program()
    assert y.tolist() == [9, 16]


def test_each_of_several_results_is_copied() -> None:
    program, x = Program(), numbers(1, 4)
    with noted(program):
        low, high = record_call(lambda a: (np.min(a), np.max(a)), x)
    x[...] = -3, 8
    program()
    assert (float(low), float(high)) == (-3, 8)


def test_a_result_that_is_an_argument_stays_it() -> None:
    program, total, x = Program(), numbers(0, 0), numbers(1, 2)

    def add(into: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        into += a
        return into, into * 2

    with noted(program):
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

    with noted(program):
        y = record_call(put, x)
    kept[...] = 99
    assert y[0] == 1


def test_what_a_function_launches_is_part_of_it() -> None:
    program, x = Program(), numbers(2)

    def twice(a: np.ndarray) -> np.ndarray:
        out = empty(a.shape, a.dtype)
        launch(np.multiply, a, 2.0, out)
        return out

    with noted(program):
        y = record_call(twice, x)
    assert program.launches == 1
    x[...] = 8
    program()
    assert y[0] == 16


# Ops. Each of x^2 (or what its name says), at (1, 2) and then (3, 5); dy is (1, 10), then (2, 20).


def _launched(function: Callable[..., Any], *arguments: Any) -> np.ndarray:
    out = empty((2,), np.float64)
    launch(function, *arguments, out)
    return out


def by_launches(x: np.ndarray) -> tuple[Any, Any]:
    twice = _launched(np.multiply, x, 2.0)
    return _launched(np.multiply, x, x), lambda dy, needs: (_launched(np.multiply, dy, twice),)


def by_plain_code(x: np.ndarray) -> tuple[Any, Any]:
    return x * x, lambda dy, needs: (2 * x * dy,)


def by_a_launch_and_back_by_plain_code(x: np.ndarray) -> tuple[Any, Any]:
    return _launched(np.multiply, x, x), lambda dy, needs: (2 * x * dy,)


def by_plain_code_and_back_by_a_launch(x: np.ndarray) -> tuple[Any, Any]:
    kept = 2 * x
    return x * x, lambda dy, needs: (_launched(np.multiply, dy, kept),)


def by_code_that_launches_a_part(x: np.ndarray) -> tuple[Any, Any]:
    part = _launched(np.multiply, x, x)
    return part + 0, lambda dy, needs: (2 * x * dy,)


SQUARES = [
    by_launches,
    by_plain_code,
    by_a_launch_and_back_by_plain_code,
    by_plain_code_and_back_by_a_launch,
    by_code_that_launches_a_part,
]


def run(op: Op, needs: bool = True) -> tuple[Program, np.ndarray, np.ndarray, Any, Any]:
    """Note an op both ways; returns the program, x, dy, y and dx."""
    program, x, dy = Program(), numbers(1, 2), numbers(1, 10)
    with noted(program):
        y, vjp = program.apply(op, [x], {})
        (dx, *_) = vjp(dy, (needs,))
    return program, x, dy, y, dx


def renew(program: Program, x: np.ndarray, dy: np.ndarray) -> None:
    x[...] = 3, 5
    dy[...] = 2, 20
    program()


@pytest.mark.parametrize("op", SQUARES, ids=lambda op: op.__name__)
def test_an_op_is_done_again_both_ways_into_the_arrays_of_the_first_time(op: Op) -> None:
    program, x, dy, y, dx = run(op)
    assert (y.tolist(), dx.tolist()) == ([1, 4], [2, 40])
    renew(program, x, dy)
    assert (y.tolist(), dx.tolist()) == ([9, 25], [12, 200])


@pytest.mark.parametrize("op", SQUARES, ids=lambda op: op.__name__)
def test_the_first_results_are_not_memory_that_the_op_goes_on_with(op: Op) -> None:
    program, x, dy, y, dx = run(op)
    renew(program, x, dy)
    before = y.copy(), dx.copy()
    op(numbers(6, 7))[1](numbers(1, 1), (True,))
    assert np.array_equal(y, before[0])
    assert np.array_equal(dx, before[1])


def test_an_op_of_launches_notes_those_and_copies_nothing() -> None:
    program, *_ = run(by_launches)
    assert program.launches == 3


def test_an_op_of_plain_code_notes_one_call_each_way() -> None:
    program, *_ = run(by_code_that_launches_a_part)
    assert program.launches == 2


def test_an_op_that_gives_a_view_notes_nothing_and_follows_its_input() -> None:
    def reverse(x: np.ndarray) -> tuple[Any, Any]:
        return x[::-1], lambda dy, needs: (dy[::-1],)

    program, x, dy, y, dx = run(reverse)
    assert program.launches == 0
    assert np.shares_memory(y, x)
    renew(program, x, dy)
    assert (y.tolist(), dx.tolist()) == ([5, 3], [20, 2])


def test_a_view_whose_gradient_is_a_sum_is_summed_again() -> None:
    def repeat(x: np.ndarray) -> tuple[Any, Any]:
        return np.broadcast_to(x, (3, 2)), lambda dy, needs: (dy.sum(axis=0),)

    program, x, dy = Program(), numbers(1, 2), np.ones((3, 2))
    with noted(program):
        y, vjp = program.apply(repeat, [x], {})
        (dx,) = vjp(dy, (True,))
    x[...], dy[...] = 7, 5
    program()
    assert np.all(y == 7)
    assert dx.tolist() == [15, 15]


@pytest.mark.parametrize("launched", [True, False])
def test_a_gradient_that_is_dy_itself_follows_it(launched: bool) -> None:
    def shift(x: np.ndarray) -> tuple[Any, Any]:
        return _launched(np.add, x, 1.0) if launched else x + 1, lambda dy, needs: (dy,)

    program, x, dy, y, dx = run(shift)
    assert (dx is dy) == launched
    renew(program, x, dy)
    assert (y.tolist(), dx.tolist()) == ([4, 6], [2, 20])


def test_a_number_that_is_no_array_is_kept_as_one() -> None:
    def total(x: np.ndarray) -> tuple[Any, Any]:
        return np.float64(x.sum()), lambda dy, needs: (np.full(2, float(dy)),)

    program, x = Program(), numbers(1, 2)
    with noted(program):
        y, _ = program.apply(total, [x], {})
    x[...] = 10, 20
    program()
    assert (float(y), y.shape) == (30, ())


@pytest.mark.parametrize("op", SQUARES, ids=lambda op: op.__name__)
def test_a_gradient_that_is_not_needed_stays_none(op: Op) -> None:
    def sparing(x: np.ndarray) -> tuple[Any, Any]:
        y, vjp = op(x)
        return y, lambda dy, needs: vjp(dy, needs) if needs[0] else (None,)

    program, x, dy, y, dx = run(sparing, needs=False)
    assert dx is None
    renew(program, x, dy)
    assert y.tolist() == [9, 25]


def test_options_are_given_to_the_op_each_time() -> None:
    rate = np.asarray(2.0)

    def scale(x: np.ndarray, *, by: np.ndarray) -> tuple[Any, Any]:
        return x * by, lambda dy, needs: (dy * by,)

    program, x = Program(), numbers(1, 2)
    with noted(program):
        y, _ = program.apply(scale, [x], {"by": rate})
    rate[...] = 5
    program()
    assert y.tolist() == [5, 10]


@pytest.mark.parametrize("op", SQUARES, ids=lambda op: op.__name__)
def test_what_a_vjp_does_is_noted_by_the_program_that_notes_then(op: Op) -> None:
    there, back, x, dy = Program(), Program(), numbers(1, 2), numbers(1, 10)
    with noted(there):
        _, vjp = there.apply(op, [x], {})
    size = there.launches
    with noted(back):
        (dx,) = vjp(dy, (True,))
    assert (there.launches, back.launches) == (size, 1)
    x[...], dy[...] = (3, 5), (2, 20)
    there()
    back()
    assert dx.tolist() == [12, 200]


# Threads, and memory.


def test_works_done_at_once_are_each_noted_and_done_at_once_again() -> None:
    program, x = Program(), numbers(1, 2)
    with noted(program):
        a, b = run_parallel([lambda: _launched(np.add, x, 1.0), lambda: record_call(np.square, x)])
    assert program.launches == 1
    x[...] = 3, 5
    program()
    shut_down_workers()
    assert (a.tolist(), b.tolist()) == ([4, 6], [9, 25])


def test_two_threads_that_note_at_once_do_not_see_each_other() -> None:
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
    assert current_program() is None
    for thread in threads:
        thread.join()
    assert found == {"a": ["a"] * 50, "b": ["b"] * 50, "a launches": 50, "b launches": 50}


def test_a_thread_that_notes_nothing_works_for_itself_beside_one_that_does() -> None:
    program, seen = Program(), []

    def beside() -> None:
        seen.append(current_program())
        launch(seen.append, "done")

    with noted(program):
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
    assert seen == [None, "done"]
    assert program.launches == 0


def test_a_program_keeps_its_arrays_and_lets_them_go_with_itself() -> None:
    program, x = Program(), numbers(1, 2)
    with noted(program):
        arrays = [_launched(np.add, x, 1.0), record_call(np.square, x), program.apply(by_plain_code, [x], {})[0]]
        arrays.append(empty((2,), np.float64))  # which no work is given
    held = [weakref.ref(a) for a in (x, *arrays)]
    del arrays, x
    gc.collect()
    assert all(ref() is not None for ref in held)
    program()
    assert held[1]().tolist() == [2, 3]  # type: ignore[union-attr]
    del program
    assert [ref() for ref in held] == [None] * 5  # by counting references alone


def test_an_op_that_cannot_be_recorded_stops_the_recording_and_is_named() -> None:
    program = Program()
    with pytest.raises(Unsupported, match=r"^gelu$"), program.recording():
        program.unsupported("gelu")
    assert current_program() is None
