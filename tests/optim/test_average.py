"""The running average of the weights: its formula, where it is used, and that a resume continues it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from tests.harness import raises
from tests.train.fitting import InterruptAt, assert_same_state, some_digits, trainer
from xpnet import nn
from xpnet.errors import CheckpointError, ConfigError
from xpnet.optim import SGD
from xpnet.optim.average import Average
from xpnet.train import Callback, Trainer

DECAY = 0.8


class Weights(Callback):
    """Keeps the weights after each step."""

    def __init__(self) -> None:
        self.each: list[np.ndarray] = []

    def on_step(self, trainer):
        self.each.append(trainer.model.scores.weight.numpy().astype(np.float64))


def net() -> nn.Sequential:
    return nn.Sequential(flatten=nn.Flatten(), hidden=nn.Linear(64, 8), act=nn.Tanh(), scores=nn.Linear(8, 10))


def expected(weights: list[np.ndarray]) -> np.ndarray:
    average = weights[0]
    for t, w in enumerate(weights[1:], 2):
        rate = max(1 - DECAY, 10 / (9 + t))
        average = average + rate * (w - average)
    return average


def fitted(backend: object = "numpy", epochs: int = 3, **options: object) -> tuple[Trainer, list[np.ndarray]]:
    seen = Weights()
    fit = trainer(net(), backend, callbacks=[seen], ema=DECAY, **options)
    fit.fit(some_digits(100), epochs=epochs, batch_size=8)  # 13 steps each
    return fit, seen.each


def test_the_average_is_its_formula_and_the_model_has_it_after_fit(backend):
    fit, weights = fitted(backend)
    assert len(weights) == 39
    np.testing.assert_allclose(fit.model.scores.weight.numpy(), expected(weights), rtol=1e-4, atol=1e-6)
    assert np.abs(weights[-1] - expected(weights)).max() > 1e-3


@pytest.mark.parametrize("capture", [True, False])
def test_a_recorded_step_moves_the_average_too(capture):
    fit, weights = fitted(capture=capture)
    np.testing.assert_allclose(fit.model.scores.weight.numpy(), expected(weights), rtol=1e-4, atol=1e-6)


def test_training_goes_on_with_its_own_weights():
    plain = trainer(net())
    plain.fit(some_digits(100), epochs=4, batch_size=8)
    fit, weights = fitted(epochs=2)
    fit.fit(some_digits(100), epochs=4, batch_size=8)
    assert np.array_equal(weights[-1], plain.model.scores.weight.numpy().astype(np.float64))


def test_evaluation_within_a_fit_is_that_of_the_average():
    fit = trainer(net(), ema=DECAY)
    history = fit.fit(some_digits(100), some_digits(60), epochs=1, batch_size=8)
    assert fit.evaluate(some_digits(60))["loss"] == pytest.approx(history[-1]["test_loss"], rel=1e-5)
    x = some_digits(60).x
    saved = fit.checkpoint()
    other = Trainer(net())
    other.model.load_state_dict(saved.model)
    other.take_scale(saved.meta)
    np.testing.assert_allclose(other.predict(x), fit.predict(x), rtol=1e-5, atol=1e-7)


def test_a_model_moved_between_two_fits_keeps_what_is_trained():
    fit, _ = fitted(epochs=1)
    fit.model.to(dtype="float64")
    fit.model.to(dtype="float32")
    fit.fit(some_digits(100), epochs=2, batch_size=8)
    want, _ = fitted(epochs=2)
    np.testing.assert_allclose(fit.model.scores.weight.numpy(), want.model.scores.weight.numpy(), rtol=1e-5, atol=1e-6)


def test_weights_that_are_loaded_between_two_fits_are_trained_and_averaged():
    fit, _ = fitted(epochs=1)
    given = {name: np.zeros_like(value) for name, value in fit.model.state_dict().items()}
    fit.model.load_state_dict(given)
    fit.optimizer.lr = 0.0
    fit.fit(some_digits(8), epochs=2, batch_size=8)
    np.testing.assert_allclose(fit.model.scores.weight.numpy(), 0, atol=0.01)  # momentum moves them a little


@pytest.mark.parametrize("step", [2])
def test_a_resumed_run_is_the_same_bit_for_bit(backend, step):
    def run(callbacks=()):
        fit = trainer(net(), backend, "adam", 0.01, callbacks, ema=DECAY)
        fit.fit(some_digits(30), epochs=2, batch_size=8)
        return fit

    whole = run()
    stopped = run([InterruptAt(0, step)])
    assert stopped.interrupted
    resumed = trainer(net(), backend, "adam", 0.01, ema=DECAY)
    resumed.resume(stopped.checkpoint())
    resumed.fit(some_digits(30), epochs=2, batch_size=8)
    assert_same_state(resumed.checkpoint(), whole.checkpoint())


def test_a_checkpoint_with_an_average_is_not_resumed_without():
    fit, _ = fitted(epochs=1)
    with raises(CheckpointError, "resume", "ema"):
        trainer(net()).resume(fit.checkpoint())
    plain = trainer(net())
    plain.fit(some_digits(20), epochs=1)
    with raises(CheckpointError, "resume", "ema 0.8"):
        trainer(net(), ema=DECAY).resume(plain.checkpoint())


def test_a_copied_trainer_predicts_the_same():
    fit, _ = fitted(epochs=1)
    x = some_digits(5).x
    assert np.array_equal(copy.deepcopy(fit).predict(x), fit.predict(x))


def test_an_own_loop_has_an_average_too():
    layer = nn.Linear(2, 2).initialize(1)
    optimizer = SGD(layer.parameters(), lr=0.5)
    optimizer.average = Average(optimizer.flat, 0.5)
    before = layer.bias.numpy()
    for _ in range(2):
        optimizer.step({p: np.ones(p.shape, np.float32) for p in layer.parameters()})
    with optimizer.average.shown():
        np.testing.assert_allclose(layer.bias.numpy(), before - 0.5 - 0.5 * 10 / 11, rtol=1e-5)
    np.testing.assert_allclose(layer.bias.numpy(), before - 1, rtol=1e-6)


@pytest.mark.parametrize("value", [1, 1.5, -0.1, True, "0.9"])
def test_ema_is_below_one(value):
    with pytest.raises(ConfigError, match="ema"):
        Trainer(net(), ema=value)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
@pytest.mark.parametrize("moved", ["numpy", "torch"])
def test_a_copied_trainer_goes_on_with_the_trained_weights(duplicate, moved):
    if moved == "torch":
        pytest.importorskip("torch")
    fit = trainer(net(), "numpy", ema=DECAY)
    fit.fit(some_digits(100), epochs=1, batch_size=8)
    fit.model.to(moved)
    other = duplicate(fit)
    for each in (other, fit):
        each.fit(some_digits(100), epochs=2, batch_size=8)
    np.testing.assert_allclose(other.predict(some_digits(20).x), fit.predict(some_digits(20).x), rtol=1e-4, atol=1e-6)
