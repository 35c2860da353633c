"""What a configuration and a checkpoint's JSON may hold: each key meets each wrong value."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tests.harness import raises
from tests.train.fitting import some_digits, trainer
from xpnet.errors import CheckpointError, ConfigError
from xpnet.train import TASKS, RunConfig, open_run, read_checkpoint, write_checkpoint
from xpnet.train.runs.config import resumed_config

NEVER = [[], {}, {"a": 1}, [1], True, -1, 1.5, 10**30, float("-inf"), [[[[]]]], ""]
VALID = [("lr", 1.5), ("lr", 10**30), ("weight_decay", 1.5), ("weight_decay", 10**30), ("clip", 1.5), ("clip", 10**30),
         ("best", True), ("skip_damaged", True)]  # fmt: skip
WRONG = [
    *((key, value) for key in dataclasses.asdict(RunConfig()) for value in NEVER if (key, value) not in VALID),
    *((key, None) for key in ("model", "data", "backend", "seed", "precision")),
    ("lr", 0), ("lr", "0.1"), ("batch_size", 10**12), ("batch_size", 0), ("threads", 10**9), ("threads", 0),
    ("threads", 9999), ("epochs", 10**9), ("seed", 2**64), ("model", "mpl"), ("data", "a\0b"), ("colour", 3),
    *((key, "loud") for key in ("task", "image_fit", "augment", "schedule", "freeze", "image_size", "cache_images")),
    *((key, value) for key in ("momentum", "label_smoothing", "val") for value in (1, 1.0, -0.1, 2)),
    *(("image_size", value) for value in ("0", "0x5", "8x8x3", "x8", "99999", "12.5")), ("cache_images", "0GB"),
    ("cache_images", "9999TB"), ("class_weights", "a"), ("class_weights", "a=0"), ("class_weights", "a=1,a=2"),
    ("class_weights", "a=nan"), ("class_weights", "=1"), ("warmup", -1), ("patience", 0), ("workers", 0), ("clip", 0),
    ("weight_decay", -1e-9), ("checkpoint_every", 0), ("checkpoint_every", "0steps"), ("checkpoint_every", "2 hours"),
    ("run_name", "../up"), ("run_name", ".hidden"), ("run_name", "a/b"), ("freeze", "body"),
]  # fmt: skip


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(RunConfig())))
    return tmp_path


@pytest.mark.parametrize(("key", "value"), WRONG, ids=repr)
def test_a_wrong_value_is_refused_with_file_and_key_and_by_a_program(run, key, value):
    config = dataclasses.asdict(RunConfig()) | {key: value}
    (run / "config.json").write_text(json.dumps(config))
    with raises(CheckpointError, str(run / "config.json")):
        resumed_config(run, {})
    if key in dataclasses.asdict(RunConfig()):
        with raises(ConfigError, key):
            RunConfig(**config)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", '{"lr": NaN}', "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "\0"]
)
def test_a_text_that_is_no_configuration_is_refused(run, text):
    (run / "config.json").write_text(text)
    with raises(CheckpointError, str(run / "config.json"), "cannot be read"):
        resumed_config(run, {})


def test_a_configuration_of_an_older_xpnet_is_of_a_run_that_held_nothing_out(run):
    (run / "config.json").write_text('{"model": "mlp", "data": "digits", "epochs": 3, "lr": 0.1}')
    assert resumed_config(run, {"epochs": 4}) == RunConfig("mlp", "digits", epochs=4, lr=0.1, val=0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"best": True, "val": 0}, ("best", "validation")),
        ({"patience": 3, "val": 0.0}, ("patience", "validation")),
        ({"schedule": "one-cycle", "warmup": 5}, ("warmup", "one-cycle")),
        ({"freeze": "body"}, ("freeze", "from_run")),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings, words):
    with raises(ConfigError, *words):
        RunConfig(**settings)


def test_a_run_whose_schedule_ends_with_its_epochs_is_not_lengthened(run):
    (run / "config.json").write_text(json.dumps(dataclasses.asdict(RunConfig(epochs=5, schedule="cosine"))))
    assert resumed_config(run, {"epochs": 5}).epochs == 5
    with raises(ConfigError, "resume", "epochs 5", "epochs 9", "cosine", f"from_run={run}"):
        resumed_config(run, {"epochs": 9})


@pytest.mark.parametrize("lr", [np.float32(0.1), 1, 1e-9])
def test_numbers_of_numpy_are_numbers(lr):
    RunConfig(lr=lr, batch_size=np.int64(3))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    fit = trainer("softmax")
    fit.fit(some_digits(64), epochs=1, batch_size=32)
    names = {
        "model_name": "softmax",
        "shape": [8, 8, 1],
        "classes": list("0123456789"),
        "white": 16.0,
        "data": "digits",
    }
    return fit.checkpoint(**names)


def changed(meta, path, value):
    meta = json.loads(json.dumps(meta))
    *above, last = path.split(".")
    inside = meta
    for name in above:
        inside = inside[name]
    inside[last] = value
    return meta


TABLES = ("progress", "history", "normalize", "optimizer", "scale")
COUNTS = [f"progress.{key}" for key in ("epoch", "step", "seed")]
NAMED = ("model_name", "shape", "classes", "white", "data")
META = [
    *((key, value) for key in TABLES for value in (1, "a", [1], True)),
    *((key, value) for key in COUNTS for value in (None, 1.5, -1, "1", True)),
    *(("progress.examples", value) for value in (None, -1, -0.5, "1", True)),  # of weighted examples no whole number
    *(("task", value) for value in (1, [1], {}, {"name": "dancing"}, {"name": 3}, {"name": "regression", "mean": "a"})),
    *(("task.class_weights", value) for value in ("a", [None], [0.0] * 10, [-1.0] * 10, [[1.0] * 10])),
    ("progress.epoch", 10**9), ("progress.epoch", 2), ("progress.loss_sum", "a"), ("normalize.std", [0]),
    ("normalize.mean", None), ("normalize.mean", 3), ("history", []), ("format_version", 0), ("format_version", True),
    *((key, value) for key in NAMED for value in (None, {}, True, [], [None])),
    ("classes", ["a"]), ("classes", [1, 2]), ("shape", [1500, 1500, 3]), ("shape", [8, 8, 0]), ("shape", [10**9] * 9),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), META, ids=repr)
def test_a_wrong_value_in_a_checkpoint_is_refused(saved, tmp_path, path, value):
    held = dataclasses.replace(saved, meta=changed(saved.meta, path, value))
    write_checkpoint(tmp_path / "checkpoint.safetensors", held)  # with its checksum: as by an adversary
    with pytest.raises(CheckpointError):
        open_run(tmp_path)[0].resume(read_checkpoint(tmp_path / "checkpoint.safetensors"))


def test_a_run_may_learn_each_task_that_needs_no_loss_of_the_users():
    for name, kind in TASKS.items():
        if kind.needs_loss:
            with pytest.raises(ConfigError, match="task"):
                RunConfig(task=name)
        else:
            assert RunConfig(task=name).task == name
    assert [name for name, kind in TASKS.items() if kind.needs_loss] == ["custom"]
