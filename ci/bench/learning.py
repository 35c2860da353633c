"""How it is learned: the networks of mnist.py trained one after another, each run kept as soon as it ends."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer
from mnist import ENTRIES, Recipe, facts, plain
from report import cores, cpu_name, learned_markdown, learned_verdicts, write_facts

from xpnet import data, models, nn
from xpnet.data import Augment, Dataset
from xpnet.errors import ConfigError, nearest
from xpnet.optim import make_optimizer, one_cycle
from xpnet.train import Callback, Progress, Trainer


def choose_networks(only: str) -> list[str]:
    """List the networks that --only names; all of them when it is empty."""
    names = [name.strip() for name in only.split(",")] if only else list(ENTRIES)
    for name in names:
        if name not in ENTRIES:
            raise ConfigError("--only", "no such network", nearest(name, ENTRIES), only=repr(name))
    return list(dict.fromkeys(names))


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Read the runs that a results file holds, those of today's recipes; none where there is no file yet.

    Raises:
        ConfigError: the file is something else, which is not to be written over.
    """
    if not path.exists():
        return []
    try:
        runs = json.loads(path.read_text())["runs"]
        return [run for run in runs if run["model"] in ENTRIES and run["recipe"] == plain(ENTRIES[run["model"]].recipe)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError("--json", "a new file, or one that mnist --json wrote", json=path) from error


def learn(
    names: list[str],
    seeds: int,
    known: list[dict[str, Any]],
    path: Path | None,
    data_dir: str | None,
    *,
    again: bool = False,
    held_out: bool = False,
) -> bool:
    """Train networks with seeds 0, 1, ..., keep each run as it ends, and print the table.

    Args:
        known: the runs to keep; one that is asked for is not repeated, unless again.
        path: the file to keep runs in.
        held_out: test on 10,000 of the training images, learn from the others.
    Returns: False when Ctrl-C ended it early.
    """
    train, test = data.load("mnist", data_dir)
    if held_out:
        train, test = train.split(5 / 6)
    runs, complete = list(known), True
    for name, seed in [(name, seed) for name in names for seed in range(seeds)]:
        if not again and any((run["model"], run["seed"]) == (name, seed) for run in runs):
            typer.echo(f"{name}, seed {seed}: kept from before", err=True)
            continue
        typer.echo(f"{name}, seed {seed} ...", err=True)
        run = train_once(name, seed, train, test, [Progress()])
        if run is None:
            complete = False
            break
        typer.echo(f"{name}, seed {seed}: {run['wrong']} of {len(test):,} wrong, {run['test_error']:.2f} %", err=True)
        runs = [run, *(kept for kept in runs if (kept["model"], kept["seed"]) != (name, seed))]
        if path is not None:
            write_facts(path, facts(runs))
    if runs:
        found = facts(runs)
        typer.echo("errors on digits held out of the training set" if held_out else learned_markdown(found))
        typer.echo("\n".join(["", *learned_verdicts(found, goals=not held_out)]))
    if not complete:
        count = f"{len(runs) or 'no'} run{'s' * (len(runs) != 1)} done"
        typer.echo(f"interrupted, {count}" + (f" and kept in {path}" if path and runs else ""), err=True)
    return complete


def build(recipe: Recipe, shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Build a recipe's network: the model of the package, with dropout after the layers that the recipe names."""
    options = {"hidden": recipe.hidden} if recipe.hidden else {}
    layers: dict[str, nn.Module] = {}
    for name, layer in models.recipe(recipe.model).build(shape, classes, **options).children():
        layers[name] = layer
        if name in recipe.dropout:
            layers[f"{name}_drop"] = nn.Dropout(recipe.dropout[name])
    return nn.Sequential(**layers)


def train_once(
    name: str, seed: int, train: Dataset, test: Dataset, callbacks: Iterable[Callback] = ()
) -> dict[str, Any] | None:
    """Train a network of ENTRIES from the start, then look at the test set once.

    Returns:
        The run as the results file keeps it; None when it was interrupted.
    Raises:
        XpnetError: the data does not fit the network.
    """
    recipe = ENTRIES[name].recipe
    model = build(recipe, train.shape, len(train.classes)).initialize(seed)
    steps = recipe.epochs * -(-len(train) // recipe.batch_size)
    rate = one_cycle(recipe.peak_rate, steps, warm=recipe.rise)
    optimizer = make_optimizer(recipe.optimizer, model.parameters(), rate, weight_decay=recipe.weight_decay)
    loss = partial(nn.softmax_cross_entropy, label_smoothing=recipe.label_smoothing)
    trainer = Trainer(model, optimizer, loss, seed=seed, callbacks=callbacks)
    augment = Augment(**recipe.augment) if recipe.augment else None
    began = time.perf_counter()
    history = trainer.fit(train, epochs=recipe.epochs, batch_size=recipe.batch_size, augment=augment)
    seconds = time.perf_counter() - began
    if trainer.interrupted or len(history) < recipe.epochs:
        return None
    confusion = trainer.evaluate(test)["confusion"]
    wrong = int(confusion.sum() - confusion.trace())
    return {
        "model": name,
        "seed": seed,
        "recipe": plain(recipe),
        "parameters": model.parameter_count,
        "epochs": len(history),
        "train_images": len(train),
        "test_images": len(test),
        "wrong": wrong,
        "test_error": round(100 * wrong / len(test), 4),
        "train_loss": round(history[-1]["train_loss"], 6),
        "seconds": round(seconds, 1),
        "machine": f"{cpu_name()}, {cores()} cores, {platform.system()} {platform.machine()}",
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
        "versions": {"python": platform.python_version(), "numpy": version("numpy"), "xpnet": version("xpnet")},
    }
