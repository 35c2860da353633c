"""A training whose batches are divided among processes ends with the bits of one process, whatever serves them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.distributed.threaded import Threaded, run
from xpnet import data, nn
from xpnet.data.lazy import Lazy, gather
from xpnet.distributed import Communicator, single
from xpnet.train import Trainer

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (43, 6, 6, 1), dtype=np.uint8)
Y = RNG.integers(0, 3, 43)
SET = data.from_arrays(X, Y, list("abc"))
W = RNG.uniform(0, 2, 43).astype(np.float32)
LAZY = replace(SET, x=Lazy(X.shape, lambda rows, out: gather(X, rows, out)))


def batches() -> Iterator[Any]:
    for start, stop in ((0, 20), (20, 23), (23, 43)):
        yield X[start:stop], Y[start:stop]


CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "plain": (SET, {}, {}),
    "weights": (SET.weighted(W), {}, {}),
    "class weights": (SET, {}, {"class_weights": "balanced"}),
    "accumulated": (SET.weighted(W), {}, {"accumulate": 2}),
    "augmented": (SET, {"augment": data.Augment(shift=1, elastic=1.0)}, {}),
    "read later": (LAZY, {"augment": "light"}, {}),
    "stream": (batches, {"augment": data.Mirror()}, {}),
    "weighted stream": (batches, {}, {"class_weights": [1.0, 2.0, 0.5]}),
}


def trained(communicator: Communicator, train: Any, fit: dict[str, Any], options: dict[str, Any]) -> list[Any]:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)).initialize(1)
    trainer = Trainer(model, communicator=communicator, shards=8, **options)
    trainer.fit(train, train, epochs=2, **({} if callable(train) else {"batch_size": 10}), **fit)
    records = [{**record, "seconds": 0} for record in trainer.history]
    return [*(p.numpy().tobytes() for p in model.parameters()), records]


@pytest.mark.parametrize("case", CASES)
def test_processes_train_what_one_does_bit_for_bit(case):
    want = trained(single(), *CASES[case])

    def work(communicator: Threaded) -> list[Any]:
        return trained(communicator, *CASES[case])

    for found in run(3, work):
        assert found == want


@pytest.mark.parametrize(("n", "batch_size", "accumulate", "size"), [(11, 4, 3, 2), (13, 2, 2, 3), (7, 2, 3, 3)])
def test_without_shards_processes_do_to_rounding_what_as_many_shards_of_one_do(n, batch_size, accumulate, size):
    """Pieces of accumulated batches meet in batch norm: as many in each process, also where one has fewer rows."""

    def fitted(communicator: Communicator, shards: int) -> list[np.ndarray]:
        net = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.BatchNorm(5), nn.Tanh(), nn.Linear(5, 3)).initialize(1)
        trainer = Trainer(net, communicator=communicator, shards=shards, accumulate=accumulate)
        trainer.fit(SET.take(np.arange(n)), epochs=2, batch_size=batch_size)
        return [*net.state_dict().values(), np.asarray(trainer.history[-1]["train_loss"])]

    want = fitted(single(), size)
    for found in run(size, lambda communicator: fitted(communicator, 1)):
        for a, b in zip(found, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
