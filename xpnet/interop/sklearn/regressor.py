"""NetRegressor: a network that predicts numbers."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, column_or_1d

from xpnet.backend import Array
from xpnet.data import host
from xpnet.errors import DataError
from xpnet.interop.sklearn.arrays import check_targets, check_weights, like, of_numbers
from xpnet.interop.sklearn.base import Net
from xpnet.interop.sklearn.standardize import measure
from xpnet.train.tasks.regression import Regression

__all__ = ["NetRegressor"]


class NetRegressor(RegressorMixin, Net):
    """A neural network that predicts numbers, as an estimator of scikit-learn; parameters as NetClassifier's.

        NetRegressor(hidden_layer_sizes=(100,)).fit(X, y).predict(X)

    The loss is the squared error of targets that are standardized, each column by itself.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on examples; with warm_start after a first fit, go on from there.

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
        if reset:
            kept = slice(None) if weights is None else weights > 0
            mean, factor = measure(rows[kept], None if weights is None else weights[kept])
            scale, self._y_shape = 1 / np.where(factor == 0, 1.0, factor), y.shape[1:]
            self._y_mean, self._y_scale = (of_numbers(a, X) for a in (mean, scale))
        elif y.shape[1:] != self._y_shape:
            raise DataError(where, f"y (N, {', '.join(map(str, self._y_shape))}), as in the first call", y=y.shape)
        rows = ((rows - host(where, self._y_mean)) / host(where, self._y_scale)).astype(np.float32)
        task = Regression()
        task.mean, task.deviation = np.zeros(rows.shape[1]), np.ones(rows.shape[1])  # they are standardized
        return self._train(X, rows, weights, task, rows.shape[1], step=step)

    def predict(self, X: Any) -> Array:
        """Return the numbers of each example, (N,) or (N, K), as fit was given them."""
        scores, backend = self._scores(X, "predict")
        with backend.active():
            mean, scale = (like(a, scores) for a in (self._y_mean, self._y_scale))
            return backend.xp.reshape(scores * scale + mean, (scores.shape[0], *self._y_shape))
