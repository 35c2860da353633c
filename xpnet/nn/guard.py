"""What a captured function reads of a model, a loss and an optimizer, and a cheap test whether that has changed."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter, is_
from typing import Any, Protocol

from xpnet.autograd import Tensor
from xpnet.backend import Array, Backend, launch
from xpnet.errors import ConfigError
from xpnet.nn.context import changes
from xpnet.nn.cost import Cost
from xpnet.nn.state import Parameter, State
from xpnet.optim import Optimizer

__all__ = ["Model", "ModelGuard", "is_custom"]

_PLAIN = (bool, int, float, str, type(None))
_MOST = 32  # entries of a list or a dictionary that are compared


class Model(Protocol):
    """What capture and prediction use of a Module; see there."""

    @property
    def backend(self) -> Backend: ...

    def modules(self) -> Iterator[tuple[str, Any]]: ...

    def states(self) -> dict[str, State]: ...

    def cost(self, shape: tuple[int, ...]) -> Cost: ...

    def __call__(self, *inputs: Any, **options: Any) -> Any: ...


class ModelGuard:
    """A capture.Guard of a function of a model, and of the loss and the optimizer that train it.

    Nothing has changed when every object is the same one and every setting has the same value: the layers, the arrays
    of parameters and buffers (but not the numbers in them), the public settings of layers, loss and optimizer, and the
    mode. The model itself is held weakly, so that it may own the function.

    Args:
        model: what computes.
        loss, optimizer: None where the function only predicts: then it writes no array.
        others: objects that it reads besides.
        strict: capture is required, so custom modules and losses are recorded: their attributes must stay as they are.
        unsupported: why the function cannot be captured, if the caller knows.
    """

    def __init__(
        self,
        model: Model,
        loss: Callable[..., Any] | None = None,
        optimizer: Optimizer | None = None,
        *,
        others: tuple[Any, ...] = (),
        strict: bool = False,
        unsupported: str = "",
    ) -> None:
        self.backend = model.backend
        self._model = weakref.ref(model)
        self._loss, self._optimizer, self._others = loss, optimizer, others
        self._strict, self._known = strict, unsupported
        self.unsupported = unsupported
        self.written: list[Array] = []  # arrays that the function writes
        self.buffers: list[Array] = []
        self._changes = -1  # of all modules, at the last renew
        self._states: list[tuple[State, Array, bool]] = []
        self._read: list[tuple[Callable[[], Any], Any]] = []  # settings that no change of a module counts
        self._get: Callable[[Any], tuple[Any, ...]] = tuple  # the optimizer's attributes, and what they were
        self._values: tuple[Any, ...] = ()
        self._objects: list[Any] = []
        self._settings: dict[str, Any] = {}

    def holds(self) -> bool:
        """Tell in a few microseconds whether all is as it was at the last renew."""
        if self._changes != changes():
            return False
        for state, array, trained in self._states:
            if state.data is not array or state.requires_grad is not trained:
                return False
        if self._optimizer is not None and not all(map(is_, self._get(self._optimizer), self._values)):
            return False
        for read, value in self._read:  # noqa: SIM110, a generator costs two calls more
            if read() != value:
                return False
        return True

    def renew(self) -> bool:
        """Read everything anew, and tell whether anything has changed that recordings depend on.

        Raises:
            ConfigError: strict, and an attribute of a custom module or loss has changed.
        """
        model, optimizer, custom = self._model(), self._optimizer, dict(self._custom())
        assert model is not None, "the model owns what is captured"
        if optimizer is not None:
            optimizer.sync()
        states = list(model.states().values())
        modules = [module for _, module in model.modules()]
        arrays = [state.data for state in states]
        updated = [] if optimizer is None else optimizer.arrays()
        objects = [self._loss, optimizer, *self._others, *modules[1:], *states, *arrays, *updated]
        before, settings = self._settings, self.settings()
        same = len(objects) == len(self._objects) and all(map(is_, objects, self._objects))
        changed = sorted(n for n in before.keys() | settings.keys() if before.get(n) != settings.get(n))
        self._changes = changes()
        self._states = [(s, s.data, s.requires_grad) for s in states]
        self._settings = settings
        self._read = self._reads(custom)
        if same and not changed:
            return False
        self._objects = objects
        if optimizer is not None:
            trained = {id(p) for p in optimizer.parameters}
            self.written = [*(s.data for s in states if id(s) not in trained), *updated]
            self.buffers = [s.data for s in states if not isinstance(s, Parameter)]
        self.backend = model.backend
        self.unsupported = self._known or self._reason(custom)
        names = {f"{path}.{name}".lstrip(".") for path, thing in custom.items() for name, _ in _plain(thing)}
        theirs = [name for name in changed if name in names]
        if self._strict and same and theirs:
            do = "use capture=None, or change it between two calls of fit"
            raise ConfigError(
                "fit", "attributes that stay the same from step to step (capture=True)", do, changed=theirs[0]
            )
        return True

    def settings(self) -> dict[str, Any]:
        """Return what layers, loss and optimizer keep besides arrays and layers, by "path.name".

        These are attributes that are numbers, words or tuples of them, and of lists and dictionaries how long they are.
        """
        model, optimizer = self._model(), self._optimizer
        assert model is not None
        found = {}
        for path, module in model.modules():
            private = module.is_custom
            found |= {f"{path}.{name}": v for name, v in _plain(module) if private or not name.startswith("_")}
            if optimizer is not None:  # else the mode is evaluation
                found[f"{path}.training"] = module._training
        for path, state in model.states().items():
            found[f"{path}.requires_grad"] = state.requires_grad
            found[f"{path}.shape"], found[f"{path}.dtype"] = state.data.shape, str(state.data.dtype)
        found |= {f"loss.{name}": value for name, value in _plain(self._loss)}
        names = [] if optimizer is None else [*_optimizer_names(optimizer), "decays"]
        return {name.lstrip("."): v for name, v in found.items()} | {
            f"optimizer.{name}": _shown(getattr(optimizer, name)) for name in names
        }

    def restore(self) -> None:
        """Put back the arrays that the function has replaced by others since the last renew."""
        for state, array, _ in self._states:
            state.data = array

    def write_back(self) -> None:
        """Copy arrays that the function has put in the place of others into those, which a replay reads."""
        for state, array, _ in self._states:
            new = state.data
            if new is not array and (new.shape, new.dtype) == (array.shape, array.dtype):
                launch(_assign, array, new)
                state.data = array

    def _custom(self) -> Iterator[tuple[str, Any]]:
        """The custom modules and loss, by the path that their settings begin with."""
        model = self._model()
        assert model is not None
        yield from ((path, module) for path, module in model.modules() if module.is_custom)
        if self._loss is not None and is_custom(self._loss):
            yield "loss", self._loss

    def _reads(self, custom: dict[str, Any]) -> list[tuple[Callable[[], Any], Any]]:
        reads: list[Callable[[], Any]] = []
        if self._optimizer is not None:
            self._get = attrgetter(*_optimizer_names(self._optimizer))
            self._values = self._get(self._optimizer)
            reads += [partial(attrgetter("weight_decay"), group) for group in self._optimizer.groups]
        if isinstance(self._loss, partial):
            reads.append(partial(_listed, self._loss))
        if self._strict:
            reads += [partial(_listed, thing) for thing in custom.values()]
        return [(read, read()) for read in reads]

    def _reason(self, custom: dict[str, Any]) -> str:
        """Why the function is not recorded unless that is required; steps on a device are, with custom code."""
        recorder = self.backend.recorder()
        if self._strict or recorder is None or (recorder.is_device and self._optimizer is not None):
            return ""
        for path, thing in custom.items():
            return "the loss is a custom function" if path == "loss" else f"{type(thing).__name__} is a custom module"
        if self._optimizer is not None and is_custom(type(self._optimizer).update):
            return f"{type(self._optimizer).__name__} has a custom update"
        return ""


def is_custom(function: Callable[..., Any]) -> bool:
    """Tell whether a function, or what a partial is made of, is not xpnet's."""
    while isinstance(function, partial):
        function = function.func
    return not (getattr(function, "__module__", None) or "").startswith("xpnet.")


def _assign(array: Array, new: Array) -> None:
    array[...] = new


def _optimizer_names(optimizer: Optimizer) -> list[str]:
    """The settings of an optimizer, but for rates and step count, which the function takes as numbers."""
    others = ("flat", "parameters", "state", "steps")
    return [name for name in vars(optimizer) if not name.startswith("_") and name not in others]


def _listed(thing: Any) -> list[tuple[str, Any]]:
    return list(_plain(thing))


def _plain(thing: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, partial):
        yield "args", _shown(thing.args)
        yield "keywords", _shown(thing.keywords)
        yield from _plain(thing.func)
        return
    for name, value in getattr(thing, "__dict__", {}).items():
        if name in ("path", "_owner", "_place", "_training", "_predictor") or (
            isinstance(value, Tensor) and value.node is not None
        ):
            continue  # a tensor on the tape is a result, which is not read
        yield name, _shown(value)


class _Same:
    """Equals another one of the same object: arrays are not compared by the numbers in them."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    __hash__ = None  # type: ignore


def _shown(value: Any, depth: int = 2) -> Any:
    """What of a value can be compared: numbers and words, what short lists and dictionaries hold, else which it is."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, tuple | list | dict) and len(value) <= _MOST and depth:
        entries = value.items() if isinstance(value, dict) else value
        return type(value), [_shown(entry, depth - (not isinstance(value, dict))) for entry in entries]
    return len(value) if isinstance(value, list | dict | set) else _Same(value)
