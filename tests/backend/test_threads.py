"""Threads of the CPU: how many, and work done at once in them."""

from __future__ import annotations

import contextlib
import contextvars
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.harness import raises
from xpnet.backend import (
    cores,
    current_precision,
    run_parallel,
    shut_down_workers,
    split,
    threads,
    use_cores,
    use_precision,
)
from xpnet.errors import ConfigError, ShapeError


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    """Dismiss threads after each test, and see that they are gone."""
    shut_down_workers()
    before = threading.active_count()
    yield
    shut_down_workers()
    assert threading.active_count() == before


def count_in_new_process(**environment: str) -> int:
    """What cores() says in a process of its own."""
    line = [sys.executable, "-c", "from xpnet.backend import cores; print(cores())"]
    there = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | environment
    return int(subprocess.run(line, env=there, capture_output=True, text=True, check=True, timeout=60).stdout)


def test_as_many_threads_compute_as_the_process_may_use_processors() -> None:
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:
        allowed = os.cpu_count() or 1
    assert 1 <= count_in_new_process() <= allowed


def test_omp_num_threads_bounds_them_and_nonsense_in_it_does_not() -> None:
    assert count_in_new_process(OMP_NUM_THREADS="1,2") == 1
    free = count_in_new_process()
    assert count_in_new_process(OMP_NUM_THREADS="many") == free
    assert count_in_new_process(OMP_NUM_THREADS="100000") == free


@pytest.mark.parametrize(
    ("files", "want"),
    [
        pytest.param({"cpu.max": "150000 100000\n"}, 1.5, id="v2"),
        pytest.param({"cpu.max": "max 100000\n"}, math.inf, id="v2 without a limit"),
        pytest.param({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4.0, id="v1"),
        pytest.param({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf, id="v1 without"),
        pytest.param({"cpu.max": "no number"}, math.inf, id="unreadable"),
        pytest.param({}, math.inf, id="none"),
    ],
)
def test_the_quota_of_a_control_group_is_read(tmp_path: Path, files: dict[str, str], want: float) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads._quota(tmp_path) == want


def test_use_cores_says_otherwise_within_a_block() -> None:
    before = cores()
    with use_cores(5):
        assert cores() == 5
        with use_cores(2):
            assert cores() == 2
        assert cores() == 5
    assert cores() == before
    with raises(ConfigError, "use_cores", "n 0"), use_cores(0):
        pass


def test_works_run_at_the_same_time_each_in_a_thread_of_its_own() -> None:
    meeting = threading.Barrier(3, timeout=20)

    def work() -> int:
        meeting.wait()
        return threading.get_ident()

    found = run_parallel([work, work, work])
    assert found[0] == threading.get_ident()
    assert len(set(found)) == 3


def test_results_come_in_the_order_of_works_not_of_their_ends() -> None:
    def after(seconds: float) -> Any:
        return lambda: time.sleep(seconds) or seconds

    assert run_parallel([after(0.05), after(0.02), after(0.0)]) == [0.05, 0.02, 0.0]
    assert run_parallel([]) == []


def test_threads_are_used_again_and_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "IDLE", 0.05)
    meeting = threading.Barrier(2, timeout=20)

    def work() -> int:
        meeting.wait()
        return threading.get_ident()

    before = threading.active_count()
    assert {run_parallel([work, work])[1] for _ in range(20)} == {run_parallel([work, work])[1]}
    assert threading.active_count() == before + 1
    end = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_each_work_sees_the_context_it_was_given_in_and_changes_its_own_copy() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")
    name.set("given")

    def work() -> tuple[str, str, Any]:
        seen = name.get()
        name.set("changed")
        return seen, current_precision(), np.geterr()["divide"]

    with use_precision("tf32"), np.errstate(divide="raise"):
        assert run_parallel([work, work]) == [("given", "tf32", "raise")] * 2
    assert name.get() == "given"


def test_the_first_error_in_order_is_raised_after_all_have_ended() -> None:
    ended = []

    def fail(after: float, message: str) -> Any:
        def work() -> None:
            time.sleep(after)
            ended.append(message)
            raise ShapeError("work", message)

        return work

    meeting = threading.Barrier(3, timeout=20)
    with pytest.raises(ShapeError, match="slow"):
        run_parallel(
            [meeting.wait, lambda: (meeting.wait(), fail(0.05, "slow")()), lambda: (meeting.wait(), fail(0, "q")())]
        )
    assert sorted(ended) == ["q", "slow"]


def test_an_error_is_not_held_in_a_circle_with_the_frame_that_raised_it() -> None:
    import gc
    import weakref

    class Large:
        pass

    def fail() -> None:
        held = Large()
        seen.append(weakref.ref(held))
        raise ShapeError("work", "no")

    seen: list[Any] = []
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(ShapeError):
            run_parallel([fail, fail])
        shut_down_workers()
        assert seen
        assert [ref() for ref in seen] == [None] * len(seen)
    finally:
        gc.enable()


def test_ctrl_c_in_the_main_thread_waits_for_the_others_and_is_raised() -> None:
    ended = threading.Event()
    begun = threading.Event()

    def press() -> None:
        begun.wait(20)
        signal.raise_signal(signal.SIGINT)

    def go_on() -> None:
        begun.set()
        time.sleep(0.1)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_parallel([press, go_on])
    assert ended.is_set()


def test_ctrl_c_while_the_main_thread_waits_for_the_others_is_raised_after_they_end() -> None:
    ended = threading.Event()
    begun = threading.Event()

    def press_from_afar() -> None:
        begun.set()
        time.sleep(0.05)  # the main thread waits by now
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.1)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_parallel([lambda: begun.wait(20), press_from_afar])
    assert ended.is_set()


def test_works_within_a_work_run_in_its_thread_one_after_the_other() -> None:
    def inner() -> list[int]:
        return run_parallel([threading.get_ident, threading.get_ident])

    def stretches() -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        split(10, 1, lambda a, b: found.append((a, b)))
        return found

    with use_cores(4):
        mine, others = run_parallel(
            [
                inner,
                lambda: (
                    inner(),
                    stretches(),
                    threading.get_ident(),
                ),
            ]
        )
        assert len(set(mine)) == 1
        idents, found, ident = others
        assert set(idents) == {ident}
        assert found == [(0, 10)]


@pytest.mark.parametrize(
    ("n", "least", "count", "want"),
    [
        pytest.param(10, 1, 3, [(0, 3), (3, 6), (6, 10)], id="uneven"),
        pytest.param(10, 5, 3, [(0, 5), (5, 10)], id="fewer than cores"),
        pytest.param(9, 5, 3, [(0, 9)], id="too few"),
        pytest.param(10, 1, 1, [(0, 10)], id="one core"),
        pytest.param(0, 1, 3, [(0, 0)], id="nothing"),
    ],
)
def test_split_covers_each_number_once_in_stretches_that_are_long_enough(
    n: int, least: int, count: int, want: list[tuple[int, int]]
) -> None:
    found: list[tuple[int, int]] = []
    with use_cores(count):
        split(n, least, lambda start, stop: found.append((start, stop)))
    assert sorted(found) == want


def test_where_no_thread_can_be_started_works_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads._Worker, "start", refuse)
    assert set(run_parallel([threading.get_ident] * 3)) == {threading.get_ident()}
