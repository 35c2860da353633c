"""Which task is chosen, by name or by the data."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from tests.harness import raises
from xpnet import nn
from xpnet.errors import CheckpointError, ConfigError, DataError
from xpnet.train import Trainer
from xpnet.train.tasks import infer_task, make_task, saved_task

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)


@pytest.mark.parametrize(
    ("y", "loss", "name"),
    [
        (np.arange(8) % 2, None, "classification"),
        (np.arange(8) % 2, nn.hinge_loss, "classification"),
        (np.arange(8) / 2, None, "regression"),
        (np.zeros((8, 2, 2)), None, "regression"),
        (np.arange(8) / 2, nn.mean_squared_error, "custom"),
        (np.eye(8), nn.binary_cross_entropy, "custom"),
    ],
)
def test_the_task_is_inferred_of_targets_and_loss(y, loss, name):
    assert infer_task(y, loss).name == name


def test_the_choice_is_logged_and_said(caplog):
    trainer = Trainer(nn.Linear(3, 2))
    assert trainer.describe() == ""
    with caplog.at_level(logging.INFO, "xpnet"):
        trainer.fit((X, np.arange(8) % 2), epochs=1)
    assert trainer.describe().startswith("classification")
    assert trainer.describe() in caplog.text


def test_a_task_is_chosen_by_name_and_a_misspelt_name_gets_the_nearest():
    assert make_task("regression").name == "regression"
    with raises(ConfigError, "task", "'regresion'", "did you mean 'regression'"):
        Trainer(nn.Linear(3, 2), task="regresion")
    with raises(ConfigError, "task", "loss"):
        Trainer(nn.Linear(3, 2), task="custom")


def test_a_task_given_as_an_object_is_copied_so_that_two_trainers_do_not_share_it():
    task = make_task("regression")
    trainer = Trainer(nn.Linear(3, 1), task=task)
    trainer.fit((X, X[:, 0] + 5), epochs=1)
    assert trainer.task.mean == pytest.approx(5, abs=0.1)
    assert task.mean is None


def test_classification_of_numbers_is_an_error():
    with raises(DataError, "arrays", "integers", "y.astype(int)"):
        Trainer(nn.Linear(3, 2), task="classification").fit((X, X[:, 0]))


def test_a_checkpoint_without_a_task_is_of_classification():
    assert saved_task(None).name == "classification"
    with raises(CheckpointError, "task", "'dancing'"):
        saved_task({"name": "dancing"})


@pytest.mark.parametrize("values", [{"mean": 1.0}, {"mean": "a", "deviation": 1}, {"mean": [1.0], "deviation": [0.0]}])
def test_numbers_of_a_saved_task_are_checked(values):
    with raises(CheckpointError, "task", "deviation" if "a" not in values.values() else "mean"):
        saved_task({"name": "regression", **values})


@pytest.mark.parametrize("metrics", [3, {"loss": np.mean}, {"a b": np.mean}, {"x": 3}, {1: np.mean}])
def test_metrics_are_functions_by_name(metrics):
    with raises(ConfigError, "Trainer", "metric"):
        Trainer(nn.Linear(3, 2), metrics=metrics)
