"""Runs: one writer at a time, classes by name, weights looked at before they are saved."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.harness import raises
from tests.train.fitting import some_digits, trainer
from xpnet.errors import CheckpointError, ConfigError, DivergedError
from xpnet.train import Callback, RunConfig, SaveCheckpoint, evaluate_run, read_checkpoint, train_run
from xpnet.train.runs import training
from xpnet.train.runs.config import resumed_config
from xpnet.train.runs.folder import FILES
from xpnet.writing import FileLock

SOFTMAX = RunConfig("softmax", epochs=1)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Runs draw no curves and no report."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def points(path, names, order=(0, 1)):
    """Two clouds far apart, the first of class names[0]; order numbers the classes."""
    y = np.arange(40) % 2
    x = np.random.default_rng(0).normal(size=(40, 2)) + 9 * y[:, None]
    np.savez(path, x=x, y=np.asarray(order)[y], classes=np.asarray(names)[np.argsort(order)])
    return str(path)


def test_classes_in_another_order_are_matched_and_others_are_refused(tmp_path):
    data = points(tmp_path / "a.npz", ["cat", "dog"])
    run = train_run(RunConfig("softmax", data, epochs=20), tmp_path / "run")["run"]
    accuracy = evaluate_run(run, points(tmp_path / "same.npz", ["cat", "dog"]))["test_accuracy"]
    assert accuracy > 0.7
    assert evaluate_run(run, points(tmp_path / "b.npz", ["cat", "dog"], (1, 0)))["test_accuracy"] == accuracy
    other = points(tmp_path / "c.npz", ["dog", "zebra"])
    with raises(ConfigError, "evaluate", "'cat', 'dog'", "'zebra'"):
        evaluate_run(run, other)
    with raises(ConfigError, "resume", "'zebra'"):
        train_run(RunConfig("softmax", other, epochs=21), resume=run)


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_another_writes_is_refused_and_left_as_it_is(tmp_path, resume):
    folder = tmp_path / "run"
    folder.mkdir()
    if resume:
        train_run(SOFTMAX, folder)
    with FileLock(folder / "checkpoint.safetensors"):
        before = {p.name: p.read_bytes() for p in folder.iterdir()}
        with raises(CheckpointError, str(folder / "checkpoint.safetensors"), "another process"):
            train_run(SOFTMAX, None if resume else folder, resume=folder if resume else None)
        with raises(CheckpointError, str(folder / "checkpoint.safetensors"), "another process"):
            trainer("softmax", callbacks=[SaveCheckpoint(folder)]).fit(some_digits(32), epochs=1)
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_folder_that_another_process_makes_at_the_same_moment_is_left_to_it(tmp_path, monkeypatch):
    def mkdir(self, *options, **named):
        if self.name.endswith("-1"):  # another process, just before
            real(self, exist_ok=True)
        real(self, *options, **named)

    real = Path.mkdir
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert train_run(SOFTMAX)["run"] == str(Path("runs") / "softmax-digits-2")
    assert not list((tmp_path / "runs" / "softmax-digits-1").iterdir())


def test_of_two_that_resume_a_run_the_second_does_not_undo_the_first(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    train_run(SOFTMAX, folder)

    def make(*given, **options):
        monkeypatch.setattr(training, "make_trainer", real)
        train_run(resumed_config(folder, {"epochs": 3}), resume=folder)  # after the second has read the checkpoint
        return real(*given, **options)

    real = training.make_trainer
    monkeypatch.setattr(training, "make_trainer", make)
    with raises(CheckpointError, str(folder / "checkpoint.safetensors"), "another process", "meanwhile"):
        train_run(resumed_config(folder, {"epochs": 2}), resume=folder)
    assert read_checkpoint(folder / "checkpoint.safetensors").meta["progress"]["epoch"] == 3


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_run_whose_files_are_links_is_resumed_and_what_they_lead_to_stays(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    train_run(dataclasses.replace(SOFTMAX, best=True), folder)
    for name in FILES:
        (folder / name).rename(outside / name) if (folder / name).exists() else (outside / name).touch()
        (folder / name).symlink_to(outside / name)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    train_run(resumed_config(folder, {"epochs": 3}), resume=folder)
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before
    written = set(FILES) - {"curves.png", "report.html"}
    assert {path.name for path in folder.iterdir() if not path.is_symlink()} == written
    assert read_checkpoint(folder / "checkpoint.safetensors").meta["progress"]["epoch"] == 3


def test_an_epoch_is_saved_before_it_is_printed(tmp_path):
    class Printer(Callback):
        def on_epoch(self, trainer, record):
            saved.append(read_checkpoint(tmp_path / "checkpoint.safetensors").meta["progress"]["epoch"])
            raise OSError(28, "No space left on device")

    saved = []
    with pytest.raises(OSError, match="No space"):
        train_run(dataclasses.replace(SOFTMAX, best=True), tmp_path, callbacks=[Printer()])
    assert saved == [1]
    assert (tmp_path / "best.safetensors").exists()
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 1


def test_weights_that_became_nan_in_the_last_update_do_not_replace_the_last_good_checkpoint(tmp_path):
    class Spoil(Callback):
        def on_step(self, trainer):
            if (trainer.epoch, trainer.step) == (1, 3):
                trainer.model.states()["scores.weight"].data[0, 0] = np.nan

    fit = trainer("softmax", callbacks=[SaveCheckpoint(tmp_path), Spoil()])
    with raises(DivergedError, "weights", "scores.weight", "lower lr"):
        fit.fit(some_digits(96), epochs=3, batch_size=32)
    assert read_checkpoint(tmp_path / "checkpoint.safetensors").meta["progress"]["epoch"] == 1


@pytest.mark.parametrize(
    ("examples", "batch", "epochs", "decay"),
    [(100, 16, 143, 1.0), (800, 16, 20, 0.5), (1600, 32, 20, 0.25), (80_000, 64, 20, 0.1)],
)
def test_a_table_is_trained_for_enough_steps_with_less_decay_the_more_rows_there_are(examples, batch, epochs, decay):
    found = RunConfig("mlp").completed(examples, table=True)
    assert (found.batch_size, found.epochs, found.weight_decay) == (batch, epochs, decay)
    warmup = min(300, epochs * -(-examples // batch) // 10)
    assert (found.optimizer, found.lr, found.schedule, found.warmup) == ("adamw", 5e-3, "cosine", warmup)
    given = RunConfig("mlp", optimizer="momentum", epochs=3).completed(examples, table=True)
    assert (given.optimizer, given.lr, given.epochs) == ("momentum", 0.02, 3)
    assert RunConfig("mlp", weight_decay=0.5).completed(examples, table=True).weight_decay == 0.5
    assert RunConfig("mlp").completed(examples).optimizer == "momentum"


@pytest.mark.parametrize(
    ("epochs", "examples", "steps"),
    [(20, 1293, 300), (5, 1293, 76), (1, 1293, 15), (5, 60_000, 300), (0, 1293, 300)],
)
def test_the_rate_of_a_short_run_rises_in_three_eighths_of_its_steps(epochs, examples, steps):
    assert RunConfig("cnn", epochs=epochs).completed(examples).warmup == steps
    assert RunConfig("cnn", epochs=epochs, warmup=7).completed(examples).warmup == 7
    assert RunConfig("cnn", epochs=epochs, schedule="constant").completed(examples).warmup == 0
