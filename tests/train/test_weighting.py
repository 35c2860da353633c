"""Sample weights: the weighted mean of a batch, an epoch and a set, the same for every size of batch."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.harness import few_on_jax, raises
from xpnet import data, nn
from xpnet.errors import ConfigError, DataError
from xpnet.optim import SGD
from xpnet.random import Key
from xpnet.train import Step, Trainer

N = 26
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(N, 3)).astype(np.float32)
Y = np.arange(N) % 2
T = RANDOM.normal(size=(N, 2)).astype(np.float32)
W = RANDOM.uniform(0, 3, N).astype(np.float32)
W[[2, 5]] = 0


def net(K: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, K)).initialize(1)


def fitted(batch_size: int, backend="numpy", weights=W, lr=0.0, epochs=1, **options) -> Trainer:
    model = net().to(backend)
    trainer = Trainer(model, SGD(model.parameters(), lr=lr), seed=1, **options)
    trainer.fit((X, Y), epochs=epochs, batch_size=batch_size, sample_weight=weights)
    return trainer


def losses(model: nn.Module) -> np.ndarray:
    scores = X @ model[0].weight.numpy().T.astype(np.float64) + model[0].bias.numpy()
    return np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(N), Y]


@pytest.mark.parametrize("batch_size", [1, 7, 26])
def test_the_loss_of_an_epoch_and_of_a_set_is_the_weighted_mean(backend, batch_size):
    few_on_jax(backend, batch_size == 7)
    trainer = fitted(batch_size, backend)
    want = np.dot(losses(trainer.model), W) / W.sum(dtype=np.float64)
    assert trainer.history[0]["train_loss"] == pytest.approx(want, rel=1e-5)
    weighted = data.from_arrays(X, Y).weighted(W)
    assert trainer.evaluate(weighted, batch_size=batch_size)["loss"] == pytest.approx(want, rel=1e-5)
    assert trainer.evaluate((X, Y))["loss"] == pytest.approx(losses(trainer.model).mean(), rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"threads": 2}, {"capture": True}, {"accumulate": 2}])
def test_the_step_is_that_of_the_weighted_mean(options):
    trainer = fitted(13 if "accumulate" in options else 26, lr=0.5, **options)
    before = net()
    scores = X @ before[0].weight.numpy().T.astype(np.float64) + before[0].bias.numpy()
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    g = (p - np.eye(2)[Y]) * (W / W.sum(dtype=np.float64))[:, None]
    np.testing.assert_allclose(trainer.model[0].weight.numpy(), before[0].weight.numpy() - 0.5 * g.T @ X, atol=1e-6)


def test_whole_weights_are_repeated_examples():
    counts = np.arange(N) % 3
    rows = np.repeat(np.arange(N), counts)
    one, other = net(), net()
    for model, given in ((one, (X, Y, counts)), (other, (X[rows], Y[rows], None))):
        x, y, w = given
        Trainer(model, SGD(model.parameters(), lr=0.5)).fit((x, y), epochs=3, batch_size=100, sample_weight=w)
    np.testing.assert_allclose(one[0].weight.numpy(), other[0].weight.numpy(), rtol=1e-4, atol=1e-6)


def test_regression_and_losses_of_many_numbers_are_weighted_by_example():
    model = net()
    trainer = Trainer(model, SGD(model.parameters(), lr=0.0), loss=nn.mean_squared_error)
    trainer.fit((X, T), epochs=1, batch_size=8, sample_weight=W)
    each = ((X @ model[0].weight.numpy().T + model[0].bias.numpy() - T) ** 2).mean(axis=1)
    assert trainer.history[0]["train_loss"] == pytest.approx(np.dot(each, W) / W.sum(), rel=1e-4)


def own(scores, labels, weights):
    return (nn.softmax_cross_entropy(scores, labels, reduction="none") * weights).mean()


def test_a_custom_loss_takes_weights_or_is_an_error():
    assert fitted(26, loss=own).history[0]["train_loss"] == pytest.approx(fitted(26).history[0]["train_loss"], rel=1e-6)
    with raises(ConfigError, "fit", "weights"):
        fitted(26, loss=lambda scores, labels: nn.softmax_cross_entropy(scores, labels))


def test_a_loss_that_adds_up_examples_adds_up_weighted_ones():
    trainer = fitted(7, loss=partial(nn.softmax_cross_entropy, reduction="sum"))
    assert trainer.history[0]["train_loss"] == pytest.approx(np.dot(losses(trainer.model), W), rel=1e-5)


def test_weights_follow_their_examples_when_a_part_is_held_out():
    model = net()
    trainer = Trainer(model, SGD(model.parameters(), lr=0.0), seed=4)
    history = trainer.fit(data.from_arrays(X, Y), validation=0.5, epochs=1, sample_weight=W)
    parts = data.from_arrays(X, Y).hold_out(13, Key(4, "validation"))
    for part, key in zip(parts, ("train_loss", "validation_loss"), strict=True):
        rows = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in part.x]
        want = np.dot(losses(model)[rows], W[rows]) / W[rows].sum()
        assert history[0][key] == pytest.approx(want, rel=1e-5)


def test_a_batch_without_weight_changes_nothing():
    model = net()
    before = model[0].weight.numpy()
    step = Step(model, nn.softmax_cross_entropy, SGD(model.parameters(), lr=0.5))
    assert float(step(X, (Y, np.zeros(N, np.float32)))) == 0
    assert np.array_equal(model[0].weight.numpy(), before)


@pytest.mark.parametrize(
    "weights", [W[:5], W[:, None], -W, np.zeros(N), np.full(N, np.nan), "balanced", ["a"] * N, 1.0, object()]
)
def test_what_are_no_weights_is_refused(weights):
    with pytest.raises(DataError, match="weight"):
        fitted(8, weights=weights)
