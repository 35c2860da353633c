from __future__ import annotations

import warnings

import numpy as np
import pytest

from tests.harness import raises
from xpnet.errors import ConfigError, ShapeError
from xpnet.train.metrics.labels import balanced_accuracy, exact_match, f1_score, precision_recall_f1

metrics = pytest.importorskip("sklearn.metrics")

rng = np.random.default_rng(1)
CASES = {
    "usual": (rng.integers(0, 4, 50), rng.integers(0, 4, 50)),
    "a class without examples": (rng.integers(0, 4, 50), rng.integers(0, 3, 50)),
    "a class that is never predicted": (rng.integers(0, 2, 50), rng.integers(0, 4, 50)),
    "all right": (np.arange(4), np.arange(4)),
    "one example": (np.array([2]), np.array([1])),
}


@pytest.mark.parametrize(("predicted", "true"), CASES.values(), ids=CASES.keys())
def test_figures_of_classes_are_those_of_scikit_learn(predicted, true):
    K = range(4)
    own = precision_recall_f1(predicted, true, 4)
    other = metrics.precision_recall_fscore_support(true, predicted, labels=K, zero_division=0)
    assert own == pytest.approx(np.stack(other[:3]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert balanced_accuracy(predicted, true, 4) == pytest.approx(metrics.balanced_accuracy_score(true, predicted))
    for average in ("micro", "macro"):
        expected = metrics.f1_score(true, predicted, labels=K, average=average, zero_division=0)
        assert f1_score(predicted, true, average, 4) == pytest.approx(expected)


MATRICES = {
    "usual": (rng.integers(0, 2, (30, 3)), rng.integers(0, 2, (30, 3))),
    "a label without examples": (rng.integers(0, 2, (30, 3)), rng.integers(0, 2, (30, 3)) * [1, 1, 0]),
    "nothing predicted": (np.zeros((30, 3), int), rng.integers(0, 2, (30, 3))),
    "nothing at all": (np.zeros((30, 3), int), np.zeros((30, 3), int)),
    "one label": (rng.integers(0, 2, (30, 1)), rng.integers(0, 2, (30, 1))),
}


@pytest.mark.parametrize(("predicted", "true"), MATRICES.values(), ids=MATRICES.keys())
def test_figures_of_labels_are_those_of_scikit_learn(predicted, true):
    assert exact_match(predicted, true) == metrics.accuracy_score(true, predicted)
    for average in ("micro", "macro"):
        if true.shape[1] > 1:
            expected = metrics.f1_score(true, predicted, average=average, zero_division=0)
            assert f1_score(predicted, true, average) == pytest.approx(expected)
    for k, (p, t) in enumerate(zip(predicted.T, true.T, strict=True)):
        expected = metrics.precision_recall_fscore_support(t, p, average="binary", zero_division=0)[:3]
        assert precision_recall_f1(predicted, true)[:, k] == pytest.approx(expected)


def test_shapes_and_values_are_checked():
    with raises(ShapeError, "f1_score", "(3, 2)", "(2, 2)"):
        f1_score(np.zeros((3, 2)), np.zeros((2, 2)))
    with raises(ConfigError, "exact_match", "predicted 2"):
        exact_match([[0, 2]], [[0, 1]])
    with raises(ConfigError, "f1_score", "average"):
        f1_score([0], [0], "weighted", 2)
    with raises(ShapeError, "precision_recall_f1", "classes="):
        precision_recall_f1([0, 1], [0, 1])
