"""Requests that are predicted together."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from xpnet.serving.batching import Batcher
from xpnet.serving.messages import HttpError


class Model:
    """Doubles numbers; keeps the sizes of batches; fails on a negative one."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, xs):
        self.batches.append([len(x) for x in xs])
        if min(x.min() for x in xs) < 0:
            raise ValueError("negative")
        return [2 * x for x in xs]


@pytest.fixture
def batcher():
    model = Model()
    found = Batcher(model, most=4, wait=5.0, queue=100)
    found.model = model
    yield found
    found.close()


def ask_all(batcher, requests):
    """Ask from a thread each, all of which are expected first; return what each got."""
    ready, results = threading.Barrier(len(requests)), {}

    def ask(i, x):
        with batcher.expected():
            ready.wait(10)
            try:
                results[i] = batcher.predict(np.asarray(x), 10)
            except ValueError as error:
                results[i] = str(error)

    threads = [threading.Thread(target=ask, args=each) for each in enumerate(requests)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[i] for i in range(len(requests))]


def test_expected_requests_are_joined_and_each_gets_its_own(batcher):
    got = ask_all(batcher, [[1], [2, 3], [4]])
    assert [found.tolist() for found in got] == [[2], [4, 6], [8]]
    assert [sum(each) for each in batcher.model.batches] == [4]


def test_a_client_alone_does_not_wait(batcher):
    with batcher.expected():
        assert batcher.predict(np.array([1]), 1.0).tolist() == [2]  # below the 5 s that a batch would wait


def test_a_client_alone_is_answered_in_its_own_thread_once_the_model_is_known_to_be_fast():
    threads = []
    batcher = Batcher(lambda xs: (threads.append(threading.current_thread().name), xs)[1])
    for _ in range(2):
        batcher.predict(np.array([1]), 10)
    with batcher.expected(), batcher.expected():  # another one is read
        batcher.predict(np.array([1]), 10)
    batcher.close()
    assert threads == ["xpnet-batches", threading.current_thread().name, "xpnet-batches"]


def test_a_request_of_many_examples_is_given_up_though_the_one_before_was_fast(monkeypatch):
    monkeypatch.setattr("xpnet.serving.batching.time.monotonic", iter(range(1000)).__next__)
    monkeypatch.setattr("xpnet.serving.batching._SHORT", 1.5)  # a batch takes one tick
    free = threading.Event()
    batcher = Batcher(lambda xs: (len(xs[0]) == 1 or free.wait(10), xs)[1])
    batcher.predict(np.array([1]), 10)
    with pytest.raises(HttpError, match="no answer in"):
        batcher.predict(np.array([1, 2]), 0.01)
    free.set()
    batcher.close()


def test_one_batch_is_computed_at_a_time_whoever_computes_it():
    running, overlaps, began, free = threading.Lock(), [], threading.Event(), threading.Event()

    def predict(xs):
        if not running.acquire(blocking=False):
            overlaps.append(xs)
            return xs
        if xs[0][0] == 2:
            began.set()
            free.wait(10)
        running.release()
        return xs

    batcher = Batcher(predict)
    batcher.predict(np.array([1]), 10)  # it is known to be fast
    threads = [threading.Thread(target=batcher.predict, args=(np.array([k]), 10)) for k in (2, 3, 4)]
    threads[0].start()  # alone, in its own thread
    began.wait(10)
    for thread in threads[1:]:
        thread.start()
    time.sleep(0.05)
    free.set()
    for thread in threads:
        thread.join()
    batcher.close()
    assert overlaps == []


def test_a_bad_request_fails_alone(batcher):
    got = ask_all(batcher, [[1], [-2], [3]])
    assert [found if isinstance(found, str) else found.tolist() for found in got] == [[2], "negative", [6]]
    assert len(batcher.model.batches) == 4  # together, then one by one


def test_a_batch_has_no_more_than_its_most_and_a_larger_request_is_alone(batcher):
    got = ask_all(batcher, [[1] * 3, [2] * 3, [3] * 9])
    assert [len(found) for found in got] == [3, 3, 9]
    assert sorted(map(sum, batcher.model.batches)) == [3, 3, 9]


def test_a_request_that_is_given_up_is_not_predicted():
    free, model = threading.Event(), Model()
    batcher = Batcher(lambda xs: (free.wait(10), model(xs))[1], most=1, wait=0.0)
    thread = threading.Thread(target=lambda: batcher.predict(np.array([1]), 10))
    thread.start()
    while batcher.batches == 0:
        pass
    with pytest.raises(HttpError, match="no answer in"):
        batcher.predict(np.array([2, 2]), 0.01)
    free.set()
    thread.join()
    batcher.close()
    assert model.batches == [[1]]
    with pytest.raises(HttpError, match="shutting down"):
        batcher.predict(np.array([1]), 1)
