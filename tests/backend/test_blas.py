"""BLAS's threads: one for middling products and beside xpnet's own threads, all of them for large products."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from xpnet.backend import blas, can_limit_blas, limit_threads, run_parallel, shut_down_workers
from xpnet.errors import ShapeError


class Library:
    """A BLAS library as threadpoolctl presents it."""

    internal_api = "of the test"

    def __init__(self, count: int) -> None:
        self.count: int = count
        self.calls: list[int] = []

    def get_num_threads(self) -> int:
        return self.count

    def set_num_threads(self, n: int) -> None:
        self.count = n
        self.calls.append(n)


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Library]]:
    """Two libraries in NumPy's place, of four threads and of one."""
    found = [Library(4), Library(1)]
    monkeypatch.setattr(blas, "_libraries", lambda: tuple(blas._functions(library) for library in found))
    monkeypatch.setattr(blas, "_has_threads", lambda: True)
    limit_threads.cache_clear()
    yield found
    limit_threads.cache_clear()
    shut_down_workers()


@pytest.mark.parametrize(
    ("n", "k", "m", "threads"),
    [(8, 30, 10, 4), (32, 288, 64, 1), (64, 784, 128, 4), (1, 1024, 1024, 4)],
)
def test_a_product_has_one_thread_unless_it_is_large_or_small_or_of_one_row(
    libraries: list[Library], n: int, k: int, m: int, threads: int
) -> None:
    seen = []
    limit_threads(lambda *arrays: seen.append((arrays, libraries[0].count)), n, k, m)(1, 2, 3)
    assert seen == [((1, 2, 3), threads)]
    assert [library.count for library in libraries] == [4, 1]


def test_a_held_product_is_written_where_it_is_wanted() -> None:
    a, b, y = np.ones((64, 100), np.float32), np.full((100, 64), 2, np.float32), np.empty((64, 64), np.float32)
    limit_threads(np.matmul, 64, 100, 64)(a, b, y)
    assert (y == 200).all()


def test_blas_has_one_thread_beside_threads_of_xpnet_and_its_own_afterwards(libraries: list[Library]) -> None:
    def count() -> int:
        run_parallel([lambda: None, lambda: None])
        limit_threads(lambda *arrays: None, 32, 288, 64)()
        return libraries[0].count

    assert run_parallel([count, count]) == [1, 1]
    assert [library.calls for library in libraries] == [[1, 4], []]
    with pytest.raises(ShapeError, match="no"):
        run_parallel([lambda: None, lambda: (_ for _ in ()).throw(ShapeError("task", "no"))])
    assert libraries[0].count == 4


def test_blas_stays_held_while_another_thread_still_shares_work(libraries: list[Library]) -> None:
    inside, go_on = threading.Event(), threading.Event()
    other = threading.Thread(target=lambda: run_parallel([lambda: (inside.set(), go_on.wait(20)), lambda: None]))
    other.start()
    inside.wait(20)
    run_parallel([lambda: None, lambda: None])
    assert libraries[0].count == 1
    go_on.set()
    other.join()
    assert libraries[0].count == 4


def test_the_blas_of_numpy_is_held_also_from_a_second_thread() -> None:
    import threadpoolctl

    def counts() -> list[int]:
        return [b["num_threads"] for b in threadpoolctl.threadpool_info() if b["user_api"] == "blas"]

    if not counts():
        pytest.skip("threadpoolctl does not know the BLAS of this NumPy")
    assert can_limit_blas()
    seen: list[list[int]] = []

    def hold() -> None:
        with blas.single_threaded():
            seen.append(counts())
        seen.append(counts())

    with threadpoolctl.threadpool_limits(2, "blas"):  # this thread is the one whose limits threadpoolctl obeys
        hold()
        other = threading.Thread(target=hold)
        other.start()
        other.join()
    assert seen == [[1] * len(seen[0]), [2] * len(seen[0])] * 2


@pytest.mark.parametrize("why", ["no threadpoolctl", "no BLAS found", "a BLAS without a number", "Accelerate"])
def test_without_a_blas_that_can_be_held_work_still_runs_in_parallel(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import threadpoolctl

    found: list[Any] = [Library(4)]
    if why == "no threadpoolctl":
        monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    elif why == "no BLAS found":
        found.clear()
    elif why == "a BLAS without a number":
        monkeypatch.setattr(found[0], "get_num_threads", lambda: None)
    else:  # NumPy computes with Accelerate, and the library found belongs to something else
        built = {"Build Dependencies": {"blas": {"name": "accelerate"}}}
        monkeypatch.setattr(np, "show_config", lambda mode: built)
    monkeypatch.setattr(
        threadpoolctl.ThreadpoolController, "select", lambda self, user_api: SimpleNamespace(lib_controllers=found)
    )
    caches = [blas._libraries.cache_clear, blas._has_threads.cache_clear, limit_threads.cache_clear]
    for clear in caches:
        clear()
    try:
        assert not can_limit_blas()
        assert limit_threads(np.matmul, 32, 288, 64) is np.matmul
        meeting = threading.Barrier(2, timeout=20)
        assert sorted(run_parallel([meeting.wait, meeting.wait])) == [0, 1]
    finally:
        monkeypatch.undo()
        for clear in caches:
            clear()
        shut_down_workers()
