"""Models in files, and values of one model in another.

model.save("digits.safetensors")
model = xpnet.load("digits.safetensors")
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

from xpnet import arguments
from xpnet.errors import CheckpointError, ShapeError, nearest
from xpnet.nn.architecture import build, describe, undescribed
from xpnet.nn.module import Module
from xpnet.nn.storage import FORMAT_VERSION, read_file, write_file

__all__ = ["Difference", "load", "load_arrays", "save"]

_log = logging.getLogger("xpnet")
_PREFIX = "model."

M = TypeVar("M", bound=Module)


class Difference(NamedTuple):
    """What load_state_dict(strict=False) passed over.

    Args:
        missing: parameters and buffers of the model without an array; they keep their values.
        unexpected: arrays without a parameter or buffer; they are not used.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


def load_arrays(model: Module, arrays: Mapping[str, Any], strict: bool) -> Difference:
    """Do what Module.load_state_dict says."""
    where = "load_state_dict"
    if not isinstance(arrays, Mapping):
        do = "write load_state_dict(other.state_dict())"
        raise CheckpointError(
            where, "arrays that are a dictionary from name to array", do, arrays=arguments.shown(arrays)
        )
    states = {model.below(path): state for path, state in model.states().items()}
    missing, unknown = [path for path in states if path not in arrays], [path for path in arrays if path not in states]
    if (missing or unknown) if arguments.boolean(where, "strict", strict) else (states and len(missing) == len(states)):
        raise CheckpointError(
            where,
            "the names of the model's parameters and buffers",
            nearest(str(min(unknown, key=str)), states) if unknown and states else "",
            missing=sorted(missing)[:3] or "none",
            unknown=sorted(map(str, unknown))[:3] or "none",
        )
    found = {path: state for path, state in states.items() if path in arrays}
    try:
        made = [state.received(arrays[path], path) for path, state in found.items()]
    except ShapeError as error:
        rule = f"{error.where} of the model's shape, that is {error.rule}"
        raise CheckpointError(where, rule, **error.got) from None
    for state, array in zip(found.values(), made, strict=True):
        state.data = array
    if path := next((path for path, state in found.items() if state.holds_nan()), None):
        _log.warning("%s: %s holds NaN: the model's outputs will be NaN", where, path)
    return Difference(tuple(missing), tuple(map(str, unknown)))


def save(model: Module, path: str | Path) -> None:
    """Do what Module.save says."""
    meta: dict[str, Any] = {"format_version": FORMAT_VERSION, "architecture": describe(model)}
    if meta["architecture"] is None:
        meta["undescribed"] = undescribed(model)
    arrays = {_PREFIX + name: array for name, array in model.state_dict().items()}
    write_file(arguments.path("save", "path", path), arrays, meta)


@overload
def load(path: str | Path, model: None = None) -> Module: ...
@overload
def load(path: str | Path, model: M) -> M: ...
def load(path: str | Path, model: Module | None = None) -> Module:
    """Read a model that Module.save wrote, or that of a checkpoint or run.

    Args:
        path: the file, or the folder of a run.
        model: the module that receives the values; needed where the file holds layers of other classes than xpnet's.
            None: the model is built from the description in the file, on the default backend.
    Returns:
        The model in evaluation mode. It takes numbers on the scale it was trained on: what a Trainer normalizes is not
        in the model, but in its checkpoint.
    Raises:
        CheckpointError: no such file, not one of xpnet's, or changed; it does not say how the model is built, and none
            is given; or the given one has other names or shapes.
    """
    where = arguments.path("load", "path", path)
    arguments.optional(lambda *given: arguments.instance(*given, kind=Module, rule="a Module"))("load", "model", model)
    arrays, meta = read_file(where / "checkpoint.safetensors" if where.is_dir() else where)
    values = {name.removeprefix(_PREFIX): array for name, array in arrays.items() if name.startswith(_PREFIX)}
    if model is None:
        if meta.get("architecture") is None:
            kind = meta.get("undescribed")
            what = f"the file does not say how its model is built{', which has a layer of another class' * bool(kind)}"
            do = "build the model and pass it: xpnet.load(file, model)"
            raise CheckpointError.event(str(path), what, do, **({"class": kind} if kind else {}))
        model = build(meta["architecture"], str(path))
        for name, state in model.states().items():
            if name in values:
                state.place(None, None, values[name].dtype.name)
    try:
        load_arrays(model, values, True)
    except CheckpointError as error:
        error.where = f"{path}: {error.where}"
        raise
    return model.eval()
