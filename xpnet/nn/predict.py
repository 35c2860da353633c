"""How a model predicts: without a tape, as in inference, norms folded away, and big batches shared out among threads.

    scores = model.predict(images)                  # what most want
    with predicting(model) as score:                # or batch by batch, on the model's backend
        for x in batches:
            y = score(x)

What a model's layers are called with is worked out at its first prediction and kept with it. Layers that are used as
they are read their parameters at each call, so only what was folded can be out of date. It is kept while the model is
in inference, and folded anew when an array of it was replaced, or an optimizer has made an update since.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from xpnet import kernels
from xpnet.autograd import Tensor, no_grad
from xpnet.backend import Array, Backend, Program, can_limit_blas, cores, current_backend, record_call, run_parallel
from xpnet.errors import ConfigError, DTypeError, XpnetError
from xpnet.nn.activation import Activation
from xpnet.nn.container import Residual, Sequential
from xpnet.nn.module import Module, changes, inference, watching
from xpnet.nn.normalization import BatchNorm
from xpnet.nn.state import State
from xpnet.ops import checks
from xpnet.optim import Optimizer

__all__ = ["Plan", "predict", "predicting"]

_SHARE = 1 << 23  # multiply-adds that are worth a thread: some 0.2 ms
_NOTED = 200_000_000  # multiply-adds of a batch up to which launches are noted: beyond, Python is little of the time

Step = tuple[Module, Callable[..., Tensor], dict[str, Any]]  # a layer, its forward, and what it is called with


def predict(model: Module, x: Any, batch_size: int = 256) -> Any:
    """Give a model's scores of examples; Module.predict says how."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError("predict", "batch_size >= 1", batch_size=batch_size)
    x = x.data if isinstance(x, Tensor) else x
    xp, on_host = checks.shared("predict", x), isinstance(x, np.ndarray)
    if x.dtype == xp.uint8:
        do = "bring it to the scale that the model was trained on, or use Trainer.predict, which does"
        raise DTypeError("predict", "x is real floating, not bytes", do, dtype=x.dtype)
    n = x.shape[0] if x.ndim else 0
    with predicting(model) as score:
        backend, parts = score.backend, []
        for start in range(0, max(1, n), batch_size):
            part = x if n <= batch_size else x[start : min(start + batch_size, n), ...]
            parts.append(score(score.received(part, backend) if on_host else part))
        y = parts[0] if len(parts) == 1 else backend.xp.concat(parts, axis=0)
        return backend.to_numpy(y) if on_host else y


@contextlib.contextmanager
def predicting(model: Module) -> Iterator[Plan]:
    """Let a model predict within a with-block: in evaluation mode and without a tape; no layer's mode is changed.

    Returns:
        score(x) -> y, from a batch (N, ...) on the model's backend to the scores there.
    """
    plan: Plan | None = vars(model).get("_prediction")
    if plan is None or not plan.holds():
        plan = Plan(model)
        object.__setattr__(model, "_prediction", plan)
    training = any(module.training for module in plan.modules())
    try:
        with inference(), no_grad():
            yield plan
    finally:
        if training and plan.folded:  # its values change under way
            object.__setattr__(model, "_prediction", None)


class Plan:
    """What a model calls to predict, and whether that still holds."""

    def __init__(self, model: Module) -> None:
        self.model, self.updates = model, Optimizer.updates
        every = [module for _, module in model.modules()]
        self.known = [module for module in every if _is_xpnets(module)]
        self.own = [module for module in every if not _is_xpnets(module)]  # they may hold others next time
        self.alone = all(map(_each_alone, every))
        states = model.states().values()
        self.state = next(iter(states), None)
        self.read = [(state, state.data) for state in states]  # made before threads ask for it
        self.steps = _steps(model)
        self.folded: list[tuple[State, Array]] = []
        self.work: dict[tuple[int, ...], int] = {}  # multiply-adds of an example of a shape
        self.noted: dict[Any, _Noted] = {}  # by shape, dtype, cores and kernels
        self.busy = threading.Lock()  # held by the thread that uses what is noted
        self.changes = changes()  # folding made layers too

    def __reduce__(self) -> Any:
        """A copy of the model makes a plan of its own."""
        return type(None), ()

    def holds(self) -> bool:
        """Whether nothing has changed since that this was made from."""
        if self.changes != changes():
            return False
        if not self.folded:
            return True
        return self.updates == Optimizer.updates and all(state.data is data for state, data in self.folded)

    def modules(self) -> list[Module]:
        """All modules of the model."""
        if not self.own:
            return self.known
        return [*self.known, *(within for module in self.own for _, within in module.modules())]

    @property
    def backend(self) -> Backend:
        """The model's, found without a walk over it."""
        return current_backend() if self.state is None else self.state.backend

    def received(self, x: np.ndarray, backend: Backend) -> Array:
        """Bring floating numbers of the host to the model, in its dtype."""
        if self.state is not None and x.dtype.kind == "f":
            x = x.astype(self.state.dtype_, copy=False)
        return x if backend.xp is np else backend.from_numpy(x)

    def __call__(self, x: Array) -> Array:
        """Compute the scores of a batch: by what was noted of one of its shape, where there is such."""
        if not self.notes(x) or not self.busy.acquire(blocking=False):
            return self.compute(x)
        try:
            key = x.shape, x.dtype, cores(), kernels.disabled()
            noted = self.noted.get(key)
            if noted is None:
                noted = self.noted[key] = _Noted(self.compute)
            return noted(x)
        finally:
            self.busy.release()

    def compute(self, x: Array) -> Array:
        """Call the layers; a batch's examples are shared out among threads where that pays."""
        threads = self.threads(x)
        if threads < 2:
            return self.run(x)
        n = x.shape[0]
        cuts = [i * n // threads for i in range(threads + 1)]
        parts = [x[start:stop, ...] for start, stop in itertools.pairwise(cuts)]
        return record_call(self.backend.xp.concat, run_parallel([partial(self.run, part) for part in parts]))

    def threads(self, x: Array) -> int:
        """How many threads a batch is worth."""
        n, most = x.shape[0] if x.shape else 0, cores()
        if n < 2 or most < 2 or not self.alone or watching() or not self.backend.splits or not can_limit_blas():
            return 1
        return min(most, n, n * self.macs(tuple(x.shape[1:])) // _SHARE)

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiply-adds of an example of a shape; 0 where they are not known."""
        if shape not in self.work:
            try:
                self.work[shape] = self.model.cost(shape).macs
            except (XpnetError, NotImplementedError):  # not known, or for the call to say
                self.work[shape] = 0
        return self.work[shape]

    def notes(self, x: Array) -> bool:
        """Whether what a batch launches is noted, and done again without the layers for the next of its shape."""
        if self.own or watching() or not x.shape or not self.backend.replays:
            return False
        for state, array in self.read:
            if state.data is not array:
                self.read = [(state, state.data) for state, _ in self.read]
                self.noted.clear()
                break
        return x.shape[0] * self.macs(tuple(x.shape[1:])) < _NOTED

    def run(self, x: Array) -> Array:
        """Compute the scores of a batch in this thread."""
        y = self.model(Tensor(x)) if watching() else _run(self.steps, Tensor(x))
        return y.data


class _Noted:
    """What a function of one array launches: noted at its second call, compared at its third, done again from there."""

    def __init__(self, function: Callable[[Array], Array]) -> None:
        self.function = function
        self.program = Program()
        self.x: Any = None
        self.y: Any = None
        self.next = self.warm

    def __call__(self, x: Array) -> Array:
        return self.next(x)

    def warm(self, x: Array) -> Array:
        """Let what is made at a first call be made."""
        y = self.function(x)
        self.next = self.note
        return y

    def note(self, x: Array) -> Array:
        """Call the function, and note what it launches."""
        self.x = np.array(x)
        with self.program.recording():
            self.y = self.function(self.x)
        self.next = self.prove
        return np.array(self.y)

    def prove(self, x: Array) -> Array:
        """Do both; go on with what was noted if it comes to the same numbers, and without it if not."""
        done, y = self.replay(x), self.function(x)
        self.next = self.replay if np.array_equal(done, y, equal_nan=True) else self.function
        return y

    def replay(self, x: Array) -> Array:
        """Do what was noted."""
        self.x[...] = x
        self.program()
        return np.array(self.y)


def _steps(module: Module) -> list[Step]:
    """What a module calls, in turn, with activations fused and norms folded; those of Sequentials within it are its."""
    steps: list[Step] = []
    for layer in module if type(module) is Sequential else [module]:
        fused = layer.fused if isinstance(layer, Activation) else None
        if fused and steps and getattr(steps[-1][0], "fuses", False) and not steps[-1][2]:
            steps[-1] = (*steps[-1][:2], {"activation": fused})
        elif type(layer) is Residual:
            body = _steps(layer.body)
            shortcut = [] if layer.shortcut is None else _steps(layer.shortcut)
            steps.append((layer, partial(_added, layer, body, shortcut), {}))
        else:
            steps.append((layer, layer.forward, {}))
    return steps


def _run(steps: list[Step], x: Tensor) -> Tensor:
    """Call each step; an error says which layer it came from."""
    at = ""
    try:
        for layer, forward, options in steps:
            at = layer.path
            x = forward(x, **options)
    except XpnetError as error:
        error.path = error.path or at
        raise
    return x


def _added(layer: Residual, body: list[Step], shortcut: list[Step], x: Tensor) -> Tensor:
    ahead, direct = _run(body, x), _run(shortcut, x)
    if ahead.shape != direct.shape:
        return layer.forward(x)  # which says so
    return ahead + direct


def _is_xpnets(module: Module) -> bool:
    """Whether a module computes as xpnet wrote it."""
    return type(module).forward.__module__.startswith("xpnet.")


def _each_alone(module: Module) -> bool:
    """Whether what a module gives for one example in inference depends on that example alone, as far as is known."""
    if type(module) is BatchNorm:  # by its running averages
        return True
    across = module.across_batch
    return not across if across is not None else _is_xpnets(module)
