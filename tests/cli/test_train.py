"""xpnet train: its options, what it prints and keeps: a promise to scripts."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from xpnet.optim import schedules
from xpnet.train import RunConfig, read_checkpoint
from xpnet.train.runs.config import read_config

KEYS = [
    "model", "data", "backend", "device", "task", "precision", "epochs", "seed", "parameters", "train_loss",
    "validation_loss", "validation_accuracy", "test_loss", "test_accuracy", "best_epoch", "chosen_by", "seconds",
    "images_per_second", "peak_memory_bytes", "run",
]  # fmt: skip
HAS_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None


def test_with_no_argument_a_small_network_learns_the_digits(xpnet, here):
    result = xpnet("train", json=True)
    assert result.code == 0
    assert (result.json["model"], result.json["data"], result.json["backend"]) == ("cnn", "digits", "numpy")
    assert result.json["device"] == "cpu"
    assert result.json["test_accuracy"] >= 0.98
    assert [p.name for p in (here / "runs").iterdir()] == ["cnn-digits-1"]


def test_the_last_line_is_one_json_object_with_the_promised_keys(run, here):
    assert list(run.json) == KEYS
    last = json.loads((here / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert run.json["train_loss"] == last["train_loss"]
    assert run.json["validation_accuracy"] == last["validation_accuracy"]
    assert json.loads((here / "run" / "result.json").read_text()) == run.json | {"interrupted": 0}
    assert (run.json["epochs"], run.json["seed"], run.json["run"]) == (2, 0, "run")
    assert run.json["parameters"] == 64 * 10 + 10
    assert run.json["seconds"] > 0
    assert run.json["images_per_second"] == pytest.approx(2 * 1293 / run.json["seconds"], rel=0.05)


def test_a_run_is_a_folder_of_six_files(drawn, xpnet, here):
    run = xpnet("train", "softmax", epochs=2, out="run", json=True)
    names = {"checkpoint.safetensors", "config.json", "metrics.jsonl", "result.json"}
    names |= {"curves.png", "report.html"} if HAS_MATPLOTLIB else set()
    assert {p.name for p in (here / "run").iterdir()} == names
    assert len((here / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    if HAS_MATPLOTLIB:
        assert (here / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
        assert "report: run/report.html" in run.err


def test_without_json_the_output_is_for_people_and_errors_are_elsewhere(xpnet):
    result = xpnet("train", "softmax", epochs=1, seed=5)
    assert result.code == 0
    assert "{" not in result.out
    for text in (
        "softmax, 650 parameters",
        "digits",
        "1,293",
        "144 validation",
        "360",
        "8x8x1",
        "seed 5",
        "test accuracy",
        "runs/",
    ):
        assert text in result.out
    assert result.err.startswith("epoch 1/1 ")
    assert result.err.count("\n") == 1


def test_every_option_of_train_reaches_the_run(xpnet, here, write_idx):
    pytest.importorskip("torch")
    options = {"data": "mnist", "data_dir": write_idx(), "backend": "torch", "device": "cpu", "epochs": 3}
    options |= {"batch_size": 7, "optimizer": "adam", "lr": 0.25, "seed": 11, "precision": "fp16", "threads": 1}
    options |= {"out": "deep/mine", "val": 0.1}
    result = xpnet("train", "mlp", **options, json=True)
    assert result.code == 0
    keys = ("model", "data", "backend", "device", "precision", "epochs", "seed", "run")
    assert {k: result.json[k] for k in keys} == {
        "model": "mlp", "data": "mnist", "backend": "torch", "device": "cpu", "precision": "fp16", "epochs": 3,
        "seed": 11, "run": "deep/mine",
    }  # fmt: skip
    config = json.loads((here / "deep" / "mine" / "config.json").read_text())
    assert {k: v for k, v in config.items() if v is not None and v is not False} == {
        "model": "mlp", "data": "mnist", "data_dir": str(write_idx()), "backend": "torch:cpu", "epochs": 3,
        "batch_size": 7, "optimizer": "adam", "lr": 0.25, "seed": 11, "precision": "fp16", "threads": 1,
        "schedule": "inverse", "warmup": 6, "weight_decay": 0.0, "val": 0.1, "task": "classification",
        "command": config["command"], "versions": config["versions"],
    } | ({"commit": config["commit"]} if config["commit"] else {})  # fmt: skip
    assert "torch:cpu, fp16, batches of 7, adam with rate 0.25" in result.err
    meta = read_checkpoint(here / "deep" / "mine" / "checkpoint.safetensors").meta
    assert meta["optimizer"]["optimizer"] == "Adam"
    assert meta["optimizer"]["steps"] == 3 * 6  # 36 images in sevens


def trainer_of(here, config):
    """The trainer that a configuration makes, of a run trained on the digits."""
    from xpnet import data
    from xpnet.backend import get_backend
    from xpnet.train.runs.preparation import make_trainer

    return make_trainer(config, get_backend("cpu"), data.splits("digits", validation=0))[0]


def test_the_options_of_the_optimizer_reach_it(xpnet, here):
    options = {"weight_decay": 0.25, "momentum": 0.5, "clip": 2.0, "label_smoothing": 0.125, "schedule": "constant"}
    result = xpnet("train", "softmax", **options, epochs=1, lr=0.01, out="run", warmup=7)
    assert result.code == 0, result.err
    trainer = trainer_of(here, read_config("run")[0])
    optimizer = trainer.optimizer
    assert (optimizer.weight_decay, optimizer.momentum, optimizer.clip_norm) == (0.25, 0.5, 2.0)
    assert optimizer.lr == schedules.warmup(0.01, 7)
    assert trainer.loss.keywords == {"label_smoothing": 0.125}


@pytest.mark.parametrize(
    ("name", "last", "middle"),
    [("constant", 0.1, 0.1), ("cosine", 0.0, 0.05), ("step", 0.001, 0.01), ("one-cycle", 4e-7, 0.0812)],
)
def test_a_schedule_goes_from_its_highest_rate_to_its_last(here, name, last, middle):
    config = RunConfig("softmax", schedule=name, lr=0.1, epochs=40, warmup=None if name == "one-cycle" else 0)
    rate = trainer_of(here, config).optimizer.lr
    steps = 45 * 40
    assert max(rate(t) for t in range(steps)) == pytest.approx(0.1, rel=1e-3)
    assert rate(steps - 1) == pytest.approx(last, abs=1e-5)
    assert rate(steps // 2) == pytest.approx(middle, rel=0.05)


def test_a_run_keeps_its_number_of_threads(xpnet, here, write_images):
    assert xpnet("train", "lenet5", data=write_images(), epochs=1, threads=2, out="run").code == 0
    assert json.loads((here / "run" / "config.json").read_text())["threads"] == 2


def test_an_optimizer_brings_its_own_rate(xpnet, here):
    result = xpnet("train", "softmax", optimizer="adam", epochs=0, out="run")
    assert "adam with rate 0.001" in result.out
    assert json.loads((here / "run" / "config.json").read_text())["lr"] == 0.001


@pytest.mark.parametrize("model", ["perceptron", "softmax", "mlp", "lenet5", "cnn"])
def test_every_model_trains(xpnet, model, write_images):
    result = xpnet("train", model, data=write_images(), epochs=1, json=True)
    assert result.code == 0
    assert result.json["model"] == model
    assert np.isfinite(result.json["train_loss"])


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam", "adamw"])
def test_every_optimizer_trains(xpnet, optimizer):
    result = xpnet("train", "softmax", optimizer=optimizer, epochs=1, json=True)
    assert result.code == 0
    assert result.json["test_accuracy"] > 0.3


def test_equal_seeds_give_equal_runs_and_other_seeds_others(xpnet):
    losses = [xpnet("train", "mlp", epochs=1, seed=s, json=True).json["train_loss"] for s in (4, 4, 5)]
    assert losses[0] == losses[1] != losses[2]


def test_runs_without_out_are_numbered(xpnet, here):
    for _ in range(2):
        xpnet("train", "softmax", epochs=0)
    assert sorted(p.name for p in (here / "runs").iterdir()) == ["softmax-digits-1", "softmax-digits-2"]


def test_no_epochs_keep_the_first_weights(xpnet, here):
    result = xpnet("train", "softmax", epochs=0, out="run", json=True)
    assert result.code == 0
    assert (result.json["epochs"], result.json["train_loss"], result.json["test_accuracy"]) == (0, None, None)
    assert not read_checkpoint(here / "run" / "checkpoint.safetensors").model["scores.weight"].any()


def test_a_resumed_run_goes_on_to_what_a_straight_one_reaches(xpnet, run, here):
    resumed = xpnet("train", resume="run", epochs=4, json=True)
    warmup = 3 * 2 * 41 // 8  # of the run as it began, with 2 epochs
    straight = xpnet("train", "softmax", epochs=4, warmup=warmup, out="straight", json=True)
    assert resumed.code == 0
    assert (resumed.json["epochs"], resumed.json["run"]) == (4, "run")
    assert resumed.json["train_loss"] == straight.json["train_loss"]
    a, b = (read_checkpoint(here / name / "checkpoint.safetensors") for name in ("run", "straight"))
    assert all(np.array_equal(a.model[k], b.model[k]) for k in b.model)
    assert len((here / "run" / "metrics.jsonl").read_text().splitlines()) == 4
    assert json.loads((here / "run" / "config.json").read_text())["epochs"] == 4


def test_a_run_goes_on_elsewhere(xpnet, run):
    pytest.importorskip("torch")
    result = xpnet("train", "softmax", resume="run", epochs=3, backend="torch", json=True)
    assert result.code == 0
    assert (result.json["backend"], result.json["epochs"]) == ("torch", 3)
    straight = xpnet("train", "softmax", epochs=3, warmup=3 * 2 * 41 // 8, json=True)
    assert result.json["train_loss"] == pytest.approx(straight.json["train_loss"], rel=1e-4)


def test_a_run_that_is_done_is_left_as_it_is(xpnet, run, here):
    before = read_checkpoint(here / "run" / "checkpoint.safetensors").model["scores.weight"]
    result = xpnet("train", resume="run", json=True)
    assert result.code == 0
    assert result.json["test_accuracy"] == run.json["test_accuracy"]
    assert np.array_equal(read_checkpoint(here / "run" / "checkpoint.safetensors").model["scores.weight"], before)


def test_without_matplotlib_the_missing_picture_is_said_and_nothing_fails(xpnet, here, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "matplotlib" else real(name, *a))
    result = xpnet("train", "softmax", epochs=1, out="run")
    assert result.code == 0
    assert "pip install 'xpnet[viz]'" in result.out
    assert not (here / "run" / "curves.png").exists()


@pytest.mark.parametrize(("option", "what"), [("--data", "data"), ("--val", "validation set")])
def test_a_run_whose_data_moved_goes_on_with_its_new_place(xpnet, refused, here, option, what):
    x, y = np.random.default_rng(0).random((40, 6)), np.arange(40) % 2
    for name in ("data", "val"):
        np.savez(here / f"{name}.npz", x=x, y=y)
    assert xpnet("train", "softmax", data="data.npz", val="val.npz", epochs=1, out="run").code == 0
    old = here / f"{option[2:]}.npz"
    old.rename(here / "moved.npz")
    line = f"{old}: the {what} of run is not there any more; say where it is now with {option} PATH"
    refused("train --resume run --epochs 2", line)
    assert xpnet("train", option, "moved.npz", resume="run", epochs=2).code == 0
    assert len((here / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    assert json.loads((here / "run" / "config.json").read_text())[option[2:]] == str(here / "moved.npz")


def test_a_run_validates_with_a_folder_or_with_a_part_as_it_began(xpnet, refused, here):
    np.savez(here / "data.npz", x=np.random.default_rng(0).random((40, 6)), y=np.arange(40) % 2)
    assert xpnet("train", "softmax", data="data.npz", val="data.npz", epochs=1, out="run").code == 0
    refused("train --resume run --val 0.2", "--val", "as the run began", "0.2")
