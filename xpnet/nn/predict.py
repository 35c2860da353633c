"""How a model predicts: its own forward in evaluation mode, without a tape, captured, and shared over threads.

    scores = model.predict(images)              # from and to the host, or on the model's backend
    score = predictor(model)                    # or batch by batch, on the model's backend
    for x in batches:
        y = score(x)

Nothing that is computed from parameters is kept, so whatever is written to them counts from the next prediction. No
module is written to, so a model may predict in several threads at once.
"""

from __future__ import annotations

import itertools
import weakref
from functools import partial
from typing import Any

import numpy as np

from xpnet.arguments import count, shown
from xpnet.autograd import Tensor, no_grad
from xpnet.autograd.exchange import from_dlpack, is_on_host
from xpnet.backend import (
    Array,
    Backend,
    backend_of,
    can_limit_blas,
    cores,
    current_backend,
    current_precision,
    record_call,
    run_parallel,
)
from xpnet.capture import Captured
from xpnet.data import several
from xpnet.errors import ConfigError, DTypeError, XpnetError
from xpnet.nn.context import changes, inference, watching
from xpnet.nn.guard import Model, ModelGuard
from xpnet.nn.state import State
from xpnet.ops import checks

__all__ = ["Predictor", "predict", "predictor"]

_SHARE = 1 << 23  # multiply-adds that are worth a thread: some 0.2 ms
_SMALL = 200_000_000  # multiply-adds of a batch below which it is recorded: above, Python is little of the time
_MOST_BYTES = 1 << 25  # of all recordings of a model


def predict(model: Model, x: Any, batch_size: int = 256) -> Any:
    """Compute a model's scores of examples; see Module.predict."""
    batch_size = count("predict", "batch_size", batch_size)
    if isinstance(x, tuple | dict):
        return _predict_several(model, x, batch_size)
    x = x.data if isinstance(x, Tensor) else x
    xp, on_host = checks.shared("predict", x), isinstance(x, np.ndarray)
    if x.dtype == xp.uint8:
        do = "scale them as the examples that the model was trained on, or use Trainer.predict, which does"
        raise DTypeError("predict", "x of a real floating dtype, not bytes", do, dtype=x.dtype)
    n, score = x.shape[0] if x.ndim else 0, predictor(model)
    backend, parts = score.backend, []
    if not on_host and backend_of(x) != backend and is_on_host(x):
        x, on_host = from_dlpack(x, "cpu").data, True
    for start in range(0, max(1, n), batch_size):
        part = x if n <= batch_size else x[start : min(start + batch_size, n), ...]
        parts.append(score(score.received(part, backend) if on_host else part))
    y = parts[0] if len(parts) == 1 else backend.xp.concat(parts, axis=0)
    return backend.to_numpy(y) if on_host else y


def _predict_several(model: Model, x: Any, batch_size: int) -> Any:
    """Compute a model's scores of examples with several arrays, of the host or the model's backend."""
    if not x:
        raise ConfigError("predict", "x, an array or several", x=repr(x))
    arrays = [each.data if isinstance(each, Tensor) else each for each in several.each(x)]
    checks.shared("predict", *arrays)
    score = predictor(model)
    backend, on_host, n = score.backend, isinstance(arrays[0], np.ndarray), arrays[0].shape[0]
    arrays = [score.received(each, backend) for each in arrays] if on_host else arrays
    x, parts = several.like(x, arrays), []
    for start in range(0, max(1, n), batch_size):
        parts.append(score(several.rows(x, start, min(start + batch_size, n))))
    y = parts[0] if len(parts) == 1 else backend.xp.concat(parts, axis=0)
    return backend.to_numpy(y) if on_host else y


def predictor(model: Model) -> Predictor:
    """Return what predicts with a model: score(x) -> y, for a batch (N, ...) on the model's backend."""
    found: Predictor | None = vars(model).get("_predictor")
    if found is None:
        found = Predictor(model)
        object.__setattr__(model, "_predictor", found)
    return found


class Predictor:
    """Predicts with a model, which owns it."""

    def __init__(self, model: Model) -> None:
        self._model = weakref.ref(model)
        self._guard = ModelGuard(model)
        self._captured = Captured(
            self.compute, self._guard, where="predict", worth=self._is_small, max_bytes=_MOST_BYTES
        )
        self._version = -1  # of the guard, when what follows was found
        self._state: State | None = None  # any of the model's
        self._each_alone = False
        self._macs: dict[tuple[int, ...], int] = {}  # of an example, by shape
        self._several: dict[Any, _SeveralPredictor] = {}  # by the form of the inputs

    def __reduce__(self) -> Any:
        """A copy of the model makes a predictor when it first predicts."""
        return type(None), ()

    @property
    def model(self) -> Model:
        """The model."""
        model = self._model()
        assert model is not None, "the model owns its predictor"
        return model

    @property
    def backend(self) -> Backend:
        """The model's backend, found without a walk over the model."""
        self._refresh()
        return current_backend() if self._state is None else self._state.backend

    def received(self, x: np.ndarray, backend: Backend) -> Array:
        """Bring floating numbers of the host to the model, in its dtype."""
        if self._state is not None and x.dtype.kind == "f":
            x = x.astype(self._state.dtype_, copy=False)
        return x if backend.on_host else backend.from_numpy(x)

    def __call__(self, x: Any) -> Array:
        """Compute the scores of a batch, an array or several."""
        if isinstance(x, tuple | dict):
            return self._several_of(x)(x)
        if watching() or not x.shape:
            return self.compute(x)
        y = self._captured(x, key=(cores(), current_precision()))
        assert y is not None
        return y

    def _several_of(self, x: Any) -> _SeveralPredictor:
        form = several.form(x)
        if form not in self._several:
            self._several[form] = _SeveralPredictor(self.model, several.like(x, [None] * len(several.each(x))))
        return self._several[form]

    def compute(self, x: Array) -> Array:
        """Call the model; the examples of a batch are divided among threads where that pays."""
        model, threads = self.model, self.threads(x)
        with inference(), no_grad():
            if threads < 2:
                return _array(model(Tensor(x)))
            n = x.shape[0]
            cuts = [i * n // threads for i in range(threads + 1)]
            parts = [x[start:stop, ...] for start, stop in itertools.pairwise(cuts)]
            results = run_parallel([partial(lambda part: _array(model(Tensor(part))), part) for part in parts])
            return record_call(self.backend.xp.concat, results)

    def threads(self, x: Array) -> int:
        """Return how many threads a batch is worth."""
        n, most = x.shape[0] if x.shape else 0, cores()
        if n < 2 or most < 2 or watching() or not self.backend.splits or not can_limit_blas() or not self._each_alone:
            return 1
        return min(most, n, n * self.macs(tuple(x.shape[1:])) // _SHARE)

    def macs(self, shape: tuple[int, ...]) -> int:
        """Return the multiply-adds of an example of a shape; 0 where they are not known."""
        if shape not in self._macs:
            try:
                self._macs[shape] = self.model.cost(shape).macs
            except (XpnetError, NotImplementedError):  # not known, or the call raises it
                self._macs[shape] = 0
        return self._macs[shape]

    def _is_small(self, x: Array) -> bool:
        return x.shape[0] * self.macs(tuple(x.shape[1:])) < _SMALL

    def _refresh(self) -> None:
        """Find out what depends on the layers, if they have changed."""
        if self._version != changes():
            self._version, self._macs = changes(), {}
            self._state = next(iter(self.model.states().values()), None)
            self._each_alone = all(m.across_batch_in_inference is False for _, m in self.model.modules())


class _SeveralPredictor:
    """Predicts with a model from several inputs, in the form of a tuple or a dictionary."""

    def __init__(self, model: Model, form: Any) -> None:
        self._model, self._form = weakref.ref(model), form
        self._captured = Captured(self.compute, ModelGuard(model), where="predict", max_bytes=_MOST_BYTES)

    def __call__(self, x: Any) -> Array:
        """Compute the scores of a batch."""
        arrays = several.each(x)
        if watching() or not all(a.shape for a in arrays):
            return self.compute(*arrays)
        y = self._captured(*arrays, key=(cores(), current_precision()))
        assert y is not None
        return y

    def compute(self, *arrays: Array) -> Array:
        """Call the model."""
        model = self._model()
        assert model is not None, "the model owns its predictor"
        with inference(), no_grad():
            return _array(several.call(model, several.like(self._form, arrays), Tensor))


def _array(y: Any) -> Array:
    if not isinstance(y, Tensor):
        raise ConfigError("predict", "a model that returns a Tensor", "call it for all it gives", returned=shown(y))
    return y.data
