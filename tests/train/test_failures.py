"""What a Trainer refuses, and how training fails: with the values, once, and nothing half-done."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

from tests.harness import raises
from tests.train.fitting import digits, some_digits, trainer
from xpnet import data, models, nn
from xpnet.errors import ConfigError, DataError, DeviceError, DivergedError, ShapeError
from xpnet.nn import Module
from xpnet.train import SaveCheckpoint, Trainer, read_checkpoint


def turns(bad: float, epoch: int, step: int):
    """A loss that is a bad number at a step; both count from 1, with 3 steps an epoch."""
    calls = itertools.count()

    def loss(scores, labels):
        value = nn.softmax_cross_entropy(scores, labels)
        return value * bad if next(calls) == (epoch - 1) * 3 + step - 1 else value

    return loss


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("step", [1, 3])
def test_a_loss_that_is_not_finite_names_epoch_and_step_and_the_last_good_checkpoint_stays(tmp_path, bad, step):
    fit = trainer("softmax", loss=turns(bad, 2, step), callbacks=[SaveCheckpoint(tmp_path)])
    with raises(DivergedError, "loss", "epoch 2", f"step {step}", f"loss {bad}", "lower lr"):
        fit.fit(some_digits(96), epochs=4, batch_size=32)
    kept = read_checkpoint(tmp_path / "checkpoint.safetensors")
    assert kept.meta["progress"]["epoch"] == 1
    assert all(np.isfinite(values).all() for values in (*kept.model.values(), *kept.optimizer.values()))


def test_weights_that_are_no_longer_finite_at_the_end_of_an_epoch_are_not_saved(tmp_path):
    fit = trainer("mlp", lr=1e30, callbacks=[SaveCheckpoint(tmp_path)])
    fit.model.scores.weight.initializer = nn.he_normal
    fit.model.initialize(0)
    with raises(DivergedError, "loss", "epoch 1", "step 1", "test_loss"):
        fit.fit(some_digits(32), digits()[1], epochs=3, batch_size=32)  # the only loss seen is from before the update
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_diverges_is_said_once_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DivergedError):
            trainer("mlp", lr=1e9).fit(some_digits(320), epochs=2, batch_size=32)


def test_fewer_scores_than_classes_are_refused_at_the_first_step():
    model = models.mlp((8, 8, 1), 5)
    fit = trainer(model)
    before = model.state_dict()
    with raises(ShapeError, "fit", (64, 5), "K 10"):
        fit.fit(some_digits(128), epochs=1)
    assert np.array_equal(model.state_dict()["scores.weight"], before["scores.weight"])
    with raises(ShapeError, "evaluate", (256, 5), "K 10"):
        fit.evaluate(digits()[1])


def test_one_score_may_do_for_two_classes():
    x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]

    def loss(scores, labels):
        return nn.binary_cross_entropy(scores.reshape(-1), np.asarray(labels, np.float32))

    history = Trainer(nn.Sequential(nn.Linear(1, 1)), loss=loss).fit((x, (x[:, 0] > 0).astype(int)), epochs=5)
    assert history[-1]["train_loss"] < history[0]["train_loss"]


@pytest.mark.parametrize(("labels", "value"), [([0, 1, -1], "label -1"), ([0.0, 1.0, 1.0], "dtype float64")])
def test_labels_that_are_no_classes_are_refused(labels, value):
    with raises(DataError, "arrays", value):
        trainer = Trainer(models.softmax((2,), 2), task="classification")
        trainer.fit((np.zeros((3, 2), np.float32), np.asarray(labels)), epochs=1)


def test_labels_beyond_the_named_classes_are_refused():
    with raises(DataError, "mine", "label 5", "sample 2", "K 3"):
        data.from_arrays(np.zeros((3, 2)), np.asarray([0, 1, 5]), ["a", "b", "c"], "mine")


def test_values_that_are_not_finite_are_refused_before_training():
    x = np.zeros((4, 2), np.float32)
    x[2, 1] = np.nan
    with raises(DataError, "arrays", "value nan", "sample 2"):
        Trainer(models.softmax((2,), 2)).fit((x, np.asarray([0, 1, 0, 1])), epochs=1)


def test_numbers_out_of_range_are_refused():
    fit = trainer("softmax")
    with raises(ConfigError, "fit", "epochs -1"):
        fit.fit(some_digits(32), epochs=-1)
    with raises(ConfigError, "fit", "batch_size 0"):
        fit.fit(some_digits(32), epochs=9, batch_size=0)
    with raises(ConfigError, "predict", "batch_size 0"):
        fit.predict(some_digits(32).x, batch_size=0)
    with raises(ShapeError, "predict", (0, 8, 8, 1)):
        fit.predict(some_digits(32).x[:0])


class Hungry(Module):
    """Runs out of memory with more examples than it was told."""

    def __init__(self, most: int, error: Exception) -> None:
        self.most, self.error = most, error
        self.scores = nn.Linear(2, 2)

    def forward(self, x):
        if x.shape[0] > self.most:
            raise self.error
        return self.scores(x)


def out_of_memory(most: int, batch: int, error: Exception) -> None:
    model = Hungry(most, error)
    x, y = np.zeros((64, 2), np.float32), np.arange(64) % 2
    Trainer(model).fit((x, y), epochs=1, batch_size=batch)


class OutOfMemoryError(RuntimeError):
    """Named as those of CuPy and torch are."""


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemoryError("2 GB"), RuntimeError("RESOURCE_EXHAUSTED: 2 GB")])
def test_out_of_memory_names_the_batch_size_and_suggests_one(error):
    with raises(DeviceError, "fit", "batch_size 48", "batch_size=24"):
        out_of_memory(16, 48, error)
    with raises(DeviceError, "fit", "batch_size 1", "smaller model"):
        out_of_memory(0, 1, error)


def test_other_errors_pass_as_they_are():
    with pytest.raises(ZeroDivisionError, match="planted"):
        out_of_memory(1, 8, ZeroDivisionError("planted"))


# Kernel and channels, as a program meets them: the layer is named, and nothing was trained.


def test_a_kernel_larger_than_the_padded_image_is_refused_with_its_layer():
    model = nn.Sequential(conv1=nn.Conv2d(1, 4, 11, padding=1), flatten=nn.Flatten(), scores=nn.Linear(4, 10))
    with pytest.raises(ShapeError) as caught:
        trainer(model).fit(some_digits(32), epochs=1)
    for value in ("conv1", "11", "8"):
        assert value in str(caught.value)


def test_channels_that_do_not_divide_by_groups_are_refused():
    with pytest.raises(ConfigError, match=r"Conv2d.*got.*3.*2"):
        nn.Conv2d(3, 4, 3, groups=2)


@pytest.mark.parametrize("loss", [nn.softmax_cross_entropy, nn.hinge_loss, nn.perceptron_loss])
def test_a_device_without_64_bit_numbers_trains_as_any_other(loss):
    array_api_strict = pytest.importorskip("array_api_strict")
    x, y = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32), np.arange(20) % 3
    with array_api_strict.ArrayAPIStrictFlags(api_version="2025.12"):
        histories = [
            Trainer(models.softmax((4,), 3).to(spec), loss=loss, capture=False).fit(
                (x, y), (x, y), epochs=2, batch_size=6
            )
            for spec in ("array-api-strict:no_x64", "array-api-strict")
        ]
    for narrow, wide in zip(*histories, strict=True):
        assert narrow["test_accuracy"] == wide["test_accuracy"]
        assert narrow["train_loss"] == pytest.approx(wide["train_loss"], rel=1e-5)
