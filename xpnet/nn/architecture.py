"""A model as JSON: its layers by name with the arguments they were built with, and the model built again from that.

    {"class": "Sequential", "settings": {"fc": {"class": "Linear", "settings": {"in_features": 3, ...}}}}

Only xpnet's own layers are described and built; no code is stored, and none of a file is run.
"""

from __future__ import annotations

from typing import Any

from xpnet import nn
from xpnet.errors import CheckpointError, XpnetError
from xpnet.nn.module import Module

__all__ = ["build", "describe", "undescribed"]

_DEEPEST = 100  # modules within modules


def describe(model: Module) -> dict[str, Any] | None:
    """Return the description of a model; None where one of its layers, or how they are joined, cannot be described."""
    if undescribed(model):
        return None
    found = _described(model)
    shapes = {model.below(path): state.shape for path, state in model.states().items()}
    try:
        again = {path: state.shape for path, state in build(found, "").states().items()}
    except CheckpointError:
        return None
    return found if again == shapes else None  # not where a layer is used twice, or was added to another one


def undescribed(model: Module) -> str:
    """Return the name of the first class in a model that is not xpnet's own; "" where there is none."""
    kinds = (type(module) for _, module in model.modules())
    return next((kind.__name__ for kind in kinds if _kind(kind.__name__) is not kind), "")


def _described(module: Module) -> dict[str, Any]:
    settings = {k: _described(v) if isinstance(v, Module) else v for k, v in module.settings().items()}
    return {"class": type(module).__name__, "settings": settings}


def _kind(name: Any) -> type[Module] | None:
    """Return the layer of a name in nn."""
    kind = getattr(nn, name, None) if name in nn.__all__ else None
    is_layer = isinstance(kind, type) and issubclass(kind, Module) and kind.forward is not Module.forward
    return kind if is_layer else None


def build(description: Any, where: str) -> Module:
    """Build a model from its description, with initial values that are not made yet.

    Raises:
        CheckpointError: the description is not one of xpnet's layers.
    """
    try:
        return _built(description, _DEEPEST)
    except (XpnetError, TypeError, ValueError, RecursionError) as error:
        what = "the description of the model builds no model"
        raise CheckpointError.event(where, what, "pass the model: xpnet.load(file, model)", error=error) from error


def _built(description: Any, depth: int) -> Module:
    if not (isinstance(description, dict) and isinstance(settings := description.get("settings"), dict) and depth):
        raise ValueError("a class and its settings are expected")
    kind = _kind(description.get("class"))
    if kind is None:
        raise ValueError(f"no layer of xpnet: {description.get('class')!r}")
    return kind(**{name: _setting(value, depth - 1) for name, value in settings.items()})


def _setting(value: Any, depth: int) -> Any:
    return _built(value, depth) if isinstance(value, dict) else tuple(value) if isinstance(value, list) else value
