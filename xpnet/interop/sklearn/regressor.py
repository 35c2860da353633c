"""NetRegressor: a network that predicts numbers."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, column_or_1d

from xpnet.backend import Array
from xpnet.data import host
from xpnet.errors import DataError
from xpnet.interop.sklearn.arrays import check_targets, check_weights, dtype_name, like, of_numbers
from xpnet.interop.sklearn.base import Net
from xpnet.interop.sklearn.standardize import measure
from xpnet.train.tasks.regression import Regression

__all__ = ["NetRegressor"]


class NetRegressor(RegressorMixin, Net):
    """A neural network that predicts numbers, as an estimator of scikit-learn; parameters as NetClassifier's.

        NetRegressor(hidden_layer_sizes=(100,)).fit(X, y).predict(X)

    There is no class_weight. The loss is the squared error of targets that are standardized, each column by itself, so
    losses and tol do not depend on their unit; predict gives numbers in their own.
    """

    _y_mean: Array  # (K,)
    _y_scale: Array
    _y_shape: tuple[int, ...]  # of the targets of one example

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on examples; with warm_start after a first fit, continue from its weights.

        Args:
            X: (N, D), or images (N, H, W, C) or sequences (N, T, D).
            y: the numbers of each, (N,) or (N, K).
            sample_weight: what each weighs in the loss, (N,), >= 0; 0 is as if it were not there. None: all alike.
        Returns: the estimator itself.
        Raises:
            ValueError: as scikit-learn's own estimators, or one of xpnet's errors.
        """
        warm = self.warm_start and self._trained
        return self._learn(X, y, sample_weight, reset=not warm, step=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch on examples, at a constant rate; the first call sets the scale of inputs and targets.

        Args:
            X, y, sample_weight: as fit takes them.
        Returns: the estimator itself.
        """
        return self._learn(X, y, sample_weight, reset=not self._trained, step=True)

    def _learn(self, X: Any, y: Any, sample_weight: Any, *, reset: bool, step: bool) -> Self:
        where = "partial_fit" if step else "fit"
        X = self._examples(X, reset, where)
        y = check_array(check_targets(self, X, y), ensure_2d=False, input_name="y", estimator=self)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        weights = check_weights(sample_weight, len(y))
        rows = y.reshape(len(y), -1).astype(np.float64)  # (N, K)
        if not reset:
            mean, scale = (host(where, a) for a in (self._y_mean, self._y_scale))
            if y.shape[1:] != self._y_shape:
                raise DataError(where, f"y (N, {', '.join(map(str, self._y_shape))}), as in the first call", y=y.shape)
        else:
            kept = slice(None) if weights is None else weights > 0
            mean, factor = measure(rows[kept], None if weights is None else weights[kept], 0.0)
            scale, dtype = 1 / np.where(factor == 0, 1.0, factor), dtype_name(X)
            with np.errstate(over="ignore", under="ignore"):
                held = mean.astype(dtype), scale.astype(dtype)
            if not (np.isfinite(held).all() and held[1].all()):
                got = {"mean": mean, "deviation": scale}
                raise DataError(where, f"y whose mean and deviation {dtype}, the dtype of X, holds", **got)
            mean, scale = held
        rows = ((rows - mean) / scale).astype(np.float32)
        task = Regression()
        task.mean, task.deviation = np.zeros(rows.shape[1]), np.ones(rows.shape[1])  # they are standardized
        fitted = {"_y_mean": of_numbers(mean, X), "_y_scale": of_numbers(scale, X), "_y_shape": y.shape[1:]}
        return self._train(X, rows, weights, task, rows.shape[1], step, **fitted)

    def predict(self, X: Any) -> Array:
        """Return the numbers of each example, (N,) or (N, K), as fit was given them."""
        scores, backend = self._scores(X, "predict")
        with backend.active():
            mean, scale = (like(a, scores) for a in (self._y_mean, self._y_scale))
            return backend.xp.reshape(scores * scale + mean, (scores.shape[0], *self._y_shape))
