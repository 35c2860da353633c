"""Each argument of Trainer and fit is compared between processes, or is free to differ, by one table."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.distributed.threaded import Threaded, run
from xpnet import data, nn, optim
from xpnet.distributed.facts import value_fact
from xpnet.errors import ConfigError
from xpnet.train import Trainer
from xpnet.train.same_everywhere import FIT, TRAINER


@pytest.mark.parametrize(
    ("function", "table"), [(Trainer.__init__, TRAINER), (Trainer.fit, FIT)], ids=["Trainer", "fit"]
)
def test_each_argument_has_a_decision(function: Callable[..., Any], table: dict[str, Any]) -> None:
    assert list(inspect.signature(function).parameters)[1:] == list(table)


X = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3)).astype(np.uint8)
Y = np.arange(24) % 3


def zero(scores: np.ndarray, labels: np.ndarray) -> float:
    return 0.0


DIFFERENT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # of Trainer, of fit; in the second process
    "optimizer": ({"optimizer": partial(optim.SGD, lr=0.1, momentum=0.8)}, {}),
    "loss": ({"loss": partial(nn.softmax_cross_entropy, label_smoothing=0.1)}, {}),
    "metrics": ({"metrics": {"zero": zero}}, {}),
    "class_weights": ({"class_weights": [1, 2, 3]}, {}),
    "seed": ({"seed": 1}, {}),
    "normalize": ({"normalize": data.Normalize((0.5,), (0.25,))}, {}),
    "ema": ({"ema": 0.9}, {}),
    "accumulate": ({"accumulate": 2}, {}),
    "shards": ({"shards": 4}, {}),
    "batch_norm": ({"batch_norm": "local"}, {}),
    "test data": ({}, {"test": (X[:6], Y[:6])}),
    "epochs": ({}, {"epochs": 3}),
    "batch_size": ({}, {"batch_size": 8}),
    "augment": ({}, {"augment": data.Mirror() + data.Rotate(20)}),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_is_named_in_both_processes(name: str) -> None:
    def work(communicator: Threaded) -> str:
        of_trainer, of_fit = DIFFERENT[name] if communicator.rank else ({}, {})
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).initialize(0)
        make = of_trainer.get("optimizer", partial(optim.SGD, lr=0.1, momentum=0.9))
        how: dict[str, Any] = {"shards": 2, **of_trainer, "optimizer": make(model.parameters())}
        trainer = Trainer(model, communicator=communicator, **how)
        given: dict[str, Any] = {"test": (X[:7], Y[:7]), "augment": data.Mirror() + data.Rotate(10), "batch_size": 12}
        with pytest.raises(ConfigError) as error:
            trainer.fit((X, Y), **{**given, "epochs": 1, **of_fit})
        return str(error.value)

    one, two = run(2, work)
    assert one == two
    assert one.startswith("check_agreement: the processes differ in ")
    assert name in one.partition(": the processes differ in ")[2].partition(":")[0]


def test_a_value_is_a_line_that_is_the_same_in_another_process() -> None:
    class Loss:
        def __init__(self, factor: float) -> None:
            self.factor, self.table, self.other = factor, np.arange(3), object()

    assert value_fact(0.1) == "0.1"
    assert value_fact(None) == "None"
    assert value_fact(nn.softmax_cross_entropy) == "xpnet.nn.loss.softmax_cross_entropy"
    assert value_fact(Loss(2.0)) == value_fact(Loss(2.0)) != value_fact(Loss(3.0))
    assert value_fact([1] * 200) == value_fact([1] * 200) != value_fact([1] * 199 + [2])
    assert len(value_fact([1] * 200)) < 100
    assert "object at" not in value_fact({"a": object(), "b": (object(),)})
