"""The Trainer: fit, evaluate, predict; what it reads from the device; how it fails."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from tests.train.fitting import Recorded, digits, noisy_net, some_digits, trainer, without_seconds
from xpnet import data, models, nn
from xpnet.backend import get_backend
from xpnet.errors import ShapeError
from xpnet.train import Callback, Progress, Trainer

metrics = pytest.importorskip("sklearn.metrics")


@pytest.fixture(scope="module")
def noisy() -> Trainer:
    """A trained network with dropout and batch norm."""
    fit = trainer(noisy_net(), optimizer="adam", lr=0.01)
    fit.fit(some_digits(320), epochs=3, batch_size=32)
    return fit


def softmax_of(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def test_predictions_are_the_probabilities_of_the_scores(noisy):
    test = digits()[1]
    chances, scores = noisy.predict(test.x), noisy.evaluate(test)["scores"]
    assert chances.shape == (360, 10)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(chances, softmax_of(scores), rtol=1e-5, atol=1e-9)


def test_predictions_of_enormous_scores_are_finite():
    model = nn.Sequential(scores=nn.Linear(2, 3, init=nn.constant(1e4)))
    chances = Trainer(model).predict(np.asarray([[3.0, 5.0], [-3.0, -5.0]], np.float32))
    np.testing.assert_allclose(chances, 1 / 3, rtol=1e-6)


def test_evaluation_agrees_with_scikit_learn(noisy):
    test = digits()[1].take(np.arange(300))
    figures = noisy.evaluate(test, batch_size=128)  # the last batch has 44
    chances = softmax_of(figures["scores"])
    said = np.argmax(chances, axis=1)
    assert 0.2 < figures["accuracy"] < 1
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(test.y, said))
    assert figures["loss"] == pytest.approx(metrics.log_loss(test.y, chances, labels=range(10)), rel=1e-5)
    assert figures["top5_accuracy"] == pytest.approx(metrics.top_k_accuracy_score(test.y, chances, k=5))
    assert np.array_equal(figures["confusion"], metrics.confusion_matrix(test.y, said, labels=range(10)))


def test_there_is_no_top_five_of_five_classes():
    fit = Trainer(models.softmax((4,), 5))
    x, y = np.eye(4, dtype=np.float32), np.arange(4)
    assert fit.evaluate((x, y))["top5_accuracy"] is None


def test_predictions_do_not_drop_and_use_the_running_averages(noisy):
    x = digits()[1].x[:40]
    together = noisy.predict(x)
    assert np.array_equal(together, noisy.predict(x))
    one_by_one = np.concatenate([noisy.predict(x[i : i + 1]) for i in range(40)])
    np.testing.assert_allclose(one_by_one, together, rtol=1e-4, atol=1e-7)  # a batch of one has no variance
    np.testing.assert_allclose(noisy.predict(x, batch_size=7), together, rtol=1e-4, atol=1e-7)


def test_fit_leaves_the_model_in_evaluation_mode():
    fit = trainer(noisy_net())
    fit.fit(some_digits(64), epochs=1)
    assert not any(layer.training for _, layer in fit.model.modules())


@pytest.mark.parametrize("training", [True, False])
def test_looking_at_a_model_changes_nothing(noisy, training):
    noisy.model.train(training)
    before = noisy.model.state_dict()
    noisy.evaluate(digits()[1])
    noisy.predict(digits()[1].x)
    assert noisy.model.training is noisy.model.drop.training is training
    assert all(np.array_equal(before[path], values) for path, values in noisy.model.state_dict().items())
    with pytest.raises(ShapeError):
        noisy.predict(np.zeros((3, 8, 8, 2), np.float32))
    assert noisy.model.training is training


def test_arrays_do_as_well_as_a_data_set():
    train = some_digits(96)
    pairs = [trainer("softmax"), trainer("softmax")]
    pairs[0].fit(train, epochs=2, batch_size=32)
    pairs[1].normalize = pairs[0].normalize
    pairs[1].fit((train.x[..., 0], train.y.astype(np.uint8)), epochs=2, batch_size=32)  # (N, H, W)
    assert without_seconds(pairs[0].history) == without_seconds(pairs[1].history)
    assert pairs[1].evaluate((train.x, train.y))["accuracy"] == pairs[0].evaluate(train)["accuracy"]


def test_the_training_loss_is_the_mean_over_examples_also_with_an_uneven_last_batch():
    recorded = Recorded()
    fit = trainer("softmax", loss=recorded)
    fit.fit(some_digits(70), epochs=1, batch_size=32)
    assert fit.history[0]["train_loss"] == pytest.approx(np.average(recorded.numbers(), weights=[32, 32, 6]), rel=1e-6)


def test_epochs_count_from_the_first_fit():
    fit = trainer("softmax")
    assert fit.fit(some_digits(64), epochs=0) == []
    fit.fit(some_digits(64), epochs=2)
    before = fit.model.state_dict()
    assert len(fit.fit(some_digits(64), epochs=2)) == 2
    assert np.array_equal(fit.model.state_dict()["scores.weight"], before["scores.weight"])
    assert [r["epoch"] for r in fit.fit(some_digits(64), epochs=3)] == [1, 2, 3]


def test_two_fits_of_one_epoch_are_one_fit_of_two():
    parts, whole = trainer("mlp"), trainer("mlp")
    for epochs in (1, 2):
        parts.fit(some_digits(96), epochs=epochs, batch_size=32)
    whole.fit(some_digits(96), epochs=2, batch_size=32)
    assert without_seconds(parts.history) == without_seconds(whole.history)


def test_stop_ends_training_after_the_epoch_under_way():
    class StopEarly(Callback):
        def on_step(self, trainer):
            if (trainer.epoch, trainer.step) == (1, 1):
                trainer.stop()

    fit = trainer("softmax", callbacks=[StopEarly()])
    fit.fit(some_digits(96), epochs=9, batch_size=32)
    assert [r["epoch"] for r in fit.history] == [1, 2]
    assert not fit.interrupted


def test_pixels_are_normalized_by_the_first_training_set_and_floats_of_0_to_1_are_left_alone():
    fit, train = trainer("softmax"), some_digits(64)
    fit.fit(train, epochs=1)
    assert fit.normalize == data.Normalize.of(train)
    fit.fit(some_digits(96), epochs=2)
    assert fit.normalize == data.Normalize.of(train)
    plain = trainer("softmax")
    plain.fit((train.x / np.float32(16), train.y), epochs=1)
    assert plain.normalize is None


# What is read from the device.


def transfers(monkeypatch, seconds_a_step: float, callbacks=()) -> int:
    """How often an epoch of 100 steps copies from the device, by a clock that goes on as told."""
    count, clock, numpy = itertools.count(), itertools.count(1000.0, seconds_a_step), get_backend("numpy")
    real = type(numpy).to_numpy

    def counted(self, array):
        next(count)
        return real(self, array)

    monkeypatch.setattr("xpnet.train.callbacks.time", SimpleNamespace(monotonic=lambda: next(clock)))
    fit = trainer("softmax", callbacks=callbacks)
    fit.model.state_dict()
    monkeypatch.setattr(type(numpy), "to_numpy", counted)
    fit.fit(some_digits(400), epochs=1, batch_size=4)
    return next(count)


def test_the_loss_stays_on_the_device_until_the_end_of_the_epoch(monkeypatch):
    assert transfers(monkeypatch, 0.001) == 1


@pytest.mark.parametrize(("seconds_a_step", "most"), [(0.001, 2), (0.01, 11), (0.05, 51), (1.0, 100)])
def test_showing_progress_reads_the_loss_at_most_ten_times_a_second(monkeypatch, seconds_a_step, most):
    found = transfers(monkeypatch, seconds_a_step, [Progress()])
    assert found <= most + 1  # and once at the end of the epoch
    assert found >= min(1000 * seconds_a_step, 100) / 2  # it does show something
