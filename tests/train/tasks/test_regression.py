from __future__ import annotations

import logging

import numpy as np
import pytest

from tests.harness import raises
from xpnet import data, nn, optim
from xpnet.errors import CheckpointError, ConfigError, DataError, ShapeError
from xpnet.train import Trainer

metrics = pytest.importorskip("sklearn.metrics")

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3)).astype(np.float32)
W = np.array([[1, -2, 0.5], [0.3, 0, -1]], np.float32)
PRICES = (250_000 + 40_000 * X @ W.T).astype(np.float32)  # (N, 2), far from 0


def linear(outputs: int = 2, dtype: str = "float32") -> nn.Module:
    return nn.Linear(3, outputs).to(dtype=dtype).initialize(0)


def fitted(y: np.ndarray, outputs: int = 1, epochs: int = 30, **options) -> Trainer:
    model = linear(outputs)
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.05), **options)
    trainer.fit((X, y), (X, y), epochs=epochs, batch_size=20)
    return trainer


def test_numbers_far_from_zero_are_learned_and_predicted_in_their_own_units():
    trainer = fitted(PRICES, 2)
    assert trainer.task.name == "regression"
    predicted = trainer.predict(X)
    assert predicted.shape == (60, 2)
    assert np.abs(predicted - PRICES).mean() < 2000
    figures = trainer.evaluate((X, PRICES))
    assert figures["r2"] > 0.99
    assert trainer.history[-1]["test_rmse"] == pytest.approx(figures["rmse"])
    assert {"test_loss", "test_rmse", "test_mae", "test_r2"} <= set(trainer.history[-1])


def test_figures_are_those_of_scikit_learn_for_each_target():
    trainer = fitted(PRICES, 2, epochs=2)
    predicted, figures = trainer.predict(X).astype(float), trainer.evaluate(data.from_arrays(X, PRICES, ["a", "b"]))
    assert figures["mae"] == pytest.approx(metrics.mean_absolute_error(PRICES, predicted))
    assert figures["r2"] == pytest.approx(metrics.r2_score(PRICES, predicted))
    assert figures["rmse"] == pytest.approx(metrics.root_mean_squared_error(PRICES, predicted))
    for k, name in enumerate("ab"):
        own = figures["per_target"][name]
        assert own["rmse"] == pytest.approx(metrics.root_mean_squared_error(PRICES[:, k], predicted[:, k]))
        assert own["r2"] == pytest.approx(metrics.r2_score(PRICES[:, k], predicted[:, k]))


def test_the_loss_is_that_of_standardized_targets():
    trainer = fitted(PRICES, 2, epochs=2)
    standard = ((trainer.predict(X).astype(float) - PRICES) / PRICES.std(axis=0, dtype=float)) ** 2
    assert trainer.evaluate((X, PRICES))["loss"] == pytest.approx(standard.mean(), rel=1e-4)
    losses = [trainer.evaluate((X, PRICES), batch_size=n)["loss"] for n in (7, 60)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("shape", [(60,), (60, 1)])
def test_one_number_an_example_is_never_broadcast_against_the_others(shape):
    y = PRICES[:, 0].reshape(shape)
    trainer = fitted(y)
    assert trainer.predict(X).shape == shape
    assert trainer.evaluate((X, y))["r2"] > 0.99


def test_a_custom_loss_that_subtracts_gets_scores_in_the_shape_of_targets():
    def loss(scores, targets):
        assert scores.shape == targets.shape
        return ((scores - targets) * (scores - targets)).mean()

    y = X @ W[0]
    trainer = fitted(y, loss=loss)
    assert trainer.task.name == "custom"
    assert trainer.history[-1]["test_loss"] < 0.05
    assert trainer.evaluate((X, y))["loss"] == pytest.approx(np.mean((trainer.predict(X)[:, 0] - y) ** 2), rel=1e-3)


def test_a_custom_loss_gets_targets_of_any_shape_as_they_are():
    seen = []

    def loss(scores, targets):
        seen.append((scores.shape, targets.shape, float(np.max(targets))))
        return (scores * scores).mean()

    y = np.full((60, 4, 5), 7.0)
    Trainer(linear(), loss=loss, capture=False).fit((X, y), epochs=1, batch_size=30)
    assert seen[0] == ((30, 2), (30, 4, 5), 7.0)


def test_a_custom_loss_gets_integers_of_two_axes_as_they_are():
    words = rng.integers(0, 4, (60, 5))

    def loss(scores, targets):
        assert str(targets.dtype) == "int64"
        return nn.softmax_cross_entropy(scores.reshape(-1, 4), targets.reshape(-1))

    model = nn.Linear(3, 20).initialize(0)
    history = Trainer(model, loss=loss).fit((X, words), (X, words), epochs=3, batch_size=20)
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_counts_are_numbers():
    y = np.rint(20 * X[:, :2]).astype(int)
    assert fitted(y, 2).task.name == "regression"


def test_a_model_of_another_number_of_outputs_is_an_error_with_both_numbers():
    for where, call in (("fit", "fit"), ("evaluate", "evaluate")):
        with raises(ShapeError, where, "2 numbers", "(60, 3)", "(60, 2)"):
            trainer = Trainer(nn.Linear(3, 3))
            if call == "fit":
                trainer.fit((X, PRICES), epochs=1, batch_size=60)
            else:
                trainer.evaluate((X, PRICES))


def test_a_constant_target_is_named_and_the_others_are_learned(caplog):
    y = np.stack([np.full(60, 0.1), PRICES[:, 0]], axis=1)
    with caplog.at_level(logging.WARNING, "xpnet"):
        trainer = fitted(y, 2)
    assert "column 0" in caplog.text
    figures = trainer.evaluate((X, y))
    assert figures["per_target"]["0"]["r2"] in (0.0, 1.0)
    assert figures["per_target"]["1"]["r2"] > 0.99
    assert np.isfinite(trainer.predict(X)).all()


def test_integers_are_numbers_where_that_is_asked_for():
    y = np.rint(20 * X[:, 0]).astype(int)
    trainer = fitted(y, task="regression")
    assert trainer.evaluate((X, y))["r2"] > 0.95


def test_classes_with_names_are_no_numbers():
    with raises(DataError, "fit", "cat"):
        Trainer(linear(), task="regression").fit(data.from_arrays(X, ["cat", "dog"] * 30))


def test_targets_of_another_shape_than_those_of_the_training_set_are_an_error():
    with raises(DataError, "evaluate", "(N, 2)", "(60,)"):
        fitted(PRICES, 2, epochs=1).evaluate((X, PRICES[:, 0]))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_targets_have_the_dtype_that_the_loss_computes_in(dtype, precision):
    if (dtype, precision) == ("float64", "fp16"):
        pytest.skip("mixed precision is of float32 parameters")
    model = linear(2, dtype)
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.05), precision=precision)
    trainer.fit((X, PRICES), epochs=20, batch_size=20)
    assert trainer.evaluate((X, PRICES))["r2"] > 0.9


def test_numbers_that_float16_cannot_hold_are_predicted_by_a_model_in_float16():
    trainer = fitted(PRICES, 2, epochs=20)
    before, meta = trainer.predict(X), trainer.checkpoint().meta
    half = Trainer(trainer.model.to(dtype="float16"))
    half.take_scale(meta)
    assert half.predict(X).dtype == np.float32
    assert half.predict(X) == pytest.approx(before, rel=0.01)


def test_backends_learn_numbers_alike(backend):
    model = linear().to(backend)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), capture=False)
    trainer.fit((X, PRICES), (X, PRICES), epochs=2, batch_size=20)
    own = linear()
    other = Trainer(own, optim.SGD(own.parameters(), lr=0.1), capture=False)
    other.fit((X, PRICES), (X, PRICES), epochs=2, batch_size=20)
    assert trainer.history[-1]["test_rmse"] == pytest.approx(other.history[-1]["test_rmse"], rel=1e-3)
    assert isinstance(trainer.predict(X), np.ndarray)


def test_recorded_steps_of_every_backend_learn_numbers_as_eager_ones_do(backend):
    losses, y = [], PRICES[:, 0]
    for capture in (None, False):
        model = linear(1).to(backend)
        trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.05), capture=capture)
        losses.append([r["train_loss"] for r in trainer.fit((X, y), epochs=1, batch_size=10)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_recorded_and_eager_steps_give_the_same_losses():
    losses = []
    for capture in (None, False):
        model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)).initialize(0)
        trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.05), capture=capture)
        losses.append([r["train_loss"] for r in trainer.fit((X, PRICES[:, 0]), epochs=4, batch_size=10)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_threads_share_steps_of_numbers():
    losses = []
    for threads in (1, 2):
        model = linear(2)
        trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.05), threads=threads)
        losses.append([r["train_loss"] for r in trainer.fit((X, PRICES), epochs=2, batch_size=16)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_resumed_training_continues_in_the_same_units():
    once, first = fitted(PRICES, 2, epochs=4), fitted(PRICES, 2, epochs=2)
    model = linear(2)
    again = Trainer(model, optim.Adam(model.parameters(), lr=0.05))
    again.resume(first.checkpoint())
    again.fit((X, PRICES), (X, PRICES), epochs=4, batch_size=20)
    assert [r["test_rmse"] for r in again.history] == [r["test_rmse"] for r in once.history]
    assert again.predict(X).tolist() == once.predict(X).tolist()


def test_a_checkpoint_of_another_task_is_refused_and_nothing_is_changed():
    model = linear(2)
    other = Trainer(model, optim.Adam(model.parameters(), lr=0.05), task="classification")
    before = model.state_dict()
    with raises(CheckpointError, "resume", "classification", "regression"):
        other.resume(fitted(PRICES, 2, epochs=1).checkpoint())
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())


def test_a_checkpoint_of_a_custom_loss_needs_that_loss():
    saved = fitted(PRICES[:, 0], loss=nn.mean_squared_error, epochs=1).checkpoint()
    model = linear(1)
    with raises(CheckpointError, "resume", "loss", "custom"):
        Trainer(model, optim.Adam(model.parameters(), lr=0.05)).resume(saved)


def test_a_metric_of_the_user_is_a_figure_and_stands_in_the_history():
    def worst(scores, targets):
        return np.max(np.abs(scores - targets))

    trainer = fitted(PRICES, 2, epochs=1, metrics={"worst": worst})
    assert trainer.history[-1]["test_worst"] == np.max(np.abs(trainer.predict(X) - PRICES))


@pytest.mark.parametrize("metric", [lambda s, t: "high", lambda s, t: np.ones(3), lambda s, t: None])
def test_a_metric_that_gives_no_number_is_an_error(metric):
    with raises(ConfigError, "evaluate", "odd"):
        Trainer(linear(), metrics={"odd": metric}).evaluate((X, PRICES))


def test_a_metric_that_fails_is_an_error_that_says_how():
    with raises(ConfigError, "evaluate", "odd", "ZeroDivisionError"):
        Trainer(linear(), metrics={"odd": lambda s, t: 1 / 0}).evaluate((X, PRICES))
