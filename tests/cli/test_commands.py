"""The commands and their options, and what they print and keep: a promise to scripts."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from xpnet import data
from xpnet.train import open_run, read_checkpoint

KEYS = [
    "model", "data", "backend", "device", "precision", "epochs", "seed", "parameters",
    "train_loss", "test_accuracy", "seconds", "images_per_second", "peak_memory_bytes", "run",
]  # fmt: skip
HAS_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None


@pytest.fixture
def run(xpnet):
    """A run of softmax regression on the digits, two epochs, in the folder "run"."""
    result = xpnet("train", "softmax", epochs=2, out="run", json=True)
    assert result.code == 0
    return result


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
    assert run.json["test_accuracy"] == last["test_accuracy"]
    assert (run.json["epochs"], run.json["seed"], run.json["run"]) == (2, 0, "run")
    assert run.json["parameters"] == 64 * 10 + 10
    assert run.json["seconds"] > 0
    assert run.json["images_per_second"] == pytest.approx(2 * 1437 / run.json["seconds"], rel=0.05)


def test_a_run_is_a_folder_of_five_files(run, here):
    names = {"checkpoint.safetensors", "config.json", "metrics.jsonl"}
    names |= {"curves.png", "report.html"} if HAS_MATPLOTLIB else set()
    assert {p.name for p in (here / "run").iterdir()} == names
    assert len((here / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    if HAS_MATPLOTLIB:
        assert (here / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
        assert "report: run/report.html" in run.out


def test_without_json_the_output_is_for_people_and_errors_are_elsewhere(xpnet):
    result = xpnet("train", "softmax", epochs=1, seed=5)
    assert result.code == 0
    assert "{" not in result.out
    for text in ("softmax, 650 parameters", "digits", "1,437", "360", "8x8x1", "seed 5", "test accuracy", "runs/"):
        assert text in result.out
    assert result.err.startswith("epoch 1/1 ")
    assert result.err.count("\n") == 1


def test_every_option_of_train_reaches_the_run(xpnet, here, write_idx):
    pytest.importorskip("torch")
    options = {"data": "mnist", "data_dir": write_idx(), "backend": "torch", "device": "cpu", "epochs": 3}
    options |= {"batch_size": 7, "optimizer": "adam", "lr": 0.25, "seed": 11, "precision": "fp16", "threads": 1}
    options["out"] = "deep/mine"
    result = xpnet("train", "mlp", **options, json=True)
    assert result.code == 0
    keys = ("model", "data", "backend", "device", "precision", "epochs", "seed", "run")
    assert {k: result.json[k] for k in keys} == {
        "model": "mlp", "data": "mnist", "backend": "torch", "device": "cpu", "precision": "fp16", "epochs": 3,
        "seed": 11, "run": "deep/mine",
    }  # fmt: skip
    config = json.loads((here / "deep" / "mine" / "config.json").read_text())
    assert config == {
        "model": "mlp", "data": "mnist", "data_dir": str(write_idx()), "backend": "torch:cpu", "epochs": 3,
        "batch_size": 7, "optimizer": "adam", "lr": 0.25, "seed": 11, "precision": "fp16", "threads": 1,
    }  # fmt: skip
    assert "torch:cpu, fp16, batches of 7, adam with rate 0.25" in result.out
    meta = read_checkpoint(here / "deep" / "mine" / "checkpoint.safetensors").meta
    assert meta["optimizer"]["optimizer"] == "Adam"
    assert meta["optimizer"]["steps"] == 3 * 6  # 40 images in sevens


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
    straight = xpnet("train", "softmax", epochs=4, out="straight", json=True)
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
    straight = xpnet("train", "softmax", epochs=3, json=True)
    assert result.json["train_loss"] == pytest.approx(straight.json["train_loss"], rel=1e-4)


def test_a_run_that_is_done_is_left_as_it_is(xpnet, run, here):
    before = read_checkpoint(here / "run" / "checkpoint.safetensors").model["scores.weight"]
    result = xpnet("train", resume="run", json=True)
    assert result.code == 0
    assert result.json["test_accuracy"] == run.json["test_accuracy"]
    assert np.array_equal(read_checkpoint(here / "run" / "checkpoint.safetensors").model["scores.weight"], before)


def test_evaluate_says_what_training_said(xpnet, run):
    result = xpnet("evaluate", "run", json=True)
    assert result.code == 0
    assert result.json["test_accuracy"] == run.json["test_accuracy"]
    assert result.json["examples"] == 360
    counts = np.asarray(result.json["confusion"])
    assert np.array_equal(counts.sum(axis=1), np.bincount(data.load("digits")[1].y))
    assert np.trace(counts) / 360 == pytest.approx(run.json["test_accuracy"])
    assert f"{run.json['test_accuracy']:.2%}" in result.out


def test_evaluate_prints_each_class_with_its_share(xpnet, run):
    result = xpnet("evaluate", "run", data="digits", backend="numpy", device="cpu")
    assert result.code == 0
    counts = np.asarray(xpnet("evaluate", "run", json=True).json["confusion"])
    rows = [line.split() for line in result.out.splitlines() if line.split()[0] in "0123456789"]
    assert [row[-1] for row in rows] == [f"{c[k] / c.sum():.1%}" for k, c in enumerate(counts)]
    assert [[int(n.replace("·", "0")) for n in row[1:-1]] for row in rows] == counts.tolist()


def test_evaluate_takes_the_data_folder_of_the_run(xpnet, write_idx):
    xpnet("train", "softmax", data="mnist", data_dir=write_idx(), epochs=1, out="run")
    assert xpnet("evaluate", "run", json=True).json["examples"] == 10


def test_evaluate_runs_on_another_backend(xpnet, run):
    pytest.importorskip("torch")
    result = xpnet("evaluate", "run", backend="torch", json=True)
    assert result.json["backend"] == "torch"
    assert result.json["test_accuracy"] == pytest.approx(run.json["test_accuracy"], abs=1 / 300)


def save_digit(path, i: int) -> None:
    import PIL.Image

    pixels = data.load("digits")[1].x[i, :, :, 0]
    PIL.Image.fromarray((pixels * (255 / 16)).round().astype(np.uint8)).save(path)


def test_predict_names_the_classes_of_images_by_their_probability(xpnet, run, here):
    for i in range(3):
        save_digit(here / f"{i}.png", i)
    result = xpnet("predict", "run", "0.png", "1.png", "2.png", top=4, json=True)
    assert result.code == 0
    trainer, _ = open_run("run")
    for i, said in enumerate(result.json):
        chances = trainer.predict(data.load("digits")[1].x[i : i + 1])[0]
        assert said["image"] == f"{i}.png"
        assert said["classes"] == [str(k) for k in np.argsort(-chances)[:4]]
        np.testing.assert_allclose(said["probabilities"], np.sort(chances)[::-1][:4], atol=0.02)  # 8-bit rounding
    lines = result.out.splitlines()
    assert lines[0].startswith(f"0.png: {result.json[0]['classes'][0]} {result.json[0]['probabilities'][0]:.1%}, ")


def test_predict_names_three_classes_or_all_where_there_are_fewer(xpnet, run, here, write_images):
    save_digit(here / "a.png", 0)
    assert len(xpnet("predict", "run", "a.png", json=True).json[0]["classes"]) == 3
    photos = write_images()
    xpnet("train", "softmax", data=photos, epochs=20, out="two")
    result = xpnet("predict", "two", photos / "dark" / "0.png", photos / "bright" / "0.png", json=True)
    assert [r["classes"] for r in result.json] == [["dark", "bright"], ["bright", "dark"]]


def test_predict_scales_pixels_to_the_brightness_that_was_trained(xpnet, here):
    import PIL.Image

    draw = np.random.default_rng(0)
    x = draw.uniform(0, 0.2, (40, 5, 5, 1)).astype(np.float32)
    x[20:] += 0.7
    np.savez(here / "floats.npz", x=x, y=np.arange(40) // 20)
    xpnet("train", "softmax", data="floats.npz", epochs=30, out="run")
    PIL.Image.fromarray((x[5, :, :, 0] * 255).round().astype(np.uint8)).save("dark.png")
    said = xpnet("predict", "run", "dark.png", json=True).json[0]
    want = open_run("run")[0].predict(x[5:6])[0]
    assert said["probabilities"][0] == pytest.approx(want.max(), abs=0.01)


def test_devices_lists_every_backend_and_how_to_install_the_absent(xpnet):
    result = xpnet("devices", json=True)
    assert result.code == 0
    found = {b["name"]: b for b in result.json}
    assert {"numpy", "cupy", "torch", "jax"} <= found.keys()
    assert found["numpy"]["version"] == np.__version__
    assert found["numpy"]["devices"] == ["cpu"]
    assert found["numpy"]["records"]
    assert found["numpy"]["kernels"]["conv2d"][-1] == {"folder": "numpy", "recordable": True}
    assert found["numpy"]["kernels"]["exp"] == []
    assert any(line.split()[0] == "conv2d" and "numpy" in line for line in result.out.splitlines() if line.strip())
    for b in found.values():
        assert bool(b["problem"]) != bool(b["devices"])
        assert b["name"] in result.out
        if b["problem"]:
            assert "pip install" in b["install"]


@pytest.mark.parametrize("words", [(), ("--help",)])
def test_help_lists_the_commands(xpnet, words):
    result = xpnet(*words)
    assert result.code == 0
    assert result.err == ""
    for command in ("train", "evaluate", "predict", "devices"):
        assert command in result.out


def test_help_of_train_lists_its_options(xpnet):
    result = xpnet("train", "--help")
    assert result.code == 0
    for option in ("data", "data-dir", "backend", "device", "epochs", "batch-size", "optimizer", "lr", "seed", "out",
                   "resume", "json"):  # fmt: skip
        assert f"--{option}" in result.out


def test_without_matplotlib_the_missing_picture_is_said_and_nothing_fails(xpnet, here, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "matplotlib" else real(name, *a))
    result = xpnet("train", "softmax", epochs=1, out="run")
    assert result.code == 0
    assert "pip install 'xpnet[viz]'" in result.out
    assert not (here / "run" / "curves.png").exists()
