"""Fine-tuning: a run begins with the weights of another, whose last layer is new where other things are learned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpnet import arguments, models
from xpnet.data import Dataset
from xpnet.errors import CheckpointError, ConfigError
from xpnet.nn import Module
from xpnet.train.checkpoint import Checkpoint, read_checkpoint
from xpnet.train.schema import RUN, check
from xpnet.train.tasks import saved_kind
from xpnet.train.trainer import Trainer

__all__ = ["begin_from", "freeze_body", "head_of", "outputs_of", "read_weights"]


def read_weights(run: str | Path) -> Checkpoint:
    """Read the checkpoint of a run to use its model: that of the best epoch, where the run keeps it, else the last.

    Raises:
        CheckpointError: no such run, or its checkpoint cannot be read.
    """
    folder = arguments.path("read_weights", "run", run)
    path = folder / "checkpoint.safetensors"
    last = read_checkpoint(path)
    check(last.meta, RUN, str(path), CheckpointError, others=True)
    if not (last.meta.get("settings") or {}).get("best") or not last.meta.get("history"):
        return last
    path = path.with_name("best.safetensors")
    best = read_checkpoint(path)
    check(best.meta, RUN, str(path), CheckpointError, others=True)
    for name in ("model_name", "shape", "classes"):
        if best.meta[name] != last.meta[name]:
            rule = f"{name} {last.meta[name]!r}, as the run's checkpoint has it"
            raise CheckpointError(str(path), rule, **{name: best.meta[name]})
    return best


def head_of(name: str, shape: tuple[int, ...], outputs: int) -> set[str]:
    """Return the paths of a model's parameters that depend on how many numbers it gives: those of its last layer."""
    own, other = (
        {path: state.shape for path, state in models.build(name, shape, n).states().items()}
        for n in (outputs, outputs + 1)
    )
    return {path for path in own if other.get(path) != own[path]}


def begin_from(trainer: Trainer, name: str, train: Dataset, found: Checkpoint) -> list[str]:
    """Give a trainer's model the weights of a run, and its data the run's scale.

    The weights of the last layer are the run's only where the same is learned: the same classes, or columns.

    Args:
        trainer: which was not trained yet, of a task that is fitted to the training set.
        name: of its model, a key of models.MODELS.
        train: the training set.
        found: as read_weights returns it.
    Returns:
        The paths of the weights that are new.
    Raises:
        ConfigError: the run is of another model, task or shape, or of a table with other columns.
    """
    meta, task = found.meta, trainer.task
    assert task is not None
    columns = getattr(train.source, "to_json", dict)().get("features") if train.source is not None else None
    theirs: dict[str, Any] = {
        "model": meta["model_name"],
        "task": saved_kind(meta.get("task")).name,
        "shape": tuple(meta["shape"]),
    }
    for key, own in {"model": name, "task": task.name, "shape": train.shape}.items():
        if own != theirs[key]:
            raise ConfigError("from_run", f"a run of {key} {own}", **{key: theirs[key]})
    if _kinds(columns) != _kinds((meta.get("columns") or {}).get("features")):
        raise ConfigError("from_run", "a run of a table with the same columns", table=train.name)
    if meta.get("scale") is None:
        raise ConfigError("from_run", "a run of xpnet 0.7 or newer, which keeps its scale", scale=None)
    model, head = trainer.model, head_of(name, train.shape, outputs_of(task, train))
    is_same = tuple(meta["classes"]) == train.classes and all(
        path in found.model and found.model[path].shape == state.shape for path, state in model.states().items()
    )
    trainer.take_scale(meta)
    if not is_same:
        trainer.task, trainer.classes = task, train.classes
    new = set() if is_same else head
    model.load_state_dict({**model.state_dict(), **{p: a for p, a in found.model.items() if p not in new}})
    return sorted(new)


def freeze_body(model: Module, head: set[str]) -> list[Module]:
    """Keep all parameters but the head's as they are; return the modules that must stay in evaluation mode."""
    for path, state in model.states().items():
        if path not in head:
            state.requires_grad = False
    return [
        m for path, m in model.modules() if not any(p == path or p.startswith(path + "." * bool(path)) for p in head)
    ]


def outputs_of(task: Any, data: Dataset) -> int:
    """Return how many numbers a model needs to give an example."""
    found = task.outputs(data)
    return found if isinstance(found, int) else math.prod(found)


def _kinds(features: Any) -> list[Any]:
    return [(f.get("name"), f.get("values"), f.get("gaps")) for f in features or () if isinstance(f, Mapping)]
