"""Log: what its function is called with, and what its errors leave."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.train.fitting import InterruptAt, assert_same_state, digits, some_digits, trainer
from xpnet.train import Log, SaveCheckpoint, step_losses


def fit(callbacks, epochs=2, **options):
    made = trainer("softmax", callbacks=callbacks, **options)
    made.fit(some_digits(96), digits()[1].take(np.arange(20)), epochs=epochs, batch_size=32)
    return made


@pytest.mark.parametrize("name", ["numpy", "array-api-strict:device1"])
def test_the_function_gets_the_numbers_of_each_epoch_as_floats(name):
    seen = []
    made = fit([Log(lambda figures, step: seen.append((step, figures)))], backend=name)
    assert seen == [(3 * r["epoch"], r) for r in made.history]
    assert {type(value) for _, figures in seen for value in figures.values()} == {float}


def test_a_figure_that_is_none_is_left_out():
    seen = []
    log = Log(lambda figures, step: seen.append(figures))
    log.on_epoch(trainer("softmax"), {"epoch": 1, "top5_accuracy": None, "name": "x", "loss": float("nan")})
    assert [*seen[0]] == ["epoch", "loss"]


def test_losses_and_rates_of_every_nth_step_come_in_order_before_their_epoch(monkeypatch):
    for pause in (0.0, 3600.0):
        monkeypatch.setattr(step_losses, "_PAUSE", pause)
        seen = []
        made = fit([Log(lambda figures, step, seen=seen: seen.append((step, figures)), every=2)])
        assert [(step, next(iter(figures))) for step, figures in seen] == [
            (2, "loss"), (3, "epoch"), (4, "loss"), (6, "loss"), (6, "epoch")
        ]  # fmt: skip
        assert seen[0][1]["lr"] == 0.05
        assert seen[1][1] == made.history[0]


def test_an_interruption_leaves_no_step_out():
    seen = []
    fit([InterruptAt(0, 1), Log(lambda figures, step: seen.append(step), every=1)])
    assert seen == [1, 2]


@pytest.mark.parametrize("every", [None, 1], ids=["after an epoch", "after a step"])
def test_an_error_of_the_function_names_it_and_the_training_can_be_resumed(every, tmp_path, monkeypatch):
    monkeypatch.setattr(step_losses, "_PAUSE", 0.0)

    class LostError(Exception):
        pass

    def fails(figures, step):
        calls.append(step)
        raise LostError("no server")

    calls = []
    made = trainer("softmax", callbacks=[Log(fails, every), SaveCheckpoint(tmp_path)])
    with pytest.raises(LostError, match="no server") as error:
        made.fit(some_digits(96), epochs=2, batch_size=32)
    assert error.value.__notes__ == [
        f"raised by the function of train.Log, after {calls[0]} update{'s' * (calls[0] > 1)}"
    ]
    assert len(calls) == 1
    made.callbacks = [SaveCheckpoint(tmp_path)]  # whose lock was released
    made.fit(some_digits(96), epochs=2, batch_size=32)
    plain = trainer("softmax")
    plain.fit(some_digits(96), epochs=2, batch_size=32)
    assert_same_state(made.checkpoint(), plain.checkpoint())


def test_a_file_of_json_lines_takes_three_lines(tmp_path):
    with (tmp_path / "log.jsonl").open("w") as file:
        made = fit([Log(lambda figures, step: print(json.dumps({"step": step, **figures}), file=file))])
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == [{"step": 3 * r["epoch"], **r} for r in made.history]
