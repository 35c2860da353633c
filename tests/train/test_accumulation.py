"""Gradients of several batches in one update: the result of one batch as large, with the memory of one."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.train.fitting import Recorded, some_digits, trainer
from xpnet import nn
from xpnet.errors import ConfigError
from xpnet.train import Step, Trainer


def net() -> nn.Sequential:
    """No layer couples examples; the mask is drawn by example."""
    return nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1),
        relu=nn.ReLU(),
        flatten=nn.Flatten(),
        drop=nn.Dropout(0.3),
        scores=nn.Linear(256, 10),
    )


def fitted(accumulate: int, batch_size: int, backend: object = "numpy", model=net, n=100, **options) -> Trainer:
    fit = trainer(model(), backend, accumulate=accumulate, **options)
    fit.fit(some_digits(n), epochs=2, batch_size=batch_size)
    return fit


def small_net() -> nn.Sequential:
    return nn.Sequential(flatten=nn.Flatten(), drop=nn.Dropout(0.3), scores=nn.Linear(64, 10))


def assert_close(got: Trainer, want: Trainer) -> None:
    assert got.optimizer.steps == want.optimizer.steps
    assert got.history[-1]["train_loss"] == pytest.approx(want.history[-1]["train_loss"], rel=1e-4)
    for name, value in want.model.state_dict().items():
        np.testing.assert_allclose(got.model.state_dict()[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def test_four_batches_are_one_batch_as_large_also_at_the_end_of_an_epoch(backend):
    got = fitted(3, 4, backend, small_net, 26)  # the last step has 2 examples
    assert_close(got, fitted(1, 12, "numpy", small_net, 26))


@pytest.mark.parametrize("options", [{"threads": 2}, {"capture": True}, {"capture": False}])
def test_shards_and_recordings_change_nothing(options):
    assert_close(fitted(3, 11, **options), fitted(1, 33))


@pytest.mark.parametrize("loss", [nn.softmax_cross_entropy, partial(nn.softmax_cross_entropy, reduction="sum")])
def test_a_sum_over_examples_is_added_up_and_a_mean_is_averaged(loss):
    assert_close(fitted(4, 8, loss=loss, lr=0.001), fitted(1, 32, loss=loss, lr=0.001))


def test_the_model_never_sees_more_than_a_batch():
    seen = []

    class Sees(nn.Module):
        def __init__(self) -> None:
            self.scores = nn.Linear(64, 10)

        def forward(self, x):
            seen.append(x.shape[0])
            return self.scores(x.reshape(x.shape[0], 64))

    fit = trainer(Sees(), accumulate=3)
    fit.fit(some_digits(50), epochs=1, batch_size=8)
    assert max(seen) == 8
    assert sum(seen) == 50
    assert fit.optimizer.steps == 3  # 24, 24, 2


def test_an_epochs_loss_is_that_of_its_examples():
    loss = Recorded()
    fit = trainer(net(), loss=loss, accumulate=2, lr=0.0)
    fit.fit(some_digits(40), epochs=1, batch_size=8)  # 16, 16, 8 in halves
    sizes = [8, 8, 8, 8, 4, 4]
    assert fit.history[0]["train_loss"] == pytest.approx(np.dot(loss.numbers(), sizes) / 40, rel=1e-5)


def test_a_step_alone_is_accumulated_too():
    x, y = some_digits(12).x.astype(np.float32), some_digits(12).y
    models = [nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).initialize(1) for _ in range(2)]
    from xpnet.optim import SGD

    for model, k in zip(models, (1, 5), strict=True):
        Step(model, nn.softmax_cross_entropy, SGD(model.parameters(), lr=0.01), accumulate=k)(x, y)
    np.testing.assert_allclose(models[0][1].weight.numpy(), models[1][1].weight.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2", None])
def test_accumulate_is_a_whole_number(value):
    with pytest.raises(ConfigError, match="accumulate"):
        Trainer(net(), accumulate=value)
