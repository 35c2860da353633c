"""What a recorded step was recorded for: when any of it has changed, the recording is of another step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from xpnet.autograd import Tensor
from xpnet.nn import Module
from xpnet.optim import Optimizer

__all__ = ["Fingerprint", "settings"]

_PLAIN = (bool, int, float, str, type(None))
_GROWING = (list, dict, set)


class Fingerprint:
    """The objects and the settings that a step is made of.

    Args:
        model, optimizer, loss: the step's.
        others: objects that it reads besides, such as the feed and the precision.

    Two are equal when every object is the same one and every setting has the same value: the layers, the arrays of
    parameters and buffers (but not the numbers in them), every layer's public settings, training or inference, the
    loss's and the optimizer's. Objects are kept alive, so that no other can take the place of one in memory.
    """

    def __init__(
        self, model: Module, optimizer: Optimizer, loss: Callable[..., Tensor], others: tuple[Any, ...] = ()
    ) -> None:
        arrays = [state.data for state in model.states().values()]
        trained = [p.data for p in optimizer.parameters]
        modules = [module for _, module in model.modules()]
        self._same = [optimizer, loss, *others, *modules, *arrays, *trained, optimizer.flat.value]
        found = {
            **settings(model, loss),
            **{f"optimizer.{name}": v for name, v in _plain(optimizer)},
            "optimizer.decays": optimizer.decays,
        }
        self._equal = {name: v for name, v in found.items() if not name.rpartition(".")[2].startswith("_")}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fingerprint) or len(self._same) != len(other._same):
            return False
        return all(a is b for a, b in zip(self._same, other._same, strict=True)) and self._equal == other._equal

    __hash__ = None  # type: ignore[assignment]


def settings(model: Module, loss: Callable[..., Tensor]) -> dict[str, Any]:
    """Return what a model's layers and a loss keep besides arrays and layers, by "path.name".

    These are attributes that are numbers, words or tuples of them, and of lists and dictionaries how long they are.
    """
    found = {f"{path}.{name}".lstrip("."): v for path, module in model.modules() for name, v in _plain(module)}
    found |= {f"{path}.training".lstrip("."): module.training for path, module in model.modules()}
    found |= {f"{path}.requires_grad": state.requires_grad for path, state in model.states().items()}
    return found | {f"loss.{name}": value for name, value in _plain(loss)}


def _plain(thing: Any) -> Iterator[tuple[str, Any]]:
    for name, value in getattr(thing, "__dict__", {}).items():
        if name == "path":  # a name, set when somebody asks for it
            continue
        if isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(isinstance(v, _PLAIN) for v in value)):
            yield name, value
        elif isinstance(value, _GROWING):
            yield name, len(value)
