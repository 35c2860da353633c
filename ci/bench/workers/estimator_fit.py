"""The second fit of an estimator in a process: its time and its accuracy; see estimators."""

import warnings
from time import perf_counter, process_time
from typing import Any

import numpy as np
from serve import peak_mb, wait_until_idle
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Fit once for an epoch, then with defaults; say how that went."""
    warnings.simplefilter("ignore")  # scikit-learn's may end before it has converged
    x, y, test_x, test_y = arrays(request)
    estimator(request["library"], request["seed"], 1).fit(x, y)
    wait_until_idle()
    made = estimator(request["library"], request["seed"])
    wall, cpu = perf_counter(), process_time()
    made.fit(x, y)
    spent = {"wall": perf_counter() - wall, "cpu": process_time() - cpu, "mb": peak_mb()}
    return {**spent, "epochs": int(made.n_iter_), "accuracy": 100 * float(made.score(test_x, test_y))}


def estimator(library: str, seed: int, epochs: int | None = None) -> Any:
    """Make an estimator with its defaults, but for so many epochs if they are given."""
    if library == "xpnet":
        from xpnet.sklearn import NetClassifier

        return NetClassifier(random_state=seed, **({} if epochs is None else {"max_epochs": epochs}))
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(random_state=seed, **({} if epochs is None else {"max_iter": epochs}))


def arrays(request: dict[str, Any]) -> list[np.ndarray]:
    """Return x and y to train with, and x and y to test with."""
    if request["data"] == "digits":
        x, y = load_digits(return_X_y=True)
        x, test_x, y, test_y = train_test_split(x, y, test_size=0.25, random_state=request["seed"])
        return [x, y, test_x, test_y]
    from xpnet import data

    train, test = data.load("mnist", request["folder"])
    return [a for d in (train, test) for a in (d.x.reshape(len(d), -1).astype(np.float32) / 255, d.y)]
