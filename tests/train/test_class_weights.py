from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from tests.harness import raises
from xpnet import data, nn, optim
from xpnet.errors import CheckpointError, ConfigError
from xpnet.train import Callback, RunConfig, Trainer, open_run, read_checkpoint, train_run, write_checkpoint

rng = np.random.default_rng(0)
X = rng.normal(size=(70, 4)).astype(np.float32)
Y = np.repeat([0, 1, 2], [50, 15, 5])
SET = data.from_arrays(X, Y, ["cat", "dog", "cow"])


def trained(epochs: int = 3, **options) -> Trainer:
    model = nn.Linear(4, 3).initialize(0)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), **options)
    trainer.fit(SET, SET, epochs=epochs, batch_size=20)
    return trainer


def weights(trainer: Trainer) -> list[float]:
    return trainer.task.class_weights.tolist()


def test_balanced_weights_are_those_of_scikit_learn():
    utils = pytest.importorskip("sklearn.utils.class_weight")
    expected = utils.compute_class_weight("balanced", classes=np.arange(3), y=Y)
    assert weights(trained(1, class_weights="balanced")) == pytest.approx(expected.tolist())


def test_a_class_without_examples_does_not_change_the_weights_of_others():
    wider = data.from_arrays(X, Y, ["cat", "dog", "cow", "emu"])
    trainer = Trainer(nn.Linear(4, 4), class_weights="balanced")
    trainer.fit(wider, epochs=1)
    assert weights(trainer) == pytest.approx([*weights(trained(1, class_weights="balanced")), 1.0])


def test_weights_are_given_by_name_or_in_order():
    assert weights(trained(1, class_weights={"cow": 4})) == [1, 1, 4]
    assert weights(trained(1, class_weights=[0.5, 0, 2])) == [0.5, 0, 2]
    assert weights(trained(1, class_weights=np.array([1, 2, 3]))) == [1, 2, 3]


def test_the_loss_of_a_set_is_the_weighted_mean_for_every_batch_size():
    trainer = trained(class_weights={"cow": 10, "dog": 3})
    z = trainer.evaluate(SET)["scores"].astype(float)
    each = np.log(np.exp(z).sum(axis=1)) - z[np.arange(70), Y]
    v = np.array([1, 3, 10])[Y]
    losses = [trainer.evaluate(SET, batch_size=n)["loss"] for n in (70, 20, 3)]
    assert losses == pytest.approx([np.sum(v * each) / np.sum(v)] * 3, rel=1e-5)
    assert trainer.history[-1]["test_loss"] == pytest.approx(losses[0], rel=1e-5)


def test_training_is_that_of_a_loss_with_class_weights():
    v = np.array([1, 3, 10], np.float32)
    model = nn.Linear(4, 3).initialize(0)
    loss = partial(nn.softmax_cross_entropy, class_weights=v)
    other = Trainer(model, optim.SGD(model.parameters(), lr=0.1), loss)
    other.fit(SET, SET, epochs=3, batch_size=20)
    own = trained(class_weights=v)
    for key in ("train_loss", "test_loss"):
        assert [r[key] for r in own.history] == pytest.approx([r[key] for r in other.history], rel=1e-4)


def test_a_checkpoint_keeps_the_weights():
    trainer = trained(class_weights="balanced")
    again = Trainer(nn.Linear(4, 3))
    again.take_scale(trainer.checkpoint().meta)
    assert weights(again) == weights(trainer)


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("even", ["'balanced'", "'even'"]),
        ({"caw": 2}, ["'caw'", "did you mean"]),
        ([1, 2], ["3 classes", "weights 2"]),
        ([1, -2, 1], ["weight", "-2"]),
        ({"cat": "high"}, ["weight", "'high'"]),
        ([0, 0, 0], ["all 0"]),
        ({}, ["weight", "none"]),
        (3, ["class_weights", "3"]),
    ],
)
def test_weights_that_are_none_are_refused(given, values):
    with pytest.raises(ConfigError) as caught:
        trained(1, class_weights=given)
    assert all(value in str(caught.value) for value in values), caught.value


def test_only_classes_have_class_weights():
    with raises(ConfigError, "class_weights", "classification", "regression"):
        Trainer(nn.Linear(4, 1), class_weights="balanced").fit(X, X[:, 0] / 3)
    with raises(ConfigError, "class_weights", "classification", "multilabel"):
        Trainer(nn.Linear(4, 1), task="multilabel", class_weights=[1, 2])


def test_a_run_has_class_weights_by_name_and_refuses_other_names_before_anything_is_written(tmp_path):
    np.savez(tmp_path / "animals.npz", x=X, y=Y, classes=["cat", "dog", "cow"])
    config = RunConfig("mlp", str(tmp_path / "animals.npz"), epochs=1, class_weights="cow=4,dog=2")
    result = train_run(config, tmp_path / "run")
    assert result["test_accuracy"] is not None
    assert weights(open_run(tmp_path / "run")[0]) == [1, 2, 4]
    with raises(ConfigError, "class_weights", "'caw'", "did you mean"):
        train_run(replace(config, class_weights="caw=4"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_weighted_training_that_was_interrupted_within_an_epoch_continues_from_its_file(tmp_path):
    class Stop(Callback):
        def on_step(self, trainer):
            if (trainer.epoch, trainer.step) == (1, 2):
                raise KeyboardInterrupt

    once, model = trained(class_weights="balanced"), nn.Linear(4, 3).initialize(0)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), class_weights="balanced", callbacks=[Stop()])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(SET, SET, epochs=3, batch_size=20)
    write_checkpoint(tmp_path / "file", trainer.checkpoint())
    model = nn.Linear(4, 3)
    again = Trainer(model, optim.SGD(model.parameters(), lr=0.1), class_weights="balanced")
    again.resume(read_checkpoint(tmp_path / "file"))
    again.fit(SET, SET, epochs=3, batch_size=20)
    assert [r["train_loss"] for r in again.history] == [r["train_loss"] for r in once.history]


@pytest.mark.parametrize(("given", "other"), [("balanced", [1, 2, 3]), ({"cow": 4}, {"cow": 5}), (None, "balanced")])
def test_a_training_with_other_class_weights_is_not_continued(given, other):
    kept = trained(1, class_weights=given).checkpoint()
    for same in (given, None):
        model = nn.Linear(4, 3)
        trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), class_weights=same)
        trainer.resume(kept)
        trainer.fit(SET, SET, epochs=2, batch_size=20)
        assert trainer.history[-1]["test_loss"] == trained(2, class_weights=given).history[-1]["test_loss"]
    model = nn.Linear(4, 3)
    with raises(CheckpointError, "resume", "class_weights"):
        Trainer(model, optim.SGD(model.parameters(), lr=0.1), class_weights=other).resume(kept)
