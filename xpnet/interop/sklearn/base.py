"""What NetClassifier and NetRegressor have in common: their parameters, training by a Trainer, and scores."""

from __future__ import annotations

import signal
from typing import Any, Self

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from xpnet import arguments
from xpnet.backend import Array, Backend, backend_of, get_backend
from xpnet.data import Dataset, Scale, host
from xpnet.errors import DivergedError
from xpnet.interop.sklearn.arrays import check_examples, like, moved
from xpnet.interop.sklearn.epochs import Plan, plan
from xpnet.interop.sklearn.network import build, check_outputs
from xpnet.interop.sklearn.standardize import measure, standardized, standardized_host
from xpnet.optim import make_optimizer
from xpnet.train import Task, Trainer
from xpnet.train.tables import RATE

__all__ = ["Net"]


class Net(BaseEstimator):
    """An estimator that trains a network; see NetClassifier for the parameters."""

    model_: Any
    shape_in_: tuple[int, ...]

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
        warm_start: bool = False,
        random_state: Any = None,
        device: Any = None,
        verbose: Any = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.module = module
        self.optimizer = optimizer
        self.lr = lr
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.standardize = standardize
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = tags.input_tags.three_d_array = True
        return tags

    @property
    def _trained(self) -> bool:
        return hasattr(self, "model_")

    def _examples(self, X: Any, reset: bool, method: str) -> Array:
        """Return examples that were checked; ValueError unless they are on the backend of those of the first fit."""
        X = check_examples(self, X, reset)
        backend = backend_of(X)
        if not reset and backend != self._backend and get_config()["array_api_dispatch"]:
            name = type(self).__name__
            raise ValueError(
                f"Inputs passed to {name}.{method}() must use the same namespace and the same device as those of "
                f"fit(): expected {self._backend.spec}, got {backend.spec}"
            )
        return X

    def _train(
        self, X: Array, y: np.ndarray, weights: np.ndarray | None, task: Task, outputs: int, step: bool, **fitted: Any
    ) -> Self:
        """Train on examples with targets.

        Args:
            X: (N, ...), checked, of any library.
            y: on the host, (N,) labels in int64, or targets (N, ...) in float32.
            weights: (N,), >= 0, or None. Examples that weigh nothing are left out.
            task: of the Trainer, if there is none yet. outputs: how many numbers the network gives.
            step: whether to train for one epoch only, at a constant rate.
            fitted: attributes that the estimator gets once it is trained.
        """
        backend = backend_of(X)
        x = backend.to_numpy(X)
        if weights is not None:
            x, y, weights = x[weights > 0], y[weights > 0], weights[weights > 0]
        given = plan(self, len(x), step)
        warm = arguments.boolean("fit", "warm_start", self.warm_start)
        if self._trained and (step or warm):
            trainer, mean, factor = self._trainer, host("fit", self.mean_), host("fit", self.factor_)
        else:
            trainer = self._trainer_for(tuple(x.shape[1:]), str(x.dtype), backend, task, outputs, given)
            most = np.finfo(x.dtype).max
            mean, factor = (np.clip(a, -most, most).astype(x.dtype) for a in self._scale_of(x, weights))
        x = standardized_host(x, mean, factor)
        names = tuple(map(str, range(outputs))) if y.dtype == np.int64 else ()
        if len(names) != 1:  # else there is nothing to learn
            weights = None if weights is None else weights.astype(np.float32)
            given.run(trainer, Dataset(x, y, names, type(self).__name__, 1.0, weights=weights))
            if bad := next((p.path for p in trainer.model.parameters() if not np.isfinite(p.numpy()).all()), None):
                where = "partial_fit" if step else "fit"
                raise DivergedError.event(where, "weights are not finite", "lower lr or weight_decay", layer=bad)
        vars(self).update(fitted)
        self._backend, self._trainer, self.model_, self.shape_in_ = backend, trainer, trainer.model, tuple(x.shape[1:])
        self.mean_, self.factor_ = backend.from_numpy(mean), backend.from_numpy(factor)
        self.n_iter_ = trainer.epoch
        self.loss_curve_ = [record["train_loss"] for record in trainer.history]
        if given.validation is not None:
            self.validation_loss_curve_ = [r["validation_loss"] for r in trainer.history if "validation_loss" in r]
        if trainer.interrupted:
            signal.raise_signal(trainer.interrupted)
        return self

    def _trainer_for(
        self, shape: tuple[int, ...], dtype: str, backend: Backend, task: Task, outputs: int, given: Plan
    ) -> Trainer:
        """Make the network and its Trainer."""
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        model = build(self.module, self.hidden_layer_sizes, self.activation, shape, outputs, seed)
        model.to(backend if self.device is None else get_backend(self.device), dtype=dtype)
        if self.module is not None:
            check_outputs(model, shape, outputs, dtype)
        optimizer = make_optimizer(self.optimizer, model.parameters(), given.lr, weight_decay=given.decay)
        trainer = Trainer(model, optimizer, task=task, seed=seed)
        trainer.scale = Scale(0.0, 0.0, 0.0, False, False, len(shape) == 2, True)  # of data that is taken as it is
        return trainer

    def _scale_of(self, x: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return what is subtracted from each column, and what it is multiplied by."""
        if arguments.boolean("fit", "standardize", self.standardize):
            return measure(x, weights)
        return np.zeros(x.shape[-1]), np.ones(x.shape[-1])

    def _scores(self, X: Any, method: str) -> tuple[Array, Backend]:
        """Return what the network gives for examples, on their backend, and that backend."""
        check_is_fitted(self, "model_")
        X = self._examples(X, False, method)
        backend = backend_of(X)
        xp, target = backend.xp, self.model_.backend
        with backend.active():
            x = standardized(X, like(self.mean_, X), like(self.factor_, X))
            x = moved(x, backend, target)
        with target.active():
            x = target.xp.astype(x, getattr(target.xp, str(self.model_.parameters()[0].dtype_)), copy=False)
            scores = moved(self.model_.predict(x), target, backend)
        return xp.astype(scores, X.dtype, copy=False), backend
