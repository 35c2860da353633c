"""What `xpnet train mlp` learns of small tables with its defaults, beside scikit-learn's MLP with its defaults.

How the figures are made:

- A table is written as a .csv file with its rows in an order drawn by the seed, so each of five seeds has another test
  set: the fifth that xpnet holds out. xpnet trains on nine tenths of the other rows, and leaves the tenth of them for
  validation; scikit-learn trains on all of them, standardized.
- The recipe of tables (xpnet.train.runs.config: optimizer, rate, weight decay, steps) was chosen by cross-validation in
  four parts of four fifths of the rows, split by scikit-learn with seeds 0 and 1. No figure of a test set was used.
- The figure is the mean accuracy or R2 on the test sets, in percent.
"""

import csv
import tempfile
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from rows import Row, about, write
from runner import choose, say

from xpnet import data
from xpnet.train import RunConfig, train_run

TABLES = ("iris", "wine", "breast_cancer", "diabetes")
TARGET = "target"


def small_tables(options: Namespace) -> tuple[dict[str, Any], bool]:
    """Measure each table with so many seeds."""
    facts = about()
    facts["notes"] = [f"Mean of {options.seeds} test sets, in percent: accuracy, of diabetes R2"]
    for name in choose(options.only, {name: [name] for name in TABLES}):
        say(name)
        runs = [measured(name, seed) for seed in range(options.seeds)]
        mine, theirs = ([[value] for value in values] for values in zip(*runs, strict=True))
        row: Row = {"suite": "small_tables", "name": name, "unit": "%"}
        facts["rows"] += [
            row | {"library": "xpnet", "value": float(np.mean(mine)), "turns": mine, "least": float(np.mean(theirs))},
            row | {"library": "sklearn", "value": float(np.mean(theirs)), "turns": theirs},
        ]
        write(options.json, facts)
    return facts, False


def measured(name: str, seed: int) -> tuple[float, float]:
    """Return the figures of xpnet and of scikit-learn on the test part of a table, in percent."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's defaults do not converge
        path = save(name, seed, Path(folder) / f"{name}.csv")
        result = train_run(RunConfig("mlp", str(path), target=TARGET, seed=seed), Path(folder) / "run")
        train, _, test, *_ = data.splits(str(path), validation=0, options=data.LoadOptions(target=TARGET))
        assert test is not None
        peer = (MLPClassifier if train.labelled else MLPRegressor)(random_state=seed).fit(train.x, train.y)
        key = "test_accuracy" if train.labelled else "test_r2"
        return 100 * result[key], 100 * float(peer.score(test.x, test.y))


def save(name: str, seed: int, path: Path) -> Path:
    """Write a table of scikit-learn, its rows in an order drawn by the seed."""
    from sklearn import datasets

    source = getattr(datasets, f"load_{name}")()
    labels = source.target_names[source.target] if hasattr(source, "target_names") else source.target
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([*source.feature_names, TARGET])
        for i in np.random.default_rng(seed).permutation(len(labels)).tolist():
            lines.writerow([*source.data[i].tolist(), labels[i]])
    return path
