"""The state of an optimizer by name, as a checkpoint holds it: copied to the host, and taken over on any backend."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.arguments import as_index, shown
from xpnet.backend import backend_of, set_at
from xpnet.errors import CheckpointError
from xpnet.optim.loss_scale import LossScale

if TYPE_CHECKING:
    from xpnet.optim.optimizer import Optimizer

__all__ = ["restore", "saved"]

_log = logging.getLogger("xpnet")


def saved(optimizer: Optimizer) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Copy the state to the host; see Optimizer.state_dict."""
    optimizer.sync()
    arrays = {}
    average = {} if optimizer.average is None else {"average": optimizer.average.value}
    for name, flat in (optimizer.state | average).items():
        host = backend_of(flat).to_numpy(flat)
        arrays.update({f"{name}/{path}": array for path, array in optimizer.flat.split(host).items()})
    scalars = {"optimizer": type(optimizer).__name__, "steps": optimizer.steps}
    return arrays, scalars | ({"loss_scale": optimizer.scaling.state()} if optimizer.scaling else {})


def restore(optimizer: Optimizer, arrays: Mapping[str, Any], scalars: Mapping[str, Any]) -> None:
    """Take over what saved returned, all of it or nothing; see Optimizer.load_state_dict."""
    optimizer.sync()
    where, flat = f"{type(optimizer).__name__}.load_state_dict", optimizer.flat
    if not isinstance(arrays, Mapping) or not isinstance(scalars, Mapping):
        got = {"arrays": shown(arrays), "scalars": shown(scalars)}
        raise CheckpointError(where, "two dictionaries", "write load_state_dict(*other.state_dict())", **got)
    steps, name = as_index(scalars.get("steps")), scalars.get("optimizer")
    if name != type(optimizer).__name__:
        raise CheckpointError(where, f"a state of {type(optimizer).__name__}", optimizer=name)
    if steps is None or steps < 0:
        raise CheckpointError(where, "steps to be a whole number >= 0", steps=shown(scalars.get("steps")))
    paths = flat.named()
    names = [*optimizer.state_names, *([] if optimizer.average is None else ["average"])]
    wanted = {f"{name}/{path}" for name in names for path in paths}
    if missing := sorted(wanted - set(arrays)):
        raise CheckpointError(where, "an array for every parameter", missing=_few(missing))
    if unknown := sorted(set(arrays) - wanted):
        raise CheckpointError(where, "a state of this model and optimizer", unknown=_few(unknown))
    loaded = {}
    for name in names:
        loaded[name] = flat.from_host(flat.join({path: arrays[f"{name}/{path}"] for path in paths}))
    if saved_scale := scalars.get("loss_scale"):
        scaling = optimizer.scaling or LossScale(flat.backend)
        scaling.load(saved_scale)
        optimizer.scaling = scaling
    if scalars.get("ages"):
        counts = "which counted the updates of each parameter; now all have made"
        _log.info("%s: the state is from xpnet 0.5 or older, %s %d", where, counts, steps)
    if optimizer.average is not None:
        optimizer.average.assign(loaded.pop("average"))
    for name, new in loaded.items():
        optimizer.state[name] = set_at(optimizer.state[name], ..., new)
    optimizer.steps = steps


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
