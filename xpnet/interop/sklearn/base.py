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
from xpnet.data import Dataset, Scale
from xpnet.interop.sklearn.arrays import check_examples, like, moved
from xpnet.interop.sklearn.epochs import Plateau, default_epochs
from xpnet.interop.sklearn.network import build
from xpnet.interop.sklearn.standardize import measure, standardized
from xpnet.optim import cosine, make_optimizer
from xpnet.train import Task, Trainer

__all__ = ["Net"]

_BATCH = 64  # examples, of batch_size="auto"


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
        optimizer: str = "adam",
        lr: float = 3e-3,
        schedule: str = "cosine",
        weight_decay: float = 0.0,
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
        tags.array_api_support = True
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
        self, X: Array, y: np.ndarray, weights: np.ndarray | None, task: str | Task, outputs: int, *, step: bool
    ) -> Self:
        """Train on examples with targets.

        Args:
            X: (N, ...), checked, of any library.
            y: on the host, (N,) labels in int64, or targets (N, ...) in float32.
            weights: (N,), >= 0, or None. Examples that weigh nothing are left out.
            task: of the Trainer, if there is none yet. outputs: how many numbers the network gives.
            step: whether to train for one epoch only, at a constant rate.
        """
        backend = backend_of(X)
        x = backend.to_numpy(X)
        if weights is not None:
            x, y, weights = x[weights > 0], y[weights > 0], weights[weights > 0]
        fresh = not self._trained or not (step or self.warm_start)
        if fresh:
            self._start(x, weights, backend, task, outputs)
        mean, factor = (self._backend.to_numpy(a) for a in (self.mean_, self.factor_))
        x = standardized(x, mean, factor).astype(np.float32, copy=False)
        names = tuple(map(str, range(outputs))) if y.dtype == np.int64 else ()
        if len(names) == 1:  # there is nothing to learn
            self.n_iter_, self.loss_curve_ = 0, []
            return self
        weights = None if weights is None else weights.astype(np.float32)
        data = Dataset(x, y, names, type(self).__name__, 1.0, weights=weights)
        self._run(data, step)
        return self

    def _start(self, x: np.ndarray, weights: Any, backend: Backend, task: str | Task, outputs: int) -> None:
        """Make network and Trainer, and measure the first examples."""
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        shape = tuple(x.shape[1:])
        model = build(self.module, self.hidden_layer_sizes, self.activation, shape, outputs, seed)
        target = backend if self.device is None else get_backend(self.device)
        model.to(target, dtype=str(x.dtype))
        options = {} if self.weight_decay == 0 else {"weight_decay": self.weight_decay}
        lr = arguments.not_negative("fit", "lr", self.lr)
        trainer = Trainer(
            model, make_optimizer(self.optimizer, model.parameters(), lr, **options), task=task, seed=seed
        )
        trainer.scale = Scale(0.0, 0.0, 0.0, False, False, len(shape) == 2, True)  # of data that is taken as it is
        if arguments.boolean("fit", "standardize", self.standardize):
            mean, factor = measure(x, weights)
        else:
            mean, factor = np.zeros(shape[-1]), np.ones(shape[-1])
        self.mean_, self.factor_ = (backend.from_numpy(a.astype(x.dtype)) for a in (mean, factor))
        self.shape_in_, self.model_, self._trainer, self._backend = shape, model, trainer, backend

    def _run(self, data: Dataset, step: bool) -> None:
        """Train for the epochs that are asked for."""
        trainer, n, where = self._trainer, len(data), "fit"
        validation = None
        if arguments.boolean(where, "early_stopping", self.early_stopping) and not step:
            validation = arguments.number(where, "validation_fraction", self.validation_fraction, 0, 1, above=True)
            n -= max(1, round(validation * n))
        size = _BATCH if self.batch_size == "auto" else arguments.positive(where, "batch_size", self.batch_size)
        size = max(1, min(size, n))
        steps = -(-max(n, 1) // size)
        epochs = default_epochs(steps) if self.max_epochs == "auto" else self.max_epochs
        epochs = 1 if step else arguments.positive(where, "max_epochs", epochs)
        schedule = arguments.choice(where, "schedule", self.schedule, ("constant", "cosine"))
        patience = arguments.positive(where, "n_iter_no_change", self.n_iter_no_change)
        tol = arguments.not_negative(where, "tol", self.tol)
        lr = arguments.not_negative(where, "lr", self.lr)
        optimizer = trainer.optimizer
        optimizer.lr = _After(cosine(lr, epochs * steps), optimizer.steps) if schedule == "cosine" and not step else lr
        monitor = "train_loss" if validation is None else "validation_loss"
        trainer.callbacks = [] if step else [Plateau(monitor, patience, tol, validation is not None)]
        try:
            trainer.fit(
                data,
                validation=validation,
                epochs=trainer.epoch + epochs,
                batch_size=size,
                progress=bool(self.verbose),
            )
        finally:
            trainer.callbacks, optimizer.lr = [], lr
        self.n_iter_ = trainer.epoch
        self.loss_curve_ = [record["train_loss"] for record in trainer.history]
        if validation is not None:
            self.validation_loss_curve_ = [r["validation_loss"] for r in trainer.history if "validation_loss" in r]
        if trainer.interrupted:
            signal.raise_signal(trainer.interrupted)

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


class _After:
    """A schedule that begins at a step."""

    def __init__(self, schedule: Any, start: int) -> None:
        self._schedule, self._start = schedule, start

    def __call__(self, step: int) -> float:
        return self._schedule(max(0, step - self._start))
