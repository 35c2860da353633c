"""Captured functions: eager at first, recorded, verified, replayed; kept within bounds; and what is not captured."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.harness import raises
from xpnet.backend import Backend, empty, get_backend, launch, this_thread
from xpnet.capture import MOST, Captured
from xpnet.errors import ConfigError, ShapeError


class Function:
    """y = factor * x + offset by launches, on the host; a total of the y that it gave is written."""

    def __init__(self, factor: float = 2.0) -> None:
        self.factor = factor
        self.total = np.zeros(())
        self.calls = 0

    def __call__(self, x: np.ndarray, offset: Any = 0.0) -> np.ndarray:
        self.calls += 1
        y = empty(x.shape, x.dtype)
        launch(self.compute, x, offset, y)
        return y

    def compute(self, x: np.ndarray, offset: Any, y: np.ndarray) -> None:
        if x.size and x.flat[0] == 99:
            raise ShapeError("Function", "x below 99", x=99)
        np.multiply(x, self.factor, out=y)
        np.add(y, offset, out=y, casting="unsafe")
        self.total += y.sum()


class FunctionGuard:
    """A guard that a test controls."""

    unsupported = ""

    def __init__(self, written: list[np.ndarray], backend: Backend | None = None) -> None:
        self.backend = backend or get_backend("numpy")
        self.written, self.buffers = written, []
        self.changed = True
        self.found: dict[str, Any] = {}

    def holds(self) -> bool:
        return not self.changed

    def renew(self) -> bool:
        changed, self.changed = self.changed, False
        return changed

    def settings(self) -> dict[str, Any]:
        return dict(self.found)

    def write_back(self) -> None:
        pass

    def restore(self) -> None:
        pass


def captured(function: Any = None, **options: Any) -> tuple[Captured, Any, FunctionGuard]:
    function = function or Function()
    guard = FunctionGuard([function.total] if hasattr(function, "total") else [])
    return Captured(function, guard, where="fit", **options), function, guard


def numbers(*values: float) -> np.ndarray:
    return np.asarray(values, np.float64)


def state(run: Captured) -> list[str]:
    """What each recording is ready for, the least recently used first."""
    words = []
    for r in run.recordings.values():
        words.append("replay" if r.is_verified else "verify" if r.replay else "record" if not r.warm_calls else "warm")
    return words


def test_a_function_runs_is_recorded_is_verified_and_is_replayed() -> None:
    run, function, _ = captured()
    for i, (calls, ready) in enumerate([(1, "record"), (2, "verify"), (3, "replay"), (3, "replay"), (3, "replay")]):
        assert np.array_equal(run(numbers(i, 5)), [2 * i, 10])
        assert (function.calls, state(run)) == (calls, [ready])


def test_what_a_function_writes_is_the_same_as_without_capture() -> None:
    run, function, _ = captured()
    eager = Function()
    for i in range(7):
        run(numbers(i, -3))
        eager(numbers(i, -3))
        assert function.total == eager.total


def test_numbers_are_read_anew_by_each_replay() -> None:
    run, _, _ = captured()
    assert [run(numbers(1), numbers=(float(i),)).tolist() for i in range(6)] == [[2.0 + i] for i in range(6)]


def test_a_result_is_not_written_by_later_calls_and_inputs_are_not_written() -> None:
    run, _, _ = captured()
    xs = [numbers(i, 7) for i in range(6)]
    for x in xs:
        x.flags.writeable = False
    results = [run(x) for x in xs]
    assert [y.tolist() for y in results] == [[2 * i, 14] for i in range(6)]


def test_each_signature_has_a_recording() -> None:
    run, function, _ = captured()
    calls = [((2,), np.float64, "a"), ((3,), np.float64, "a"), ((2,), np.float32, "a"), ((2,), np.float64, "b")]
    for _ in range(4):
        for shape, dtype, key in calls:
            run(np.ones(shape, dtype), key=key)
    assert state(run) == ["replay"] * 4
    assert function.calls == 3 * 4


def test_the_least_recently_used_recordings_are_dropped() -> None:
    run, _, _ = captured()
    first = np.ones(1000)
    for n in range(MOST + 5):
        run(np.ones(n))
        run(first)
    assert len(run.recordings) == MOST
    assert state(run)[-1] == "replay"


def test_recordings_stay_within_a_number_of_bytes() -> None:
    run, _, _ = captured(max_bytes=50_000)
    for n in (1000, 1001, 1002, 1003):  # 16 kB each: input and result
        for _ in range(4):
            run(np.ones(n))
    assert [r.inputs[0].size for r in run.recordings.values()] == [1001, 1002, 1003]
    assert sum(r.nbytes for r in run.recordings.values()) <= 50_000


def test_a_recording_that_alone_has_too_many_bytes_is_not_kept() -> None:
    run, function, _ = captured(max_bytes=1000)
    for _ in range(6):
        assert run(np.ones(1000))[0] == 2
    assert function.calls == 6
    assert sum(r.nbytes for r in run.recordings.values()) == 0


def test_what_is_not_worth_it_is_not_recorded() -> None:
    run, function, _ = captured(worth=lambda x: x.shape[0] < 10)
    for _ in range(5):
        run(np.ones(10))
        run(np.ones(9))
    assert function.calls == 5 + 3


def test_with_capture_false_every_call_is_eager() -> None:
    run, function, _ = captured(capture=False)
    for _ in range(5):
        run(np.ones(2))
    assert function.calls == 5
    assert not run.recordings


def test_a_change_that_the_guard_finds_drops_the_recordings() -> None:
    run, function, guard = captured()
    for _ in range(12):
        run(numbers(1))
    function.factor, guard.changed = 5.0, True
    assert run(numbers(1)).tolist() == [5.0]
    assert state(run) == ["record"]


def test_recordings_that_are_dropped_again_and_again_are_made_no_more(caplog: pytest.LogCaptureFixture) -> None:
    run, function, guard = captured()
    with caplog.at_level(logging.INFO, "xpnet"):
        for _ in range(20):
            guard.changed = True
            run(numbers(1))
    assert function.calls == 20
    assert caplog.messages == ["fit runs eagerly: what it reads changes from call to call"]


# What cannot be recorded.


class Unrecordable(Function):
    """Writes its total, then calls an op that cannot be recorded."""

    def __call__(self, x: np.ndarray, offset: Any = 0.0) -> np.ndarray:
        y = super().__call__(x, offset)
        if program := this_thread.program:
            program.unsupported("gelu")
        return y


class Reading(Function):
    """Reads a number of its input in Python."""

    def __call__(self, x: np.ndarray, offset: Any = 0.0) -> np.ndarray:
        return super().__call__(x, float(x[0]))


class Counting(Function):
    """Changes a setting at each call."""

    guard: FunctionGuard

    def __call__(self, x: np.ndarray, offset: Any = 0.0) -> np.ndarray:
        self.guard.found = {"own.calls": self.calls + 1}
        return super().__call__(x, offset)


REASONS = {
    Unrecordable: (2, "gelu cannot be recorded"),
    Reading: (4, "a replay gave different numbers than the eager call"),
    Counting: (2, "own.calls changes from call to call"),
}


@pytest.mark.parametrize("kind", REASONS)
def test_what_cannot_be_recorded_runs_eagerly_with_the_same_numbers_and_the_log_says_so_once(
    kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run, function, guard = captured(kind())
    function.guard = guard
    eager = kind()
    eager.guard = guard
    with caplog.at_level(logging.INFO, "xpnet"):
        for i in range(7):
            assert np.array_equal(run(numbers(i, 2)), eager(numbers(i, 2)))
            assert function.total == eager.total
    assert caplog.messages == [f"fit runs eagerly: {REASONS[kind][1]}"]


@pytest.mark.parametrize("kind", REASONS)
def test_where_capture_is_required_it_is_an_error_and_the_call_has_changed_nothing(kind: Any) -> None:
    run, function, guard = captured(kind(), capture=True)
    function.guard = guard
    call, reason = REASONS[kind]
    for i in range(1, call):
        run(numbers(i, 2))
    total = function.total.copy()
    with raises(ConfigError, "fit", "expected code that capture=True can record", reason, "capture=None"):
        run(numbers(9, 9))
    assert function.total == total


def test_what_the_guard_knows_to_be_unsupported_is_not_recorded() -> None:
    run, function, guard = captured()
    guard.unsupported = "Own is a custom module"
    for _ in range(5):
        run(numbers(1))
    assert run.reason == "Own is a custom module"
    assert function.calls == 5


def test_a_backend_without_a_recorder_runs_eagerly() -> None:
    strict = pytest.importorskip("array_api_strict")
    function: Callable[..., Any] = lambda x: x + x  # noqa: E731
    run = Captured(function, FunctionGuard([], get_backend("array-api-strict:device1")), where="fit")
    for _ in range(4):
        run(strict.ones(3, device=strict.Device("device1")))
    assert run.reason == "array-api-strict:device1 has no recorder"


# Errors, threads and memory.


@pytest.mark.parametrize("at", range(6))
def test_an_error_of_the_function_is_raised_and_the_calls_after_it_are_captured(at: int) -> None:
    run, function, _ = captured()
    eager = Function()
    for i in range(10):
        if i == at:
            for f in (run, eager):
                with raises(ShapeError, "Function", "x below 99"):
                    f(numbers(99, 1))
        assert np.array_equal(run(numbers(i, 2)), eager(numbers(i, 2)))
        assert function.total == eager.total
    assert state(run) == ["replay"]


def test_one_thread_replays_while_others_run_eagerly() -> None:
    inside, leave = threading.Event(), threading.Event()

    def wait(x: np.ndarray, y: np.ndarray) -> None:
        if x[0] == 7:
            inside.set()
            assert leave.wait(20)
        np.multiply(x, 2.0, out=y)

    def function(x: np.ndarray) -> np.ndarray:
        y = np.empty_like(x) if this_thread.program is None else empty(x.shape, x.dtype)
        launch(wait, x, y)
        return y

    run, _, _ = captured(function)
    for i in range(4):
        run(numbers(i))
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(run(numbers(7))))
    thread.start()
    assert inside.wait(20)
    assert run(numbers(3)).tolist() == [6.0]
    leave.set()
    thread.join()
    assert found[0].tolist() == [14.0]


def test_a_captured_method_and_its_owner_are_freed_without_the_cycle_collector() -> None:
    class Owner:
        def __init__(self) -> None:
            self.run = Captured(self.double, FunctionGuard([]), where="fit")

        def double(self, x: np.ndarray) -> np.ndarray:
            y = empty(x.shape, x.dtype)
            launch(np.multiply, x, 2.0, y)
            return y

    owner = Owner()
    for _ in range(4):
        owner.run(np.ones(3))
    (recording,) = owner.run.recordings.values()
    held = [weakref.ref(owner), weakref.ref(recording.inputs[0]), weakref.ref(recording.result)]  # type: ignore[arg-type]
    del recording
    gc.disable()
    try:
        del owner
        assert [ref() for ref in held] == [None] * 3
    finally:
        gc.enable()
