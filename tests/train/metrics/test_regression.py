from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet.errors import DTypeError, ShapeError
from xpnet.train.metrics.regression import mean_absolute_error, r2_score, root_mean_squared_error

metrics = pytest.importorskip("sklearn.metrics")

rng = np.random.default_rng(2)
CASES = {
    "several": (rng.normal(size=(40, 3)), rng.normal(size=(40, 3))),
    "one": (rng.normal(size=40), rng.normal(size=40)),
    "float32, far from 0": (np.float32(1e6 + rng.normal(size=40)), np.float32(1e6 + rng.normal(size=40))),
    "constant target": (rng.normal(size=(40, 2)), np.stack([np.full(40, 2.0), rng.normal(size=40)], axis=1)),
    "constant target, all right": (np.full(5, 2.0), np.full(5, 2.0)),
    "constant prediction": (np.zeros(40), rng.normal(size=40)),
}


@pytest.mark.parametrize(("predicted", "true"), CASES.values(), ids=CASES.keys())
def test_figures_of_each_target_are_those_of_scikit_learn(predicted, true):
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    options = {"multioutput": "raw_values"}
    assert r2_score(predicted, true) == pytest.approx(metrics.r2_score(t, p, **options), rel=1e-9)
    assert mean_absolute_error(predicted, true) == pytest.approx(metrics.mean_absolute_error(t, p, **options))
    assert root_mean_squared_error(predicted, true) == pytest.approx(metrics.root_mean_squared_error(t, p, **options))


def test_r2_of_one_example_is_nan():
    assert np.isnan(r2_score([1.0], [2.0])).all()


@pytest.mark.parametrize("metric", [r2_score, mean_absolute_error, root_mean_squared_error])
def test_shapes_and_kinds_are_checked(metric):
    with raises(ShapeError, metric.__name__, "(3, 1)", "(3,)"):
        metric(np.zeros((3, 1)), np.zeros(3))
    with raises(DTypeError, metric.__name__, "complex128"):
        metric(np.zeros(3, complex), np.zeros(3))
