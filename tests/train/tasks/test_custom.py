"""A loss of the user's own: targets reach it as they are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.harness import raises
from xpnet import nn, optim
from xpnet.errors import CheckpointError, DataError
from xpnet.train import Trainer, make_task
from xpnet.train.tasks import saved_task

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3)).astype(np.float32)
TOKENS = rng.integers(0, 4, (40, 5))


def tokens(scores, y):
    return nn.softmax_cross_entropy(scores.reshape(-1, 4), y.reshape(-1))


def trainer(loss=tokens, width: int = 20, **options) -> Trainer:
    model = nn.Linear(3, width).initialize(0)
    return Trainer(model, optim.SGD(model.parameters(), lr=0.1), loss, **options)


def test_token_labels_are_integers_and_their_loss_the_formula():
    made = trainer()
    made.fit(X, TOKENS, epochs=2, batch_size=16)
    figures = made.evaluate((X, TOKENS))
    scores = figures["scores"].astype(float).reshape(-1, 4)
    each = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(200), TOKENS.ravel()]
    assert figures["loss"] == pytest.approx(each.mean(), rel=1e-5)


def test_a_set_whose_integers_happen_to_be_all_0_and_1_is_read_as_the_training_set():
    made = trainer()
    made.fit((X, TOKENS), validation=(X, TOKENS % 2), epochs=1)
    assert made.history[-1]["validation_loss"] == pytest.approx(made.evaluate((X, TOKENS % 2))["loss"], rel=1e-6)
    with raises(DataError, "evaluate", "integers", "float32"):
        made.evaluate((X, TOKENS + 0.5))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_a_column_of_integers_stays_one(dtype):
    seen = []

    def loss(scores, y):
        seen.append((y.shape, str(y.dtype)))
        return nn.softmax_cross_entropy(scores, y.reshape(-1))

    trainer(loss, 4).fit(X, (TOKENS[:, :1] % 2).astype(dtype), epochs=1, batch_size=40)
    assert set(seen) == {((40, 1), "int64")}


def test_without_a_loss_a_column_of_integers_is_not_guessed_at():
    with raises(DataError, "task", "y[:, 0]", "loss="):
        Trainer(nn.Linear(3, 4)).fit(X, TOKENS[:, :1])


def test_a_custom_loss_of_labels_may_take_other_scores_than_one_a_class():
    def spread(scores, labels):
        return ((scores - 1.0) ** 2).mean()

    trainer(spread, 2, task="custom").fit(X, TOKENS[:, 0], epochs=1)


def test_a_checkpoint_holds_the_dtype():
    made = trainer()
    made.fit(X, TOKENS, epochs=1)
    values = json.loads(json.dumps(made.task.to_json()))
    assert saved_task(values, tokens).dtype == "int64"
    with raises(CheckpointError, "task", "dtype"):
        make_task("custom", tokens).take({"dtype": "object"})
