"""What networks learn of MNIST, by the recipes of mnist.toml, beside published figures.

How the figures are made:

- A recipe was chosen by the errors on 10,000 digits held out of the 60,000 training images, one seed a try; what was
  tried learned from the other 50,000. `run.py mnist --held-out` measures a recipe that way.
- The figures come from all 60,000 and a number of epochs that the recipe fixes. The 10,000 test digits are evaluated
  once, after the last epoch; nothing picks a best epoch or a best seed, and no recipe was changed after its figure.
- Seeds are 0, 1, 2, ...; a seed decides first weights, order, distortions and dropout.

A file of results is continued: seeds that it holds, of the same recipe, are not repeated.
"""

import time
import tomllib
from argparse import Namespace
from pathlib import Path
from statistics import mean
from typing import Any

from rows import Results, Row, of_runs
from runner import choose, say

from xpnet import data, models, nn
from xpnet.backend import get_backend, use_backend
from xpnet.data import Augment, Dataset
from xpnet.optim import make_optimizer, one_cycle
from xpnet.train import Progress, Trainer

Recipe = dict[str, Any]
SOURCE = "LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, 1998"
NETWORKS = tomllib.loads(Path(__file__).with_name("mnist.toml").read_text())
RECIPES: dict[str, Recipe] = {name: network["recipe"] for name, network in NETWORKS.items()}


def mnist(options: Namespace) -> Results:
    """Train networks with seeds 0, 1, ...; keep each run in the file as it ends."""
    names = choose(options.only, {name: [name] for name in RECIPES})
    results = Results(None if options.held_out else options.json, continued=True)
    train, test = data.load("mnist", options.data_dir)
    train, test = train.split(5 / 6) if options.held_out else (train, test)
    results.facts["notes"] = ["On digits held out of the training set" if options.held_out else f"Published: {SOURCE}"]
    for name in names:
        [row] = [r for r in results.rows if same(r, name)] or [{"runs": []}]
        for seed in range(len(row["runs"]), options.seeds):
            say(f"{name}, seed {seed}")
            run = train_once(RECIPES[name], seed, train, test)
            if run is None:
                results.failed = True
                return results
            row = learned(name, [*row["runs"], run])
            results.add(row, of_runs("mnist", "", name, "published", "%", [NETWORKS[name]["published"]]))
    return results


def same(row: Row, name: str) -> bool:
    """Whether a row holds runs of a network's present recipe."""
    return (row["name"], row["library"], row.get("recipe")) == (name, "xpnet", RECIPES[name])


def learned(name: str, runs: list[dict[str, Any]]) -> Row:
    """The row of a network's runs: the mean error."""
    seconds = ", ".join(str(run["seconds"]) for run in runs)
    more = {"goal": NETWORKS[name]["goal"], "recipe": RECIPES[name], "runs": runs}
    more["remarks"] = f"{runs[0]['parameters']:,} parameters, {seconds} s; {NETWORKS[name]['remarks']}"
    return of_runs("mnist", "", name, "xpnet", "%", [run["error"] for run in runs], mean, **more)


def build(recipe: Recipe, shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Build a recipe's network: the model of the package, with dropout after the layers that the recipe names."""
    options = {"hidden": tuple(recipe["hidden"])} if recipe["hidden"] else {}
    layers: dict[str, nn.Module] = {}
    for name, layer in models.recipe(recipe["model"]).build(shape, classes, **options).children():
        layers[name] = layer
        if name in recipe["dropout"]:
            layers[f"{name}_drop"] = nn.Dropout(recipe["dropout"][name])
    return nn.Sequential(**layers)


def train_once(recipe: Recipe, seed: int, train: Dataset, test: Dataset, device: str = "cpu") -> dict[str, Any] | None:
    """Train a network from the start, then evaluate once on the test set; None when it was interrupted."""
    backend = get_backend(device)
    with use_backend(backend):
        model = build(recipe, train.shape, len(train.classes)).initialize(seed)
    rate = one_cycle(recipe["peak"], recipe["epochs"] * -(-len(train) // recipe["batch"]), warm=recipe["rise"])
    optimizer = make_optimizer(recipe["optimizer"], model.parameters(), rate, weight_decay=recipe["weight_decay"])
    trainer = Trainer(model, optimizer, seed=seed, callbacks=[Progress()])
    augment = Augment(**recipe["augment"]) if recipe["augment"] else None
    began = time.perf_counter()
    history = trainer.fit(train, epochs=recipe["epochs"], batch_size=recipe["batch"], augment=augment)
    backend.synchronize()
    seconds = round(time.perf_counter() - began, 2)
    if trainer.interrupted or len(history) < recipe["epochs"]:
        return None
    wrong = round((1 - trainer.evaluate(test)["accuracy"]) * len(test))
    run = {"seed": seed, "parameters": model.parameter_count, "wrong": wrong, "error": 100 * wrong / len(test)}
    return {**run, "train_loss": history[-1]["train_loss"], "seconds": seconds}
