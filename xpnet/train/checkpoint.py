"""Checkpoints: all that a resume needs, in one safetensors file with JSON beside the arrays. No pickle.

    model.<path>                parameters and buffers
    optimizer.<slot>/<path>     the optimizer's state
    metadata "xpnet"            JSON: format_version, model, optimizer, progress, history, and what the caller adds

A new file is written beside the old one, flushed and renamed: a complete file exists at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.errors import CheckpointError
from xpnet.nn import Module
from xpnet.optim import Optimizer

__all__ = ["FORMAT_VERSION", "Checkpoint", "read_checkpoint", "write_atomically", "write_checkpoint"]

FORMAT_VERSION = 1


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
        arrays, scalars = optimizer.state_dict() if optimizer else ({}, {})
        return cls(model.state_dict(), arrays, {"format_version": FORMAT_VERSION, "optimizer": scalars, **meta})

    def restore(self, model: Module, optimizer: Optimizer | None = None) -> None:
        """Restore the state, on the backend that the model is on.

        Raises:
            CheckpointError: the arrays are not this model's or this optimizer's; then nothing is changed.
        """
        before = model.state_dict()
        model.load_state_dict(self.model)
        if optimizer:
            try:
                optimizer.load_state_dict(self.optimizer, self.meta.get("optimizer", {}))
            except CheckpointError:
                model.load_state_dict(before)
                raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader finds the complete old or new one, also after a crash.

    Raises:
        CheckpointError: the folder cannot be written to.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:  # a second Ctrl-C too
        with contextlib.suppress(OSError):
            part.unlink()
        if not isinstance(error, OSError):
            raise
        raise CheckpointError.event(str(path), "the file cannot be written", error=error.strerror) from error


def write_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: to a temporary file, flushed to disk, renamed.

    Raises:
        CheckpointError: the folder cannot be written to.
    """
    from safetensors.numpy import save

    tensors = {f"model.{k}": np.asarray(v, order="C") for k, v in checkpoint.model.items()}
    tensors |= {f"optimizer.{k}": np.asarray(v, order="C") for k, v in checkpoint.optimizer.items()}
    write_atomically(Path(path), save(tensors, {"xpnet": json.dumps(checkpoint.meta)}))


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: no such file, truncated, not xpnet's, or of a newer format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointError.event(str(path), "no such file", "give the folder of a run")
    try:
        with safe_open(str(path), framework="numpy") as file:
            meta = json.loads((file.metadata() or {}).get("xpnet", "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        do = "it may be truncated: use another checkpoint"
        raise CheckpointError.event(str(path), "not a complete safetensors file", do, error=error) from error
    if not isinstance(meta, dict) or not isinstance(meta.get("format_version"), int):
        raise CheckpointError.event(str(path), "the file was not written by xpnet")
    if (version := meta["format_version"]) > FORMAT_VERSION:
        raise CheckpointError(str(path), f"a format <= {FORMAT_VERSION}", "install a newer xpnet", format=version)
    parts: dict[str, dict[str, np.ndarray]] = {"model": {}, "optimizer": {}}
    for name, array in arrays.items():
        kind, _, rest = name.partition(".")
        parts.setdefault(kind, {})[rest] = array
    return Checkpoint(parts["model"], parts["optimizer"], meta)
