"""Arrays and JSON in one safetensors file with a checksum: checkpoints and saved models. No pickle.

    metadata "xpnet"     JSON, with format_version
    metadata "sha256"    the checksum of that JSON and of every array with its name, dtype and shape

A new file is written beside the old one, flushed and renamed: a complete file exists at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.opening import check_expansion, disk_size, open_file
from xpnet.errors import CheckpointError
from xpnet.output import to_json
from xpnet.writing import write_atomically

__all__ = ["FORMAT_VERSION", "parse", "read_file", "write_file"]

FORMAT_VERSION = 2  # 1: without a checksum, up to version 0.6
_DTYPES = ("F16", "F32", "F64")


def write_file(path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write arrays and JSON: to a temporary file, flushed to disk, renamed.

    Raises:
        CheckpointError: the folder cannot be written to.
    """
    from safetensors.numpy import save

    tensors = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = to_json(dict(meta))
    write_atomically(path, save(tensors, {"xpnet": text, "sha256": _checksum(text, tensors)}))


def _checksum(text: str, tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"\n{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def read_file(path: Path, do: str = "") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read arrays by name, and the JSON beside them.

    Args:
        path: the file.
        do: what to do where there is no such file.
    Raises:
        CheckpointError: no such file, truncated, changed, not xpnet's, or of a newer format.
    """
    from safetensors import SafetensorError, safe_open

    with open_file(path, error=CheckpointError, do=do) as opened:
        size = os.fstat(opened.fileno()).st_size  # of a sparse file more than is stored
        check_expansion(str(path), size, disk_size(opened), "use another checkpoint", CheckpointError)
    try:
        with safe_open(str(path), framework="numpy") as file:
            notes = file.metadata() or {}
            names = list(file.keys())
            kinds = {name: file.get_slice(name).get_dtype() for name in names}
            if others := [name for name in names if kinds[name] not in _DTYPES]:
                rule = "arrays of " + ", ".join(_DTYPES)
                raise CheckpointError(str(path), rule, array=others[0], dtype=kinds[others[0]])
            arrays = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, MemoryError) as error:
        if isinstance(error, CheckpointError):
            raise
        advice = "it may be truncated: use another checkpoint"
        raise CheckpointError.event(str(path), "not a complete safetensors file", advice, error=error) from error
    theirs = "the file was not written by xpnet"
    meta = parse(notes.get("xpnet", "null"), str(path), theirs)
    version = meta.get("format_version")
    if type(version) is not int or version < 1:
        raise CheckpointError.event(str(path), theirs)
    if version > FORMAT_VERSION:
        raise CheckpointError(str(path), f"a format <= {FORMAT_VERSION}", "install a newer xpnet", format=version)
    if (version > 1 or "sha256" in notes) and notes.get("sha256") != _checksum(notes["xpnet"], arrays):
        what = "the file was changed after it was written: its checksum is another"
        raise CheckpointError.event(str(path), what, "use another checkpoint")
    return arrays, meta


def parse(text: str | bytes, where: str, what: str, do: str = "") -> dict[str, Any]:
    """Read a JSON object, without NaN, of any nesting.

    Raises:
        CheckpointError: where: what; the text is none.
    """

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        values = json.loads(text, parse_constant=constant)
        if not isinstance(values, dict):
            raise ValueError(f"a JSON object is expected, not {type(values).__name__}")
    except (ValueError, RecursionError) as error:  # ValueError: also of bytes that are no text, of endless numbers
        raise CheckpointError.event(where, what, do, error=error) from error
    return values
