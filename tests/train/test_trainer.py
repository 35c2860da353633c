"""The Trainer: fit, evaluate, predict; what it reads from the device; how it fails."""

from __future__ import annotations

import itertools
import threading
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from tests.train.fitting import Recorded, digits, noisy_net, some_digits, trainer, without_seconds
from xpnet import data, models, nn
from xpnet.autograd import Tensor
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


# Averages, single scores, NaN, dtypes.


WEIGHTED = {
    "class weights": partial(nn.softmax_cross_entropy, class_weights=np.float32([50, *[1] * 9])),
    "class weights and smoothing": partial(
        partial(nn.softmax_cross_entropy, class_weights=np.float32([50, *[1] * 9])), label_smoothing=0.1
    ),
    "sum": partial(nn.softmax_cross_entropy, reduction="sum"),
    "unmarked": lambda scores, labels: nn.softmax_cross_entropy(scores, labels),
    "plain": nn.softmax_cross_entropy,
}


@pytest.mark.parametrize("loss", WEIGHTED.values(), ids=WEIGHTED)
def test_the_evaluated_loss_is_that_of_the_whole_set_for_every_batch_size(loss):
    test = digits()[1].take(np.argsort(digits()[1].y, kind="stable")[:200])
    fit = Trainer(models.softmax((8, 8, 1)).initialize(0), loss=loss)
    fit.model.scores.weight = np.random.default_rng(0).normal(0, 0.02, (10, 64)).astype(np.float32)
    want = loss(Tensor(fit.evaluate(test)["scores"]), test.y).item()
    for size in (7, 64, 200):
        assert fit.evaluate(test, batch_size=size)["loss"] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("name", ["class weights", "class weights and smoothing", "sum", "plain"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_training_loss_weighs_batches_as_the_loss_does(name, backend):
    train, loss = some_digits(70), WEIGHTED[name]
    if "weights" in name and backend == "torch":
        torch = pytest.importorskip("torch")
        loss = partial(loss, class_weights=torch.tensor([50.0] + [1.0] * 9))
    losses = []
    for size in (9, 32, 70):
        fit = trainer("softmax", backend, lr=0.0, loss=loss)
        fit.model.scores.weight = np.random.default_rng(0).normal(0, 0.02, (10, 64)).astype(np.float32)
        losses += [fit.fit(train, epochs=1, batch_size=size)[0]["train_loss"], fit.evaluate(train)["loss"]]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


@pytest.mark.parametrize("rank", [1, 2])
def test_one_score_an_example_predicts_by_the_sigmoid_and_is_evaluated_as_two_classes(rank):
    class Scores(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(64, 1)

        def forward(self, x):
            y = self.linear(x.reshape(x.shape[0], 64))
            return y[:, 0] if rank == 1 else y

    def loss(scores, labels):
        return nn.binary_cross_entropy(scores.reshape(-1), labels.astype(np.float32))

    train, labels = some_digits(200), (some_digits(200).y > 4).astype(int)
    fit = Trainer(Scores(), loss=loss, seed=0)
    fit.fit((train.x, labels), (train.x, labels), epochs=2)
    z = fit.model.predict(fit.normalize(train.x)).astype(np.float64)
    np.testing.assert_allclose(fit.predict(train.x), 1 / (1 + np.exp(-z)), rtol=1e-5)
    figures = fit.evaluate((train.x, labels))
    assert figures["accuracy"] == np.mean((z.ravel() > 0) == labels) == fit.history[-1]["test_accuracy"] > 0.6
    assert figures["confusion"].trace() == figures["accuracy"] * 200


def test_scores_that_are_nan_are_wrong_said_and_in_no_cell(caplog):
    fit, test = Trainer(models.softmax((8, 8, 1)).initialize(0)), digits()[1]
    fit.model.load_state_dict({path: values * np.nan for path, values in fit.model.state_dict().items()})
    figures = fit.evaluate(test)
    assert figures["accuracy"] == figures["top5_accuracy"] == figures["confusion"].sum() == 0
    assert "360 of 360 examples" in caplog.text


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("capture", [None, False])
def test_a_model_of_another_dtype_is_fed_in_it(backend, dtype, capture):
    pytest.importorskip(backend)
    train = some_digits(96)
    fit = trainer("mlp", backend, capture=capture)
    fit.fit(train, epochs=1, batch_size=32)
    before = fit.predict(train.x[:9])
    fit.model.to(dtype=dtype)
    np.testing.assert_allclose(fit.predict(train.x[:9]), before, atol=0.02)
    assert fit.evaluate(train)["scores"].dtype == dtype
    fit.fit(train, train, epochs=8, batch_size=32)
    assert fit.history[-1]["train_loss"] < fit.history[1]["train_loss"]
    assert {v.dtype.name for v in fit.model.state_dict().values()} == {dtype}


def test_examples_of_one_class_are_evaluated_as_the_classes_of_the_model(noisy):
    test = digits()[1]
    mask = test.y == 3
    right = noisy.evaluate(test)["confusion"][3]
    for each in ((test.x[mask], test.y[mask]), test.take(mask)):
        figures = noisy.evaluate(each)
        assert figures["confusion"][3].tolist() == right.tolist()
        assert figures["accuracy"] == right[3] / right.sum()


def test_predicting_in_another_thread_does_not_change_training():
    inside, leave = threading.Event(), threading.Event()

    class Holds(nn.Module):
        """Stays within a prediction while training goes on."""

        def forward(self, x):
            if threading.current_thread() is not threading.main_thread():
                inside.set()
                assert leave.wait(60)
            return x

    def history(predicting: bool) -> list:
        class Predict(Callback):
            def on_step(self, trainer):
                if predicting and (trainer.epoch, trainer.step) == (0, 1):
                    worker.start()
                    assert inside.wait(60)

        fit = trainer(nn.Sequential(noisy_net(), Holds()), callbacks=[Predict()])
        worker = threading.Thread(target=lambda: fit.model.predict(np.zeros((5, 8, 8, 1), np.float32)))
        try:
            fit.fit(some_digits(160), epochs=2, batch_size=32)
        finally:
            leave.set()
            if predicting:
                worker.join()
        return [r["train_loss"] for r in fit.history]

    assert history(True) == history(False)


# What is read from the device.


def transfers(monkeypatch, seconds_a_step: float, callbacks=()) -> int:
    """How often an epoch of 100 steps copies from the device, by a clock that goes on as told."""
    count, clock, numpy = itertools.count(), itertools.count(1000.0, seconds_a_step), get_backend("numpy")
    real = type(numpy).to_numpy

    def counted(self, array):
        next(count)
        return real(self, array)

    monkeypatch.setattr("xpnet.train.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
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


def test_validation_and_test_sets_are_measured_after_each_epoch():
    train, held, test = some_digits(64), some_digits(40), some_digits(24)
    fit = trainer("softmax")
    history = fit.fit(train, test, validation=(held.x, held.y), epochs=2)
    keys = ["epoch", "train_loss", "test_loss", "test_accuracy", "validation_loss", "validation_accuracy", "seconds"]
    assert [list(record) for record in history] == [keys, keys]
    for name, part in (("validation", held), ("test", test)):
        figures = fit.evaluate(part)
        assert history[-1][f"{name}_loss"] == pytest.approx(figures["loss"])
        assert history[-1][f"{name}_accuracy"] == figures["accuracy"]


def test_large_examples_are_evaluated_in_batches_of_32_at_most():
    seen = []

    class Watched(nn.Sequential):
        def forward(self, x):
            seen.append(x.shape[0])
            return super().forward(x)

    x = np.zeros((70, 150, 160, 3), np.uint8)
    model = Watched(nn.AvgPool2d(50), nn.Flatten(), nn.Linear(27, 2)).initialize(0)
    Trainer(model, capture=False).evaluate((x, np.arange(70) % 2))
    assert max(seen) == 32
    small = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).initialize(0)
    assert Trainer(small).predict(np.zeros((300, 4))).shape == (300, 2)
