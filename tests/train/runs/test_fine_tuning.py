"""Fine-tuning: which weights are taken, which are new, and which stay."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet.errors import ConfigError, DataError
from xpnet.train import RunConfig, evaluate_run, read_checkpoint, train_run
from xpnet.train.runs.fine_tuning import head_of


def pictures(path, classes, size=8, seed=0):
    """Images of a bright row for each class."""
    y = np.arange(20 * len(classes)) % len(classes)
    x = np.random.default_rng(seed).integers(0, 90, (len(y), size, size, 1)).astype(np.uint8)
    x[np.arange(len(y)), y] += 160
    np.savez(path, x=x, y=y, classes=np.asarray(classes))
    return str(path)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run of an mlp on three classes, and its weights."""
    folder = tmp_path_factory.mktemp("base")
    data = pictures(folder / "base.npz", ["a", "b", "c"])
    run = train_run(RunConfig("mlp", data, epochs=2), folder / "run")["run"]
    return run, read_checkpoint(f"{run}/checkpoint.safetensors")


def first_weights(tmp_path, config):
    train_run(config, tmp_path / "tuned")
    return read_checkpoint(tmp_path / "tuned" / "checkpoint.safetensors")


@pytest.mark.parametrize("name", ["softmax", "mlp", "lenet5", "cnn", "resnet20"])
def test_the_head_is_the_last_layer(name):
    head = head_of(name, (16, 16, 1), 5)
    assert len(head) in (1, 2)
    assert len({path.rpartition(".")[0] for path in head}) == 1


def test_other_classes_get_a_new_last_layer_and_the_rest_is_taken(tmp_path, base):
    run, found = base
    data = pictures(tmp_path / "other.npz", ["d", "e"])
    tuned = first_weights(tmp_path, RunConfig("mlp", data, epochs=0, from_run=run))
    head = head_of("mlp", (8, 8, 1), 2)
    assert tuned.model.keys() == found.model.keys()
    for path, array in tuned.model.items():
        assert (path in head) != (array.shape == found.model[path].shape and np.array_equal(array, found.model[path]))
    assert tuned.meta["classes"] == ["d", "e"]
    assert tuned.meta["normalize"] == found.meta["normalize"]
    assert tuned.meta["scale"] == found.meta["scale"]


def test_the_same_classes_keep_the_last_layer(tmp_path, base):
    run, found = base
    data = pictures(tmp_path / "more.npz", ["a", "b", "c"], seed=1)
    tuned = first_weights(tmp_path, RunConfig("mlp", data, epochs=0, from_run=run))
    assert all(np.array_equal(tuned.model[path], array) for path, array in found.model.items())


def test_other_names_of_as_many_classes_get_a_new_last_layer(tmp_path, base):
    run, found = base
    data = pictures(tmp_path / "more.npz", ["x", "y", "z"])
    tuned = first_weights(tmp_path, RunConfig("mlp", data, epochs=0, from_run=run))
    head = head_of("mlp", (8, 8, 1), 3)
    changed = {path for path, array in found.model.items() if not np.array_equal(tuned.model[path], array)}
    assert changed
    assert changed <= head


def test_a_frozen_body_stays_as_it_is_and_the_head_learns(tmp_path, base):
    run, found = base
    data = pictures(tmp_path / "other.npz", ["d", "e"])
    config = RunConfig("mlp", data, epochs=3, from_run=run, freeze="body")
    tuned = first_weights(tmp_path, config)
    head = head_of("mlp", (8, 8, 1), 2)
    for path in tuned.model.keys() - head:
        assert np.array_equal(tuned.model[path], found.model[path]), path
    assert {name.partition("/")[2] for name in tuned.optimizer} == head
    assert any(tuned.model[path].any() for path in head)
    train_run(RunConfig("mlp", data, epochs=3, from_run=run), tmp_path / "whole")
    whole = read_checkpoint(tmp_path / "whole" / "checkpoint.safetensors")
    assert any(not np.array_equal(whole.model[path], found.model[path]) for path in whole.model.keys() - head)


def test_the_averages_of_a_frozen_batch_norm_stay(tmp_path):
    data = pictures(tmp_path / "base.npz", ["a", "b", "c"])
    run = train_run(RunConfig("resnet20", data, epochs=1), tmp_path / "run")["run"]
    config = RunConfig(
        "resnet20", pictures(tmp_path / "d.npz", ["d", "e"], seed=1), epochs=1, from_run=run, freeze="body"
    )
    tuned = first_weights(tmp_path, config)
    found = read_checkpoint(f"{run}/checkpoint.safetensors").model
    averages = [path for path in found if "mean" in path or "var" in path]
    assert averages
    assert all(np.array_equal(tuned.model[path], found[path]) for path in averages)


def test_a_resumed_fine_tuning_is_that_of_one_go_without_the_first_run(tmp_path, base):
    run, _ = base
    data = pictures(tmp_path / "other.npz", ["d", "e"])
    config = RunConfig("mlp", data, epochs=2, from_run=run, freeze="body")
    train_run(config, tmp_path / "straight")
    train_run(RunConfig("mlp", data, epochs=1, from_run=run, freeze="body"), tmp_path / "parts")
    from xpnet.train.runs.config import resumed_config

    config = resumed_config(tmp_path / "parts", {"epochs": 2})
    train_run(config, resume=tmp_path / "parts")
    a, b = (read_checkpoint(tmp_path / name / "checkpoint.safetensors").model for name in ("straight", "parts"))
    assert all(np.array_equal(a[path], b[path]) for path in a)


def test_a_run_of_another_model_shape_or_task_is_refused(tmp_path, base):
    run, _ = base
    data = pictures(tmp_path / "other.npz", ["d", "e"])
    with raises(ConfigError, "from_run", "model softmax", "mlp"):
        train_run(RunConfig("softmax", data, from_run=run), tmp_path / "tuned")
    with raises(ConfigError, "from_run", "shape (9, 9, 1)", "(8, 8, 1)"):
        train_run(RunConfig("mlp", pictures(tmp_path / "9.npz", ["d", "e"], 9), from_run=run), tmp_path / "tuned")
    numbers = np.random.default_rng(0).normal(size=(40, 8, 8, 1)).astype(np.float32)
    np.savez(tmp_path / "numbers.npz", x=np.load(data)["x"], y=numbers[:, 0, 0, 0])
    with raises(ConfigError, "from_run", "task regression", "classification"):
        train_run(RunConfig("mlp", str(tmp_path / "numbers.npz"), from_run=run), tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()


def test_a_tuned_run_is_evaluated_as_any(tmp_path, base):
    run, _ = base
    data = pictures(tmp_path / "other.npz", ["d", "e"])
    result = train_run(RunConfig("mlp", data, epochs=6, from_run=run), tmp_path / "tuned")
    assert evaluate_run(tmp_path / "tuned")["test_accuracy"] == result["test_accuracy"] > 0.7


def table(path, shift=0, names="abk", kinds="xy"):
    rows = [f"{i % 7 + shift},{i % 5 * 3.0},{kinds[i % len(kinds)]}" for i in range(40)]
    path.write_text("\n".join([",".join(names), *rows]))
    return str(path)


def test_the_columns_of_a_table_stay_as_the_first_run_measured_them(tmp_path):
    config = RunConfig("mlp", table(tmp_path / "a.csv"), epochs=0, target="k")
    run = train_run(config, tmp_path / "run")["run"]
    first = read_checkpoint(f"{run}/checkpoint.safetensors").meta["columns"]
    for kinds in ("xy", "pqr"):  # the same classes, and others
        other = RunConfig("mlp", table(tmp_path / "b.csv", 100, kinds=kinds), epochs=0, target="k", from_run=run)
        tuned = train_run(other, tmp_path / f"tuned-{kinds}")["run"]
        found = read_checkpoint(f"{tuned}/checkpoint.safetensors").meta
        assert found["columns"]["features"] == first["features"]
        assert found["columns"]["target"]["classes"] == found["classes"] == list(kinds)
        assert evaluate_run(tuned)["examples"] == 8
    assert first["features"][0]["mean"] < 10


def test_a_table_without_a_column_of_the_first_run_is_refused_in_one_line(tmp_path):
    config = RunConfig("mlp", table(tmp_path / "a.csv"), epochs=0, target="k")
    run = train_run(config, tmp_path / "run")["run"]
    other = RunConfig("mlp", table(tmp_path / "b.csv", names="ack"), epochs=0, target="k", from_run=run)
    with pytest.raises(DataError, match="'b'") as caught:
        train_run(other, tmp_path / "tuned")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tuned").exists()
