"""NetClassifier: a network that tells classes apart."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite, column_or_1d, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from xpnet.backend import Array, backend_of
from xpnet.data import Dataset, host
from xpnet.errors import ConfigError, DataError
from xpnet.interop.sklearn.arrays import check_targets, check_weights, of_host, of_numbers
from xpnet.interop.sklearn.base import Net
from xpnet.ops import log_softmax, softmax
from xpnet.train.tables import RATE
from xpnet.train.tasks.classification import Classification

__all__ = ["NetClassifier"]


class NetClassifier(ClassifierMixin, Net):
    """A neural network that tells classes apart, as an estimator of scikit-learn.

        NetClassifier(hidden_layer_sizes=(100,)).fit(X, y).predict_proba(X)

    It learns in the arrays' floating dtype (of bytes and other small integers float32, of other integers float64): with
    float32, steps take about half the time of float64. Where scikit-learn's array_api_dispatch is on, X may be of
    torch, CuPy or another library of the Array API standard; what is fitted and predicted is then of that library too,
    and the network is trained there.

    Args:
        hidden_layer_sizes: the neurons of each hidden layer; a number is one layer.
        activation: after each: "relu", "tanh", "logistic", "gelu", "leaky_relu" or "identity".
        module: another network: a Module, which is copied with its values; a key of models.MODELS; or a function
            (shape of an example, number of outputs) -> Module. Then the two above are not used.
        optimizer: a key of optim.OPTIMIZERS.
        lr: the learning rate, or the first one, >= 0; 0.005 by default.
        schedule: "cosine": the rate falls to 0 along half a cosine wave; or "constant".
        weight_decay: >= 0; "auto": of AdamW 1, of more than 400 examples 400 / N, but at least 0.1; of others 0.
        batch_size: examples of a step, >= 1; "auto": 64, of 20,000 examples and more 128. All if there are fewer.
        max_epochs: >= 1; "auto": as many as make 800 steps, but 15 at least and 200 at most.
        early_stopping: hold a part of the examples out, stop by its loss, and take the weights of the best epoch. Else
            training stops by the loss of training.
        validation_fraction: what is held out, above 0, below 1; of each class alike.
        n_iter_no_change: training stops after so many epochs in a row without a loss that is better by tol.
        tol: >= 0.
        standardize: bring each column, or channel, to mean 0 and a deviation of 1 or less; False: take X as it is.
        class_weight: "balanced", or what each class weighs in the loss, a dictionary; None: all alike.
        warm_start: a further fit continues: network, optimizer, weight decay, scale of inputs and classes stay.
        random_state: of the first weights and of the order of examples: a number, a RandomState or None.
        device: of the network, as get_backend takes it: "cpu", "cuda", "torch:cuda"; None: that of X.
        verbose: whether a bar and a line for each epoch are shown.

    Attributes:
        model_: the network, a Module. classes_: of K labels. n_iter_: epochs done. loss_curve_: the loss of each.
        validation_loss_curve_: with early_stopping, the loss of what is held out.
        mean_, factor_: the network gets (X - mean_) * factor_.
        n_features_in_, feature_names_in_, shape_in_: of what fit was given; shape_in_ is that of one example.
    """

    classes_: Any

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        module: Any = None,
        optimizer: str = "adamw",
        lr: float = RATE,
        schedule: str = "cosine",
        weight_decay: Any = "auto",
        batch_size: Any = "auto",
        max_epochs: Any = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        standardize: bool = True,
        class_weight: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        device: Any = None,
        verbose: Any = False,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "class_weight", "__class__")}
        super().__init__(**given)
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on examples; with warm_start after a first fit, continue from its weights.

        Args:
            X: (N, D), or images (N, H, W, C) or sequences (N, T, D).
            y: the class of each, (N,), numbers or words.
            sample_weight: what each weighs in the loss, (N,), >= 0; 0 is as if it were not there. None: all alike.
        Returns: the estimator itself.
        Raises:
            ValueError: as scikit-learn's own estimators, or one of xpnet's errors.
        """
        warm = self.warm_start and self._trained
        return self._learn(X, y, sample_weight, None, reset=not warm, step=False)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one epoch on examples, at a constant rate; the first call sets the scale of the inputs.

        Args:
            X, y, sample_weight: as fit takes them.
            classes: all that there are, in the first call; later it may be left out.
        Returns: the estimator itself.
        """
        if classes is None and not self._trained:
            rule = "classes, all that there are, in the first call of partial_fit"
            raise ConfigError("partial_fit", rule, classes=None)
        return self._learn(X, y, sample_weight, classes, reset=not self._trained, step=True)

    def _learn(self, X: Any, y: Any, sample_weight: Any, classes: Any, *, reset: bool, step: bool) -> Self:
        where = "partial_fit" if step else "fit"
        X = self._examples(X, reset, where)
        y = column_or_1d(check_targets(self, X, y), warn=True)
        if y.dtype.kind in "fc":
            assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        weights = check_weights(sample_weight, len(y))
        if self.class_weight is not None:
            own = compute_sample_weight(self.class_weight, y)
            weights = own if weights is None else own * weights
            weights = check_weights(weights, len(y))
        if not reset:
            labels = host(where, self.classes_)
            if classes is not None and not np.array_equal(np.unique(of_host(classes)), labels):
                raise ConfigError(where, "the classes of the first call", classes=classes)
        elif classes is None:
            labels = np.unique(y if weights is None else y[weights > 0])
        else:
            labels = np.unique(of_host(classes))
        places = np.minimum(np.searchsorted(labels, y), len(labels) - 1)
        if (bad := labels[places] != y).any() and (weights is None or (weights[bad] > 0).any()):
            raise DataError(where, "the classes of the first call", label=repr(y[bad][0].item()))
        known = self.classes_ if not reset else labels if labels.dtype.kind not in "buif" else of_numbers(labels, X)
        return self._train(X, places.astype(np.int64), weights, _Classes(), len(labels), step, classes_=known)

    def predict(self, X: Any) -> Array:
        """Return the class of each example, (N,)."""
        scores, backend = self._scores(X, "predict")
        place = backend.xp.argmax(scores, axis=1)
        if backend == backend_of(self.classes_):
            return backend.xp.take(self.classes_, place, axis=0)
        labels = host("predict", self.classes_)[backend.to_numpy(place)]
        return labels if labels.dtype.kind not in "buif" else backend.from_numpy(labels)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (N, K), in the order of classes_: the softmax of the scores."""
        scores, backend = self._scores(X, "predict_proba")
        with backend.active():
            return softmax(scores)[0]

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of predict_proba."""
        scores, backend = self._scores(X, "predict_log_proba")
        with backend.active():
            return log_softmax(scores)[0]


class _Classes(Classification):
    """Classification, of batches too in which all are of one class."""

    def fit(self, data: Dataset) -> None:
        """Measure nothing."""
