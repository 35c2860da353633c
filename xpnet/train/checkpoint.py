"""Checkpoints: all that a resume needs, in one safetensors file with JSON beside the arrays, no pickle::

    model.<path>                parameters and buffers
    optimizer.<slot>/<path>     the optimizer's state
    metadata "xpnet"            JSON: format_version, architecture, optimizer, progress, history, what the caller adds
    metadata "sha256"           the checksum of that JSON and of every array with its name, dtype and shape

A new file is written beside the old one, flushed and renamed: a complete file exists at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data.opening import beside, nearest_path
from xpnet.errors import CheckpointError, XpnetError
from xpnet.nn import Module
from xpnet.nn.architecture import describe
from xpnet.nn.storage import FORMAT_VERSION, read_file, write_file
from xpnet.optim import Optimizer
from xpnet.output import counted
from xpnet.train.schema import CHECKPOINT, check

__all__ = ["FORMAT_VERSION", "Checkpoint", "check_finite", "nearest_run", "read_checkpoint", "write_checkpoint"]

_log = logging.getLogger("xpnet")


@dataclass
class Checkpoint:
    """What a checkpoint file holds.

    Args:
        model: arrays by path.
        optimizer: arrays by slot and path; empty if none was saved.
        meta: the JSON beside them.
    """

    model: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Module, optimizer: Optimizer | None = None, **meta: Any) -> Checkpoint:
        """Copy a model's and an optimizer's state to the host."""
        _check_both("Checkpoint.of", model, optimizer)
        arrays, scalars = optimizer.state_dict() if optimizer else ({}, {})
        meta = {"format_version": FORMAT_VERSION, "architecture": describe(model), "optimizer": scalars, **meta}
        return cls(model.state_dict(), arrays, meta)

    def averaged(self, path: str = "") -> Checkpoint:
        """Return the checkpoint with the averaged weights as the model's, as files have it; see optim.average.

        Args:
            path: of the model, which its arrays' names leave out.
        """
        return self._exchanged("average/", "trained/", path)

    def trained(self, path: str = "") -> Checkpoint:
        """Return the checkpoint with the weights that are trained as the model's; the inverse of averaged."""
        return self._exchanged("trained/", "average/", path)

    def _exchanged(self, source: str, target: str, path: str) -> Checkpoint:
        model, optimizer = dict(self.model), dict(self.optimizer)
        for name in [name for name in optimizer if name.startswith(source)]:
            parameter = name.removeprefix(source)
            own = parameter.removeprefix(path + ".") if path else parameter
            optimizer[target + parameter], model[own] = self.model[own], optimizer.pop(name)
        return Checkpoint(model, optimizer, self.meta)

    def restore(self, model: Module, optimizer: Optimizer | None = None) -> None:
        """Restore the state, on the backend that the model is on.

        Raises:
            CheckpointError: arrays are of another model or optimizer, or those of the optimizer are not finite;
                then nothing is changed. Without an optimizer, the log names such an array.
        """
        _check_both("Checkpoint.restore", model, optimizer)
        what, do = "the optimizer's state is NaN or infinite", "train again with a lower lr"
        error = CheckpointError.event("checkpoint", what, do)
        try:
            check_finite(self.optimizer, error)
        except CheckpointError:
            if optimizer:
                raise
            error.do = "the model can be used, and not trained on"
            _log.warning("%s", error)
        shapes = {path: state.shape for path, state in model.states().items()}
        fits = shapes == {path: tuple(array.shape) for path, array in self.model.items()}
        before = model.state_dict() if optimizer and fits else {}  # else nothing is allocated, and loading raises
        model.load_state_dict(self.model)
        if optimizer:
            try:
                optimizer.load_state_dict(self.optimizer, self.meta.get("optimizer", {}))
            except CheckpointError:
                model.load_state_dict(before)
                raise


def _check_both(where: str, model: Any, optimizer: Any) -> None:
    arguments.instance(where, "model", model, kind=Module, rule="a Module")
    arguments.instance(where, "optimizer", optimizer, kind=(Optimizer, type(None)), rule="an Optimizer or None")


def check_finite(arrays: Mapping[str, np.ndarray], error: XpnetError) -> None:
    """Raise the error, with the name of the first array in which a value is NaN or infinite."""
    for path, array in arrays.items():
        if not np.isfinite(array).all():
            error.got["parameter"] = path
            raise error


def write_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: to a temporary file, flushed to disk, renamed.

    Raises:
        CheckpointError: the folder cannot be written to.
    """
    arguments.instance("write_checkpoint", "checkpoint", checkpoint, kind=Checkpoint, rule="a Checkpoint")
    arrays = {f"model.{k}": v for k, v in checkpoint.model.items()}
    arrays |= {f"optimizer.{k}": v for k, v in checkpoint.optimizer.items()}
    write_file(arguments.path("write_checkpoint", "path", path), arrays, checkpoint.meta)


def nearest_run(run: Path, file: Path) -> str:
    """Suggest the run whose name is most similar to that of a folder without a run, beside it or in ``runs``.

    Args:
        run: the folder.
        file: the missing file; if the folder exists, a file in it with a similar name is suggested.
    """
    if run.is_file():
        return f"{str(run)!r} is a file: give the folder of a run"
    if run.is_dir():
        return nearest_path(file, beside(file), "give the folder of a run")
    places = {path.parent for path in run.parent.glob("*/checkpoint.safetensors")}
    if len(run.parts) == 1:
        places |= {path.parent for path in Path("runs").glob("*/checkpoint.safetensors")}
    return nearest_path(run, sorted(places), "give the folder of a run")


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: no such file, truncated, changed, not xpnet's, of a newer format, or with weights of NaN.
    """
    path = arguments.path("read_checkpoint", "path", path)
    arrays, meta = read_file(path, "" if path.exists() else nearest_run(path.parent, path))
    check(meta, CHECKPOINT, str(path), CheckpointError, others=True)
    if "history" in meta and "progress" in meta and len(meta["history"]) != (done := meta["progress"]["epoch"]):
        rule = f"a record in history for each of {counted(done, 'epoch')}"
        raise CheckpointError(str(path), rule, records=len(meta["history"]))
    if (meta.get("scale") or {}).get("normalized") and not meta.get("normalize"):
        raise CheckpointError(str(path), "normalize, of a model trained on normalized data", normalize=None)
    parts: dict[str, dict[str, np.ndarray]] = {"model": {}, "optimizer": {}}
    for name, array in arrays.items():
        kind, _, rest = name.partition(".")
        parts.setdefault(kind, {})[rest] = array
    what = "the weights are NaN or infinite"
    check_finite(parts["model"], CheckpointError.event(str(path), what, "train again with a lower lr"))
    return Checkpoint(parts["model"], parts["optimizer"], meta)
