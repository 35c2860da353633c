from __future__ import annotations

import logging

import numpy as np
import pytest

from tests.harness import raises
from xpnet import data, nn, optim
from xpnet.errors import DataError, ShapeError
from xpnet.train import Trainer

metrics = pytest.importorskip("sklearn.metrics")

rng = np.random.default_rng(0)
X = rng.normal(size=(80, 4)).astype(np.float32)
LABELS = (X[:, :3] + 0.2 * rng.normal(size=(80, 3)) > [0, 0.5, 1]).astype(int)  # (N, 3)


def fitted(y: np.ndarray = LABELS, epochs: int = 20, **options) -> Trainer:
    model = nn.Linear(4, y[:1].size).initialize(0)
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.05), **options)
    trainer.fit((X, y), (X, y), epochs=epochs, batch_size=20)
    return trainer


def test_a_matrix_of_0_and_1_is_learned_label_by_label():
    trainer = fitted()
    assert trainer.task.name == "multilabel"
    chances = trainer.predict(X)
    assert chances.shape == (80, 3)
    assert ((chances > 0.5) == LABELS).mean() > 0.9
    assert {"test_loss", "test_micro_f1", "test_macro_f1", "test_exact_match"} <= set(trainer.history[-1])


def test_figures_are_those_of_scikit_learn():
    trainer = fitted(epochs=3)
    predicted = trainer.predict(X) > 0.5
    figures = trainer.evaluate(data.from_arrays(X, LABELS, ["a", "b", "c"]))
    assert figures["exact_match"] == metrics.accuracy_score(LABELS, predicted)
    assert figures["micro_f1"] == pytest.approx(metrics.f1_score(LABELS, predicted, average="micro"))
    assert figures["macro_f1"] == pytest.approx(metrics.f1_score(LABELS, predicted, average="macro"))
    each = metrics.precision_recall_fscore_support(LABELS, predicted, zero_division=0)
    assert [list(label.values()) for label in figures["per_label"].values()] == np.stack(each).T.tolist()


def test_the_loss_is_the_cross_entropy_of_each_label_for_every_batch_size():
    trainer = fitted(epochs=2)
    p = trainer.predict(X).astype(float)
    losses = [trainer.evaluate((X, LABELS), batch_size=n)["loss"] for n in (7, 80)]
    assert losses == pytest.approx([metrics.log_loss(LABELS.ravel(), p.ravel())] * 2, rel=1e-4)


def test_one_label_may_be_a_row_or_a_number():
    trainer = fitted(LABELS[:, 0], task="multilabel")
    assert trainer.predict(X).shape == (80, 1)
    assert trainer.evaluate((X, LABELS[:, :1].astype(float)))["exact_match"] > 0.8


@pytest.mark.parametrize("value", [2, 0.5, -1])
def test_values_other_than_0_and_1_are_named(value):
    y = LABELS.astype(float)
    y[5, 2] = value
    with raises(DataError, "fit", "0 and 1", f"value {value:g}", "sample 5", "label 2"):
        fitted(y, task="multilabel")


def test_another_number_of_labels_is_an_error():
    trainer = fitted(epochs=1)
    with raises(DataError, "evaluate", "3 labels", "labels 2"):
        trainer.evaluate((X, LABELS[:, :2]))
    with raises(ShapeError, "fit", "3 numbers", "(40, 4)", "(40, 3)"):
        Trainer(nn.Linear(4, 4)).fit((X, LABELS), epochs=1, batch_size=40)


def test_one_hot_rows_and_labels_that_never_change_are_named(caplog):
    y = np.eye(3, dtype=int)[np.arange(80) % 2]
    with caplog.at_level(logging.WARNING, "xpnet"):
        fitted(y, epochs=1)
    assert "argmax" in caplog.text
    assert "label 2 is 0" in caplog.text


def test_classes_are_no_labels_of_yes_or_no():
    with raises(DataError, "fit", "multilabel", "classification"):
        Trainer(nn.Linear(4, 2), task="multilabel").fit(data.from_arrays(X, ["cat", "dog"] * 40))


def test_a_resumed_training_goes_on():
    first, once = fitted(epochs=1), fitted(epochs=2)
    model = nn.Linear(4, 3)
    again = Trainer(model, optim.Adam(model.parameters(), lr=0.05))
    again.resume(first.checkpoint())
    again.fit((X, LABELS), (X, LABELS), epochs=2, batch_size=20)
    assert again.history[-1]["test_macro_f1"] == once.history[-1]["test_macro_f1"]
