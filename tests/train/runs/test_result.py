"""What a run came to: validation after each epoch, the best epoch, early stopping, the test set at the end."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.harness import raises
from xpnet import data
from xpnet.errors import ConfigError, DataError
from xpnet.train import Callback, RunConfig, Trainer, evaluate_run, open_run, read_checkpoint, train_run
from xpnet.train.runs.config import resumed_config


@pytest.fixture
def evaluated(monkeypatch):
    """The sizes of the sets that are evaluated, in order."""
    sizes, evaluate = [], Trainer.evaluate

    def counted(self, part, **options):
        sizes.append(len(part))
        return evaluate(self, part, **options)

    monkeypatch.setattr(Trainer, "evaluate", counted)
    monkeypatch.setattr("xpnet.train.runs.training.draw_run", lambda *_: None)
    return sizes


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_tenth_of_each_class_is_held_out_and_the_test_set_is_measured_once(tmp_path, evaluated):
    result = train_run(RunConfig("softmax", epochs=3), tmp_path / "run")
    assert evaluated == [144, 144, 144, 360]
    assert [sorted(r) for r in records(tmp_path / "run")] == [
        ["epoch", "seconds", "train_loss", "validation_accuracy", "validation_loss"]
    ] * 3
    assert result["validation_accuracy"] == records(tmp_path / "run")[-1]["validation_accuracy"]
    assert result["best_epoch"] is None


def test_without_validation_only_the_training_loss_is_seen(tmp_path, evaluated):
    result = train_run(RunConfig("softmax", epochs=2, val=0), tmp_path / "run")
    assert evaluated == [360]
    assert result["validation_accuracy"] is None
    assert result["test_accuracy"] is not None


def test_a_set_too_small_is_not_divided_unless_it_is_asked_for(tmp_path, evaluated):
    x = np.random.default_rng(0).normal(size=(50, 2))
    np.savez(tmp_path / "small.npz", x=x, y=np.arange(50) % 2)
    config = RunConfig("softmax", str(tmp_path / "small.npz"), epochs=1)
    train_run(config, tmp_path / "run")
    assert evaluated == [10]
    train_run(RunConfig("softmax", config.data, epochs=1, val=0.1), tmp_path / "asked")
    assert evaluated == [10, 4, 10]
    for name in ("best", "patience"):
        with raises(ConfigError, name, "validation", "training_examples 40"):
            train_run(RunConfig("softmax", config.data, **{name: True if name == "best" else 3}), tmp_path / "none")


def test_another_set_may_be_the_validation_set(tmp_path, evaluated):
    _, test = data.load("digits")
    np.savez(tmp_path / "held.npz", x=test.x[:50], y=test.y[:50], classes=np.asarray(test.classes))
    train_run(RunConfig("softmax", epochs=1, val=str(tmp_path / "held.npz")), tmp_path / "run")
    assert evaluated == [50, 360]
    with raises(DataError, str(tmp_path / "nowhere"), "no such"):
        train_run(RunConfig("softmax", epochs=1, val=str(tmp_path / "nowhere")), tmp_path / "other")
    assert not (tmp_path / "other").exists()


class Spoil(Callback):
    """Sets the weights to 0 at the end of each epoch from one on, before it is measured."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_step(self, trainer):
        if trainer.epoch + 1 >= self.epoch and trainer.step == trainer.steps:
            for p in trainer.model.parameters():
                p.assign(np.zeros(p.shape, np.float32), "a test")


def test_the_best_epoch_is_kept_evaluated_and_predicted_with(tmp_path):
    said: list[str] = []
    config = RunConfig("softmax", epochs=3, best=True, lr=0.001)
    result = train_run(config, tmp_path / "run", callbacks=[Spoil(3)], announce=said.append)
    assert result["best_epoch"] == 2
    assert result["validation_accuracy"] == records(tmp_path / "run")[1]["validation_accuracy"]
    assert any("epoch 2 is the best" in line for line in said)
    best = read_checkpoint(tmp_path / "run" / "best.safetensors")
    assert best.meta["progress"]["epoch"] == 2
    trainer, _ = open_run(tmp_path / "run")
    assert np.array_equal(trainer.model.state_dict()["scores.weight"], best.model["scores.weight"])
    assert evaluate_run(tmp_path / "run")["test_accuracy"] == result["test_accuracy"] > 0.3
    last = read_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert last.meta["progress"]["epoch"] == 3
    assert not last.model["scores.weight"].any()


def test_a_resumed_run_finds_the_best_epoch_and_stops_as_one_in_one_go(tmp_path):
    config = RunConfig("softmax", epochs=30, best=True, patience=2, lr=0.05, warmup=300)
    straight = train_run(config, tmp_path / "straight")
    assert 2 < straight["epochs"] < 30
    part = RunConfig("softmax", epochs=2, best=True, patience=2, lr=0.05, warmup=300)
    train_run(part, tmp_path / "parts")
    parts = train_run(resumed_config(tmp_path / "parts", {"epochs": 30}), resume=tmp_path / "parts")
    for key in ("epochs", "best_epoch", "train_loss", "validation_loss", "test_loss", "test_accuracy"):
        assert parts[key] == straight[key], key
    a, b = (read_checkpoint(tmp_path / name / "best.safetensors").model for name in ("straight", "parts"))
    assert all(np.array_equal(a[path], b[path]) for path in a)


def test_a_run_that_stopped_early_says_so_and_does_not_go_on(tmp_path):
    said: list[str] = []
    options = {"callbacks": [Spoil(1)], "announce": said.append}
    assert train_run(RunConfig("softmax", epochs=9, patience=2), tmp_path / "run", **options)["epochs"] == 3
    assert any("stopped after epoch 3 of 9: none of the last 2 was better than epoch 1" in line for line in said)
    assert train_run(resumed_config(tmp_path / "run", {}), resume=tmp_path / "run", **options)["epochs"] == 3
    assert (
        train_run(resumed_config(tmp_path / "run", {"patience": 4}), resume=tmp_path / "run", **options)["epochs"] == 5
    )


@pytest.mark.parametrize(("every", "saves"), [(None, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), ("5", [5]), ("9", [5])])
def test_checkpoints_are_saved_every_so_many_epochs_and_at_the_end(tmp_path, monkeypatch, every, saves):
    seen = []
    monkeypatch.setattr(
        "xpnet.train.callbacks.write_checkpoint", lambda path, c: seen.append(c.meta["progress"]["epoch"])
    )
    monkeypatch.setattr("xpnet.train.runs.training.draw_run", lambda *_: None)
    train_run(RunConfig("softmax", epochs=5, batch_size=500, checkpoint_every=every), tmp_path / "run")
    assert seen == saves


def test_a_run_saved_within_an_epoch_goes_on_from_there(tmp_path):
    class Killed(Exception):
        pass

    class Kill(Callback):
        def on_step(self, trainer):
            if (trainer.epoch, trainer.step) == (1, 33):
                raise Killed

    config = RunConfig("mlp", epochs=2, checkpoint_every="10steps")
    straight = train_run(config, tmp_path / "straight")
    with pytest.raises(Killed):
        train_run(config, tmp_path / "parts", callbacks=[Kill()])
    progress = read_checkpoint(tmp_path / "parts" / "checkpoint.safetensors").meta["progress"]
    assert progress["epoch"] * 41 + progress["step"] == 70
    parts = train_run(resumed_config(tmp_path / "parts", {}), resume=tmp_path / "parts")
    assert (parts["train_loss"], parts["test_loss"]) == (straight["train_loss"], straight["test_loss"])


def test_a_table_of_numbers_is_learned_and_evaluated_in_its_units(tmp_path):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(200, 3))
    price = 1000 + 50 * x[:, 0] - 20 * x[:, 1]
    rows = [f"{a:.4f},{b:.4f},{c:.4f},{p:.3f}" for (a, b, c), p in zip(x, price, strict=True)]
    (tmp_path / "houses.csv").write_text("\n".join(["a,b,c,price", *rows]))
    config = RunConfig("mlp", str(tmp_path / "houses.csv"), target="price", epochs=30)
    result = train_run(config, tmp_path / "run")
    assert result["task"] == "regression"
    assert result["test_rmse"] < 20
    assert evaluate_run(tmp_path / "run")["test_rmse"] == pytest.approx(result["test_rmse"])
    (tmp_path / "more.csv").write_text("\n".join(["price,c,b,a", *(",".join(r.split(",")[::-1]) for r in rows[:37])]))
    more = evaluate_run(tmp_path / "run", str(tmp_path / "more.csv"))
    assert more["examples"] == 37
    assert more["test_rmse"] < 20
