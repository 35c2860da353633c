"""Callbacks: when they are called, what they keep, print and stop."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from tests.harness import raises
from tests.train.fitting import InterruptAt, Script, digits, some_digits, trainer
from xpnet.errors import ConfigError
from xpnet.train import (
    BestCheckpoint,
    Callback,
    EarlyStopping,
    JsonLines,
    SaveCheckpoint,
    Trainer,
    read_checkpoint,
)


def go(fit: Trainer, epochs: int) -> Trainer:
    fit.fit(some_digits(64), digits()[1].take(np.arange(20)), epochs=epochs, batch_size=32)
    return fit


def test_callbacks_are_called_in_their_order_at_their_moments():
    seen = []

    class Log(Callback):
        def __init__(self, name):
            self.name = name

        def on_start(self, trainer):
            seen.append((self.name, "start", trainer.epoch, trainer.epochs, trainer.steps))

        def on_step(self, trainer):
            seen.append((self.name, "step", trainer.epoch, trainer.step))

        def on_epoch(self, trainer, record):
            seen.append((self.name, "epoch", trainer.epoch, trainer.step, record["epoch"], len(trainer.history)))

        def on_end(self, trainer):
            seen.append((self.name, "end"))

    go(trainer("softmax", callbacks=[Log("a"), Log("b")]), 2)
    assert [s[1:] for s in seen if s[0] == "a"] == [
        ("start", 0, 2, 2),
        ("step", 0, 1),
        ("step", 0, 2),
        ("epoch", 1, 0, 1, 1),
        ("step", 1, 1),
        ("step", 1, 2),
        ("epoch", 2, 0, 2, 2),
        ("end",),
    ]
    assert [s[0] for s in seen] == ["a", "b"] * 8


def test_a_callback_is_shown_each_steps_gradients_before_the_update():
    seen = []

    class Look(Callback):
        def on_gradients(self, trainer, gradients):
            before = {p.path: (p.numpy().copy(), gradients[p].copy()) for p in trainer.model.parameters()}
            seen.append((trainer.step, before))

    plain = go(trainer("softmax", optimizer="sgd", lr=0.5), 1)
    watched = go(trainer("softmax", optimizer="sgd", lr=0.5, callbacks=[Look()]), 1)
    assert [step for step, _ in seen] == [0, 1]
    for (_, first), (_, second) in itertools.pairwise(seen):
        for path, (value, gradient) in first.items():
            assert np.abs(gradient).max() > 0
            np.testing.assert_allclose(second[path][0], value - 0.5 * gradient, atol=1e-6)
    for path, value in plain.model.state_dict().items():
        np.testing.assert_array_equal(watched.model.state_dict()[path], value)


def test_callbacks_that_do_nothing_may_be_left_out():
    go(trainer("softmax", callbacks=[Callback()]), 1)


def test_callbacks_end_also_when_a_step_fails():
    ended = []

    class Fail(Callback):
        def on_step(self, trainer):
            raise RuntimeError("planted")

        def on_end(self, trainer):
            ended.append(trainer.step)

    with pytest.raises(RuntimeError, match="planted"):
        go(trainer("softmax", callbacks=[Fail()]), 1)
    assert ended == [1]


@pytest.mark.parametrize(
    ("options", "name", "values", "stops"),
    [
        ({"patience": 2}, "test_loss", [5, 4, 4, 4, 1, 1], 4),
        ({"patience": 2}, "test_loss", [5, 4, 4, 3, 3, 3], 6),
        ({"patience": 1}, "test_loss", [5, 6, 1, 1, 1, 1], 2),
        ({"patience": 2, "least": 0.5}, "test_loss", [5, 4.9, 4.8, 4.7, 4.6, 4], 3),
        ({"patience": 2, "monitor": "test_accuracy"}, "test_accuracy", [0.5, 0.6, 0.4, 0.6, 0.9, 0.9], 4),
        ({"patience": 2, "monitor": "train_loss"}, "train_loss", [3, 2, 1, 0.5, 0.4, 0.3], 6),
    ],
)
def test_early_stopping_waits_for_its_patience(options, name, values, stops):
    fit = go(trainer("softmax", callbacks=[Script(**{name: values}), EarlyStopping(**options)]), 6)
    assert len(fit.history) == stops


def test_a_model_that_does_not_learn_is_stopped():
    fit = go(trainer("softmax", lr=0.0, callbacks=[EarlyStopping(3)]), 20)
    assert len(fit.history) == 4


def test_early_stopping_remembers_what_was_before_a_resume():
    script = [Script(test_loss=[5, 4, 4, 4, 4, 4])]
    first = go(trainer("softmax", callbacks=[*script, EarlyStopping(3)]), 3)
    second = trainer("softmax", callbacks=[*script, EarlyStopping(3)])
    second.resume(first.checkpoint())
    assert len(go(second, 6).history) == 5


@pytest.mark.parametrize("options", [{"patience": 0}, {"patience": -1}, {"least": -0.5}])
def test_early_stopping_refuses_what_makes_no_sense(options):
    name, value = next(iter(options.items()))
    with raises(ConfigError, "EarlyStopping", f"{name} {value}"):
        EarlyStopping(**options)


def test_a_figure_that_does_not_exist_is_named_with_those_that_do(tmp_path):
    for callback, place in (
        (EarlyStopping(monitor="val_loss"), "EarlyStopping"),
        (BestCheckpoint(tmp_path / "best", monitor="val_loss"), "BestCheckpoint"),
    ):
        with raises(ConfigError, place, "val_loss", "test_accuracy", "train_loss"):
            go(trainer("softmax", callbacks=[callback]), 1)
    with raises(ConfigError, "EarlyStopping", "monitor test_loss", "train_loss"):
        trainer("softmax", callbacks=[EarlyStopping()]).fit(some_digits(32), epochs=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [("test_accuracy", [0.2, 0.9, 0.9, 0.5], 2), ("test_loss", [3, 2, 1, 4], 3), ("train_loss", [1, 2, 3, 4], 1)],
)
def test_the_best_epoch_is_kept(monitor, values, best, tmp_path):
    go(trainer("softmax", callbacks=[Script(**{monitor: values}), BestCheckpoint(tmp_path / "best", monitor)]), 4)
    kept = read_checkpoint(tmp_path / "best")
    assert kept.meta["progress"]["epoch"] == best
    straight = go(trainer("softmax"), best).model.state_dict()
    assert all(np.array_equal(kept.model[path], values) for path, values in straight.items())


def test_the_best_epoch_of_a_run_stays_the_best_when_it_is_resumed(tmp_path):
    callbacks = [Script(test_accuracy=[0.2, 0.9, 0.5, 0.6]), BestCheckpoint(tmp_path / "best")]
    first = go(trainer("softmax", callbacks=callbacks), 2)
    second = trainer("softmax", callbacks=[callbacks[0], BestCheckpoint(tmp_path / "best")])
    second.resume(first.checkpoint())
    go(second, 4)
    assert read_checkpoint(tmp_path / "best").meta["progress"]["epoch"] == 2


def test_the_run_is_saved_after_each_epoch_with_what_was_asked_for(tmp_path):
    epochs = []

    class Look(Callback):
        def on_epoch(self, trainer, record):
            epochs.append(read_checkpoint(tmp_path / "checkpoint.safetensors").meta["progress"]["epoch"])

    go(trainer("softmax", callbacks=[SaveCheckpoint(tmp_path, {"note": 7}), Look()]), 3)
    assert epochs == [1, 2, 3]
    assert read_checkpoint(tmp_path / "checkpoint.safetensors").meta["note"] == 7


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_epoch_is_a_line_of_json(tmp_path):
    file = tmp_path / "metrics.jsonl"
    fit = go(trainer("softmax", callbacks=[JsonLines(file)]), 3)
    assert lines(file) == fit.history
    assert list(lines(file)[0]) == ["epoch", "train_loss", "test_loss", "test_accuracy", "seconds"]


def test_a_resumed_run_rewrites_the_lines_it_takes_up(tmp_path):
    file = tmp_path / "metrics.jsonl"
    first = go(trainer("softmax", callbacks=[JsonLines(file)]), 2)
    checkpoint = first.checkpoint()
    go(first, 3)  # a third epoch, and half a line, that the checkpoint does not know
    file.write_text(file.read_text() + '{"epoch": 4, "tra')
    second = trainer("softmax", callbacks=[JsonLines(file)])
    second.resume(checkpoint)
    go(second, 4)
    assert [r["epoch"] for r in lines(file)] == [1, 2, 3, 4]
    assert lines(file) == second.history


def test_an_interrupted_epoch_has_no_line(tmp_path):
    go(trainer("softmax", callbacks=[InterruptAt(1, 0), JsonLines(tmp_path / "m")]), 3)
    assert [r["epoch"] for r in lines(tmp_path / "m")] == [1]


def test_a_figure_that_is_nan_is_never_the_best(tmp_path):
    best, fit = BestCheckpoint(tmp_path / "best.safetensors"), trainer("softmax")
    best.on_start(fit)
    for value, want in ((float("nan"), None), (0.3, 0.3), (float("nan"), 0.3), (0.5, 0.5)):
        best.on_epoch(fit, {"test_accuracy": value})
        assert best.best == want


def test_the_end_is_told_to_each_callback_also_where_one_before_it_fails():
    ended = []

    class Fails(Callback):
        def on_end(self, trainer):
            raise OSError("no disk")

    class Ends(Callback):
        def on_end(self, trainer):
            ended.append(trainer.epoch)

    with pytest.raises(OSError, match="no disk"):
        go(trainer("softmax", callbacks=[Fails(), Ends()]), 1)
    assert ended == [1]
