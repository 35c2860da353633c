"""Work done ahead of time, by a thread: batches that wait in memory, or in staging buffers."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from xpnet.backend import StagingBuffers

__all__ = ["send_ahead", "work_ahead"]

_AHEAD = 2  # results


def work_ahead(work: Callable[[int], Any], steps: range) -> Generator[Any, None, None]:
    """Yield work(step) for each step, computed in a thread that stays two results ahead.

    An error in the thread is raised in place of its result. Closing the generator ends the thread. A forked
    child, which has no such thread, computes what is left by itself.
    """
    process = os.getpid()
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def produce() -> None:
        try:
            for step in steps:
                if stop.is_set():
                    return
                ready.put((work(step), None))
        except BaseException as error:  # every kind: raised again in the consumer
            ready.put((None, error))

    thread = threading.Thread(target=produce, name="xpnet-feed", daemon=True)
    thread.start()
    try:
        for step in steps:
            if os.getpid() != process:
                yield work(step)
                continue
            result, error = ready.get()
            if error is not None:
                raise error
            yield result
    finally:
        if os.getpid() == process:
            stop.set()
            while not ready.empty():  # make room for the result the thread may be about to put
                ready.get_nowait()
            if not sys.is_finalizing():  # at exit daemon threads are stopped and cannot be joined
                thread.join()


def send_ahead(
    buffers: StagingBuffers, load: Callable[[int, list[np.ndarray]], int], steps: range
) -> Generator[Any, None, None]:
    """Yield the batch of each step on the device; a thread loads them into slots of staging buffers and sends them.

    Args:
        buffers: not used elsewhere at the same time.
        load: (step, arrays) -> rows: fills the first rows of a slot's arrays on the host.
        steps: the steps to load.
    Returns:
        A generator of tuples of arrays on the device, valid until the next ones are requested.
    """
    free: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for slot in range(buffers.slots):
        free.put(slot)

    def send(step: int) -> int:
        slot = free.get()
        if slot is None:
            raise RuntimeError("no more batches are wanted")  # raised in the thread that ends
        buffers.send(slot, load(step, buffers.host(slot)))
        return slot

    try:
        with contextlib.closing(work_ahead(send, steps)) as sent:
            try:
                for slot in sent:
                    yield tuple(buffers.take(slot))
                    buffers.release(slot)
                    free.put(slot)
            finally:
                free.put(None)  # the thread may be waiting for a slot
    finally:
        if not sys.is_finalizing():
            buffers.drain()
