"""What processes score together is, on each of them and to the bit, what one process scores."""

from __future__ import annotations

import copy
import logging
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.distributed.threaded import Threaded, run
from tests.harness import raises
from xpnet import data, nn
from xpnet.autograd import Tensor
from xpnet.backend import cores, use_cores
from xpnet.data.lazy import Lazy, gather
from xpnet.distributed import Communicator, single
from xpnet.distributed.agreement import attempt
from xpnet.errors import ConfigError, DataError, XpnetError
from xpnet.train import Trainer, scoring
from xpnet.train.scored_batches import own_batches

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(230, 4)) * [1, -2, 0.5, 3] + 5).astype(np.float32)
Y = (X @ [1.0, 0.5, -1, 0.1] > 6).astype(int) + (X[:, 3] > 6)
T = (X @ RNG.normal(size=(4, 2))).astype(np.float32)
L = (T.mean(axis=0) < T).astype(int)
W = RNG.uniform(0, 2, 230).astype(np.float32)
IMAGES = RNG.integers(0, 256, (230, 3, 4, 1), dtype=np.uint8)
LAZY = Lazy(IMAGES.shape, lambda rows, out: gather(IMAGES, rows, out))


def net(outputs: int, *more: Any) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, outputs), *more).initialize(1)


class Pair(nn.Module):
    """Takes two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.a(x) + self.b(t)


def furthest(scores: Tensor, y: Any) -> Tensor:
    """A loss that is no average of its examples' losses."""
    return ((scores - Tensor(y)) * (scores - Tensor(y))).sum() ** 0.5


def batches(x: Any, y: Any = None) -> Any:
    """A stream of batches of unequal sizes."""
    cuts = [0, 70, 71, 130, 170, 230]

    def generate():
        for start, stop in pairwise(cuts):
            yield x[start:stop] if y is None else (x[start:stop], y[start:stop])

    return generate


def fitted(model: nn.Module, train: Any, **options: Any) -> Trainer:
    trainer = Trainer(model, communicator=single(), **options)
    trainer.fit(train, epochs=1, batch_size=64)
    return trainer


def autoencoder() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Linear(3, 12)).initialize(0)


PHOTOS = data.Dataset(LAZY, np.zeros(230, np.int64), ("a", "b"), "photos")  # type: ignore[arg-type]
CASES = {  # a trainer, what it measures, and what it predicts of
    "classification": lambda: (fitted(net(3), (X, Y)), (X, Y), X),
    "class weights": lambda: (fitted(net(3), (X, Y), class_weights="balanced"), (X, Y), X),
    "sample weights": lambda: (fitted(net(3), (X, Y)), data.from_arrays(X, Y).weighted(W), X),
    "metrics": lambda: (fitted(net(3), (X, Y), metrics={"most": lambda s, y: float(s.max())}), (X, Y), X),
    "multilabel": lambda: (fitted(net(2), (X, L)), (X, L), X),
    "regression": lambda: (fitted(net(2), (X, T)), (X, T), X),
    "sums": lambda: (fitted(net(2), (X, T), loss=partial(nn.mean_squared_error, reduction="sum")), (X, T), X),
    "custom": lambda: (fitted(net(2), (X, T), loss=furthest, task="custom"), (X, T), X),
    "several inputs": lambda: (fitted(Pair().initialize(1), ((X, T), Y % 2)), ((X, T), Y % 2), (X, T)),
    "reconstruction": lambda: (fitted(autoencoder(), IMAGES, task="reconstruction"), IMAGES, IMAGES),
    "reconstruction of what is read": lambda: (fitted(autoencoder(), IMAGES, task="reconstruction"), PHOTOS, LAZY),
    "stream": lambda: (fitted(net(3), (X, Y)), batches(X, Y), batches(X)),
    "reconstruction of a stream": lambda: (
        fitted(autoencoder(), IMAGES, task="reconstruction"),
        batches(IMAGES, Y),
        batches(IMAGES),
    ),
}
SIZES = [2, 3, 4, 7]


def of_process(trainer: Trainer, communicator: Communicator) -> Trainer:
    """Return the trainer as one process has it."""
    found = copy.copy(trainer)
    found.processes = trainer.processes._replace(communicator=communicator)
    return found


def assert_same(found: Any, want: Any) -> None:
    assert type(found) is type(want)
    if isinstance(want, dict):
        assert [*found] == [*want]
        for name in want:
            assert_same(found[name], want[name])
    elif isinstance(want, np.ndarray):
        assert (found.dtype, found.shape) == (want.dtype, want.shape)
        assert np.array_equal(found, want, equal_nan=want.dtype.kind == "f")
    else:
        assert found == want


@pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
def test_processes_measure_and_predict_what_one_does(make, monkeypatch):
    monkeypatch.setattr(scoring, "_KEPT", 5000)
    trainer, held, x = make()
    figures, predicted = trainer.evaluate(held, batch_size=40), trainer.predict(x, batch_size=40)
    assert len(predicted) == 230

    def work(communicator: Threaded) -> tuple[Any, Any]:
        mine = of_process(trainer, communicator)
        return mine.evaluate(held, batch_size=40), mine.predict(x, batch_size=40)

    for size in SIZES:
        for found in run(size, work):
            assert_same(found[0], figures)
            assert_same(found[1], predicted)


def test_each_process_reads_its_own_batches_only():
    read: list[int] = []

    def reading(rows: np.ndarray, out: np.ndarray) -> None:
        read.extend(rows.tolist())
        gather(IMAGES, rows, out)

    trainer = fitted(autoencoder(), IMAGES, task="reconstruction")
    sets = [Lazy(IMAGES.shape, reading) for _ in range(3)]
    for x in sets:
        x.sample()  # by which all know the scale
    del read[:]
    run(3, lambda c: of_process(trainer, c).predict(sets[c.rank], batch_size=40))
    assert sorted(read) == list(range(230))


@pytest.mark.parametrize(("n", "batch_size"), [(230, 40), (230, 1), (1, 40), (80, 40), (0, 5)])
def test_batches_have_the_bounds_of_one_process_and_each_is_of_one_process(n, batch_size):
    for size in (1, 2, 3, 8):
        for number in range(4):
            found = [own_batches(member(rank, size), n, batch_size, number) for rank in range(size)]
            assert sorted(i for first, stop in found for i in range(first, stop)) == list(range(n))
            assert all(first % batch_size == 0 or first == stop for first, stop in found)
    if n == 1:  # the sets of a stream in turns
        owners = {
            number: [own_batches(member(r, 3), 1, 5, number) for r in range(3)].index((0, 1)) for number in range(3)
        }
        assert sorted(owners.values()) == [0, 1, 2]


def member(rank: int, size: int) -> Any:
    found = Threaded.__new__(Threaded)
    found.rank, found.size = rank, size
    return found


def test_scores_that_are_nan_are_said_once(caplog):
    caplog.set_level(logging.WARNING, logger="xpnet")
    trainer = fitted(net(3), (X, Y))
    weight = trainer.model.parameters()[0]
    weight.data[...] = np.nan
    figures = run(3, lambda c: of_process(trainer, c).evaluate((X, Y), batch_size=40))
    assert [record.message for record in caplog.records] == ["evaluate: 230 of 230 examples have scores that are NaN"]
    assert all(np.isnan(each["loss"]) for each in figures)


def test_what_a_metric_says_in_the_first_process_counts_in_all():
    trainer = fitted(net(3), (X, Y))

    def work(communicator: Threaded) -> float:
        mine = of_process(trainer, communicator)
        mine.metrics = {"drawn": lambda scores, y: float(communicator.rank + 0.1)}
        return mine.evaluate((X, Y))["drawn"]

    assert run(3, work) == [0.1, 0.1, 0.1]


@pytest.mark.parametrize("call", ["evaluate", "predict"])
def test_an_error_in_one_process_is_raised_in_all(call):
    trainer = fitted(autoencoder(), IMAGES, task="reconstruction")

    def reading(rows: np.ndarray, out: np.ndarray) -> None:
        if 220 in rows:
            raise DataError.event("photo 220", "the file ends early")
        gather(IMAGES, rows, out)

    x = Lazy(IMAGES.shape, reading)
    x._sample = IMAGES[:64]
    held = data.Dataset(x, np.zeros(230, np.int64), ("a", "b"), "photos") if call == "evaluate" else x  # type: ignore

    def work(communicator: Threaded) -> str:
        with pytest.raises(DataError) as caught:
            getattr(of_process(trainer, communicator), call)(held, batch_size=40)
        return str(caught.value)

    lines = run(3, work)
    assert lines[2] == "photo 220: the file ends early"
    for line in lines[:2]:
        assert line == f"{call}: process 2 of 3 failed: error photo 220: the file ends early"


def test_an_error_of_another_kind_is_one_line_elsewhere():
    def work(communicator: Threaded) -> str:
        def fail() -> int:
            if communicator.rank == 1:
                raise ZeroDivisionError("of a\nuser's code")
            return 3

        with pytest.raises((XpnetError, ZeroDivisionError)) as caught:
            attempt(communicator, "fit", fail)
        return f"{type(caught.value).__name__} {caught.value}".replace("\n", "|")

    other = "XpnetError fit: process 1 of 3 failed: error ZeroDivisionError: of a"
    assert run(3, work) == [other, "ZeroDivisionError of a|user's code", other]


def test_a_metric_that_fails_is_the_same_error_in_all():
    trainer = fitted(net(3), (X, Y))

    def work(communicator: Threaded) -> None:
        mine = of_process(trainer, communicator)
        mine.metrics = {"bad": lambda scores, y: 1 / 0}
        with raises(ConfigError, "evaluate", "the metric bad failed"):
            mine.evaluate((X, Y))

    run(2, work)


def test_with_virtual_shards_one_thread_scores_a_batch_whatever_the_number_of_cores():
    seen = []

    class Looking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(cores())
            return x

    def scored(shards: int | None) -> set[int]:
        del seen[:]
        trainer = Trainer(nn.Sequential(Looking(), nn.Linear(4, 3)).initialize(1), communicator=single(), shards=shards)
        with use_cores(3):
            trainer.evaluate((X, Y))
            trainer.predict(X)
        return set(seen)

    assert scored(8) == {1}
    assert scored(None) == {3}
