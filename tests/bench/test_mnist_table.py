"""The MNIST table: its recipes, its arithmetic, a small run of the command from start to end, and bad options."""

from __future__ import annotations

import importlib
import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from xpnet.data import Augment, from_arrays
from xpnet.optim import OPTIMIZERS

BENCH = Path(__file__).resolve().parents[2] / "ci" / "bench"
NAMES = ["softmax", "mlp-300-100", "lenet5", "lenet5-augmented"]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of ci/bench by name, as run.py does."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


@pytest.fixture
def small(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bench on a made-up MNIST: 120 images to train with and 50 to test with; class k has a bright row k."""

    def digits(count: int, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        y = np.arange(count) % 10
        x = rng.integers(0, 60, (count, 28, 28, 1), dtype=np.uint8)
        x[np.arange(count), 2 * y + 4] += 180
        return from_arrays(x, y, name="made-up mnist")

    mnist, learning = bench("mnist"), bench("learning")
    monkeypatch.setattr(learning.data, "load", lambda name, data_dir=None: (digits(120, 0), digits(50, 1)))
    for name, entry in mnist.ENTRIES.items():
        recipe = replace(entry.recipe, epochs=2, batch_size=20)
        monkeypatch.setitem(mnist.ENTRIES, name, entry._replace(recipe=recipe))
    return bench


def ask(bench: Any, *options: str) -> Any:
    return CliRunner().invoke(bench("run").app, ["mnist", *options])


def made_run(model: str, seed: int, wrong: int, **other: Any) -> dict[str, Any]:
    """A run as the file keeps it, of which the table uses these figures."""
    machine = {"machine": "a slow machine", "versions": {"python": "3.11", "xpnet": "0.1.0"}}
    error = {"test_images": 10_000, "wrong": wrong, "test_error": wrong / 100}
    return {"model": model, "seed": seed, "parameters": 7850, **machine, **error, **other}


# Recipes


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_builds_a_network_an_optimizer_and_an_augmentation(bench: Any, name: str) -> None:
    recipe = bench("mnist").ENTRIES[name].recipe
    model = bench("learning").build(recipe, (28, 28, 1), 10)
    layers = dict(model.children())
    counts = {"softmax": 7850, "mlp-300-100": 266_610, "lenet5": 61_706, "lenet5-augmented": 61_706}
    assert model.parameter_count == counts[name]  # by hand: 784*10 + 10; 784*300 + 300 + 300*100 + 100 + 1010; FACTS
    assert [layers[f"{after}_drop"].rate for after in recipe.dropout] == list(recipe.dropout.values())
    assert recipe.optimizer in OPTIMIZERS
    assert Augment(**recipe.augment) == Augment() or name == "lenet5-augmented"


def test_dropout_follows_the_layer_that_a_recipe_names(bench: Any) -> None:
    recipe = bench("mnist").Recipe("mlp", 1, 1, "sgd", 0.1, hidden=(5,), dropout={"relu1": 0.25})
    model = bench("learning").build(recipe, (4, 4, 1), 3)
    assert [name for name, _ in model.children()] == ["flatten", "hidden1", "relu1", "relu1_drop", "scores"]


def test_the_published_figures_are_those_of_1998(bench: Any) -> None:
    entries = bench("mnist").ENTRIES
    assert {name: entry.published for name, entry in entries.items()} == dict(
        zip(NAMES, [12.0, 3.05, 0.95, 0.8], strict=True)
    )
    assert [entries[name].goal for name in NAMES] == [8.0, 1.9, 0.90, 0.60]


def test_a_recipe_is_the_same_after_a_trip_through_json(bench: Any) -> None:
    mnist = bench("mnist")
    for entry in mnist.ENTRIES.values():
        kept = mnist.plain(entry.recipe)
        assert json.loads(json.dumps(kept)) == kept


# The table


def test_the_table_gives_each_seed_and_the_mean_of_the_counts(bench: Any) -> None:
    runs = [made_run("lenet5", 1, 92), made_run("lenet5", 0, 80), made_run("softmax", 0, 745)]
    lines = bench("report").learned_markdown(bench("mnist").facts(runs)).splitlines()
    assert lines[0] == "| network | parameters | test error, each seed | mean | LeCun et al. 1998 | ours has |"
    assert lines[2].startswith("| softmax regression | 7,850 | 7.45 % | 7.45 % | 12.0 %, linear classifier | ")
    assert lines[3].startswith("| LeNet-5 | 7,850 | 0.80, 0.92 % | 0.86 % | 0.95 %, LeNet-5 | ")
    assert lines[4] == ""
    assert lines[5].startswith("a slow machine; python 3.11, xpnet 0.1.0. Published: LeCun, Bottou, Bengio and Haffner")
    assert len(lines) == 6


def test_a_goal_is_met_by_the_mean_at_its_edge_and_missed_above_it(bench: Any) -> None:
    met = bench("mnist").facts([made_run("lenet5", 0, 80), made_run("lenet5", 1, 100)])
    missed = bench("mnist").facts([made_run("lenet5", 0, 80), made_run("lenet5", 1, 101)])
    verdicts = bench("report").learned_verdicts
    assert verdicts(met) == ["lenet5: mean of 2 seeds 0.900 %, at most 0.90 % met"]
    assert verdicts(missed) == ["lenet5: mean of 2 seeds 0.905 %, at most 0.90 % MISSED"]


def test_the_kept_results_are_of_todays_recipes_with_three_seeds_each(bench: Any) -> None:
    mnist = bench("mnist")
    path = BENCH / "results" / "mnist.json"
    runs = bench("learning").read_runs(path)
    assert [(run["model"], run["seed"]) for run in runs] == [(name, seed) for name in NAMES for seed in range(3)]
    assert mnist.facts(runs) == json.loads(path.read_text())
    for run in runs:
        assert (run["train_images"], run["test_images"]) == (60_000, 10_000)
        assert run["epochs"] == run["recipe"]["epochs"]
        assert run["test_error"] == pytest.approx(run["wrong"] / 100)


def test_the_kept_results_reach_their_goals(bench: Any) -> None:
    verdicts = bench("report").learned_verdicts(json.loads((BENCH / "results" / "mnist.json").read_text()))
    assert len(verdicts) == 4
    assert all(line.endswith(" met") for line in verdicts), verdicts


def test_the_readmes_table_is_that_of_the_runs(bench: Any) -> None:
    facts = json.loads((BENCH / "results" / "mnist.json").read_text())
    assert bench("report").learned_markdown(facts) in (BENCH.parents[1] / "README.md").read_text()


# The command


def test_the_command_trains_and_keeps_what_it_prints(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "mnist.json"
    result = ask(small, "--seeds", "2", "--json", str(path))
    assert result.exit_code == 0, result.output
    facts = json.loads(path.read_text())
    assert [(run["model"], run["seed"]) for run in facts["runs"]] == [(n, seed) for n in NAMES for seed in (0, 1)]
    assert {"data", "protocol", "source", "models", "runs"} == set(facts)
    for run in facts["runs"]:
        assert (run["epochs"], run["train_images"], run["test_images"]) == (2, 120, 50)
        assert run["test_error"] == 100 * run["wrong"] / 50
        assert np.isfinite(run["train_loss"])
        assert {"python", "numpy", "xpnet"} <= set(run["versions"])
    assert facts["runs"][0]["train_loss"] != facts["runs"][1]["train_loss"]
    assert small("report").learned_markdown(facts) in result.stdout
    assert "epoch 2/2" in result.stderr
    assert result.stderr.count(" wrong, ") == 8
    table = CliRunner().invoke(small("run").app, ["table", str(path)])
    assert table.stdout == small("report").learned_markdown(facts) + "\n"


def test_the_error_kept_is_that_of_the_trained_network_on_the_test_set(small: Any) -> None:
    learning, kept = small("learning"), []
    train, test = learning.data.load("mnist")
    test = from_arrays(test.x, (test.y + 1) % 10)  # so that hardly any is right, unlike in the training set

    class Keep(learning.Callback):
        def on_end(self, trainer: Any) -> None:
            kept.append(trainer)

    run = learning.train_once("softmax", 0, train, test, [Keep()])
    said = np.argmax(kept[0].predict(test.x), axis=1)
    assert run["wrong"] == int((said != test.y).sum()) > 25
    assert all("test_loss" not in record for record in kept[0].history)  # the test set was not looked at on the way


def test_a_seed_decides_first_weights_and_draws(small: Any) -> None:
    learning, weights = small("learning"), []
    train, test = learning.data.load("mnist")

    class First(learning.Callback):
        def on_start(self, trainer: Any) -> None:
            weights.append(trainer.model.state_dict()["hidden1.weight"])

    losses = [learning.train_once("mlp-300-100", seed, train, test, [First()])["train_loss"] for seed in (0, 1, 0)]
    assert np.array_equal(weights[0], weights[2])
    assert not np.array_equal(weights[0], weights[1])
    assert losses[0] == losses[2] != losses[1]


def test_a_run_that_is_kept_is_not_repeated_unless_asked_again(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "mnist.json"
    assert ask(small, "--only", "softmax", "--seeds", "1", "--json", str(path)).exit_code == 0
    marked = json.loads(path.read_text())
    marked["runs"][0]["wrong"] = 49
    path.write_text(json.dumps(marked))
    more = ask(small, "--only", "softmax", "--seeds", "2", "--json", str(path))
    assert "softmax, seed 0: kept from before" in more.stderr
    runs = json.loads(path.read_text())["runs"]
    assert ([run["seed"] for run in runs], runs[0]["wrong"]) == ([0, 1], 49)
    ask(small, "--only", "softmax", "--seeds", "1", "--again", "--json", str(path))
    runs = json.loads(path.read_text())["runs"]
    assert ([run["seed"] for run in runs], runs[0]["wrong"] < 49) == ([0, 1], True)


def test_runs_of_another_recipe_are_not_taken_for_todays(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mnist = tmp_path / "mnist.json", small("mnist")
    assert ask(small, "--only", "softmax", "--seeds", "1", "--json", str(path)).exit_code == 0
    assert len(small("learning").read_runs(path)) == 1
    recipe = replace(mnist.ENTRIES["softmax"].recipe, peak_rate=0.3)
    monkeypatch.setitem(mnist.ENTRIES, "softmax", mnist.ENTRIES["softmax"]._replace(recipe=recipe))
    assert small("learning").read_runs(path) == []


def interrupt_in(learning: Any, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C in the first step of a seed's run."""
    whole = learning.train_once

    class Impatient(learning.Callback):
        def on_step(self, trainer: Any) -> None:
            if trainer.seed == seed:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(learning, "train_once", lambda *given: whole(*given[:4], [Impatient()]))


def test_an_interrupted_run_is_not_kept_and_those_before_it_are(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mnist.json"
    interrupt_in(small("learning"), 1, monkeypatch)
    result = ask(small, "--only", "softmax", "--json", str(path))
    assert result.exit_code == 130
    assert f"interrupted, 1 run done and kept in {path}" in result.stderr
    assert [run["seed"] for run in json.loads(path.read_text())["runs"]] == [0]
    assert "| softmax regression |" in result.stdout


def test_an_interrupt_in_the_first_run_leaves_no_file_and_no_table(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mnist.json"
    interrupt_in(small("learning"), 0, monkeypatch)
    result = ask(small, "--only", "softmax", "--json", str(path))
    assert (result.exit_code, result.stdout, path.exists()) == (130, "", False)
    assert result.stderr.endswith("interrupted, no runs done\n")


def test_held_out_digits_come_from_the_training_set_and_nothing_is_kept(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning, seen = small("learning"), []
    whole = learning.train_once
    monkeypatch.setattr(learning, "train_once", lambda *given: seen.append(given) or whole(*given))
    result = ask(small, "--only", "softmax", "--seeds", "1", "--held-out")
    assert result.exit_code == 0, result.output
    _, _, train, test, _ = seen[0]
    every = {image.tobytes() for image in learning.data.load("mnist")[0].x}
    assert (len(train), len(test)) == (100, 20)
    assert {image.tobytes() for image in (*train.x, *test.x)} == every
    assert re.fullmatch(
        r"errors on digits held out of the training set\n\nsoftmax: mean of 1 seed [\d.]+ %\n", result.stdout
    )


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--only", "lenet"], "--only: no such network, got only 'lenet'; did you mean 'lenet5'"),
        (["--only", "softmax,"], "--only: no such network, got only ''; choose one of lenet5,"),
        (["--seeds", "0"], "--seeds: at least 1 seed, got seeds 0"),
        (["--json", "no/such/folder/o.json"], "--json: a file in a folder that can be written to, got json no/such"),
        (["--json", "o.json", "--held-out"], "--held-out: keeps no runs, got json o.json; leave out --json"),
        (["--data-dir", "no/such/folder"], "no/such/folder"),
    ],
    ids=["name", "empty-name", "seeds", "json", "held-out", "data-dir"],
)
def test_a_bad_option_is_one_line_and_exit_code_2(bench: Any, options: list[str], line: str) -> None:
    result = ask(bench, *options)
    assert result.exit_code == 2
    assert line in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    ["", "[1]", '{"results": []}', '{"runs": [{"seed": 0}]}'],
    ids=["empty", "list", "cpu", "no-model"],
)
def test_a_file_of_something_else_is_not_written_over(bench: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "cpu.json"
    path.write_text(text)
    result = ask(bench, "--json", str(path))
    assert (result.exit_code, path.read_text()) == (2, text)
    assert result.output == f"--json: a new file, or one that mnist --json wrote, got json {path}\n"


def test_a_number_that_is_none_ends_the_script_with_one_line_and_code_2() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH / "run.py"), "mnist", "--seeds", "few"], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--seeds" in done.stderr
