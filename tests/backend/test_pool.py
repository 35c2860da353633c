"""Memory of large arrays that is used again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from xpnet.backend import Program, empty, this_thread
from xpnet.backend import pool as module
from xpnet.backend.pool import ArrayPool


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ArrayPool]:
    """A pool for arrays of 64 bytes and more, in use."""
    monkeypatch.setattr(module, "LARGE", 64)
    made = ArrayPool()
    with made.in_use():
        yield made
    assert this_thread.pool is None


def place(array: np.ndarray) -> int:
    return array.ctypes.data


def test_memory_is_used_again_when_nothing_refers_to_it() -> None:
    first = place(empty((4, 4), np.float32))
    again = empty((8, 2), np.int32)  # of as many bytes
    assert (place(again), again.shape, again.dtype) == (first, (8, 2), np.int32)
    assert again.flags.carray


@pytest.mark.parametrize(
    "view",
    [lambda a: a, lambda a: a[1:, ::2], lambda a: a.T.reshape(-1)[3:], memoryview],
    ids=["array", "part", "copy", "buffer"],
)
def test_memory_that_is_referred_to_is_not_given_away(view: Any) -> None:
    array = empty((4, 4), np.float32)
    array[:] = 7
    kept = view(array)
    del array
    other = empty((4, 4), np.float32)
    other[:] = 8
    assert np.asarray(kept).min() == 7


def test_small_arrays_and_those_of_another_thread_are_new() -> None:
    assert empty((2, 2), np.float32).base is None
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(empty((4, 4), np.float32).base))
    thread.start()
    thread.join()
    assert found == [None]


def test_threads_that_share_a_pool_never_have_the_same_memory(pool: ArrayPool) -> None:
    wrong: list[int] = []

    def work(value: int) -> None:
        with pool.in_use():
            for _ in range(500):
                arrays = [empty((64,), np.int32) for _ in range(3)]
                for k, array in enumerate(arrays):
                    array[:] = 10 * value + k
                wrong.extend(k for k, array in enumerate(arrays) if (array != 10 * value + k).any())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert pool.blocks <= 24, "three of the last round and three new ones a thread"


def test_a_program_takes_its_own_memory() -> None:
    free = place(empty((4, 4), np.float32))
    program = Program()
    with program.recording():
        assert place(empty((4, 4), np.float32)) != free
    assert program.nbytes == 64
