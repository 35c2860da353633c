"""What xpnet learns of small tables with its defaults, beside scikit-learn's MLP with its defaults.

How the figures are made:

- A table is written as a .csv file with its rows in an order drawn by the seed, so each seed has another test set: the
  fifth that `xpnet train mlp` holds out. It trains on nine tenths of the other rows, and leaves the tenth of them for
  validation; scikit-learn and xpnet.sklearn train on all of them, standardized.
- The recipes (xpnet.train.tables, xpnet.train.runs.config) were chosen with other seeds, 100 to 119, and on made tables
  too: see results/NOTES.md. No figure of the seeds that are shown was used.
- The figure is the mean accuracy or R2 on the test sets, in percent. The remarks give the mean of the differences to
  scikit-learn on the same test sets, with its standard error; and the means of the first five seeds.
"""

import csv
import math
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from rows import Results, Row, of_runs
from runner import choose, say

from xpnet import data
from xpnet.train import RunConfig, train_run

TABLES = ("iris", "wine", "breast_cancer", "diabetes")
TARGET = "target"
FIRST = 5  # seeds of the goal


def small_tables(options: Namespace) -> Results:
    """Measure each table with so many seeds."""
    results = Results(options.json)
    results.note(f"Mean of {options.seeds} test sets, in percent: accuracy, of diabetes R2")
    for name in choose(options.only, {name: [name] for name in TABLES}):
        say(name)
        run, net, peer = zip(*(measured(name, seed) for seed in range(options.seeds)), strict=True)
        for task, mine in (("xpnet train mlp", run), ("xpnet.sklearn", net)):
            results.add(*rows_of(task, name, mine, peer))
    return results


def rows_of(task: str, name: str, mine: Sequence[float], theirs: Sequence[float]) -> list[Row]:
    """Make the rows of a table: of xpnet, with the difference on the same test sets, and of scikit-learn."""
    more: Row = {"least": mean(theirs)}
    differences = [a - b for a, b in zip(mine, theirs, strict=True)]
    if len(mine) > 1:
        error = stdev(differences) / math.sqrt(len(differences))
        more["remarks"] = f"difference {mean(differences):+.2f}, standard error {error:.2f}"
    if len(mine) > FIRST:
        more["remarks"] += f"; of {FIRST} seeds {mean(mine[:FIRST]):.2f}, {mean(theirs[:FIRST]):.2f}"
    return [
        of_runs("small_tables", task, name, "xpnet", "%", mine, mean, **more),
        of_runs("small_tables", task, name, "sklearn", "%", theirs, mean),
    ]


def measured(name: str, seed: int) -> tuple[float, float, float]:
    """Return the figures of a run, of xpnet.sklearn and of scikit-learn on the test part of a table, in percent."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    from xpnet.sklearn import NetClassifier, NetRegressor

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's defaults do not converge
        path = save(name, seed, Path(folder) / f"{name}.csv")
        result = train_run(RunConfig("mlp", str(path), target=TARGET, seed=seed), Path(folder) / "run")
        train, _, test, *_ = data.splits(str(path), validation=0, options=data.LoadOptions(target=TARGET))
        assert test is not None
        makers = (NetClassifier, MLPClassifier) if train.labelled else (NetRegressor, MLPRegressor)
        scores = [float(make(random_state=seed).fit(train.x, train.y).score(test.x, test.y)) for make in makers]
        key = "test_accuracy" if train.labelled else "test_r2"
        return 100 * result[key], 100 * scores[0], 100 * scores[1]


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
