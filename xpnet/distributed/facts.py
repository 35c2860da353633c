"""Whether the processes of a run have the same versions, data, model and options: found at the start, by checksums.

facts = {**version_facts(model.backend), **data_facts("training data", data), **model_facts(model), "seed": str(seed)}
check_agreement(communicator, facts)
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.backend import Backend
from xpnet.data import Dataset, several
from xpnet.data.lazy import Lazy
from xpnet.distributed.communicator import Communicator
from xpnet.errors import ConfigError
from xpnet.nn import Module
from xpnet.output import counted

__all__ = ["check_agreement", "data_facts", "model_facts", "value_fact", "version_facts"]

_MISSING = "nothing"
_MOST = 4  # facts in the message
_ROWS = 256  # samples whose content counts
_DECODED = 16  # of those that are read from files
_LONGEST = 80  # characters of a value that is shown, not its checksum
_DEPTH = 4  # of objects within objects


def check_agreement(communicator: Communicator, facts: Mapping[str, str]) -> None:
    """Raise the same error in every process, unless all give the same facts.

    Args:
        communicator: of the processes.
        facts: by name; texts of a line each.
    Raises:
        ConfigError: it names the facts, and who has which.
    Cost: one message of a few hundred bytes to each process.
    """
    arguments.mapping("check_agreement", "facts", facts)
    own = json.dumps({str(name): str(value) for name, value in facts.items()}).encode()
    given = [json.loads(data) for data in communicator.allgather_bytes(own)]
    names = dict.fromkeys(name for each in given for name in each)
    differing: dict[str, object] = {}
    for name in names:
        ranks: dict[str, list[int]] = {}
        for rank, each in enumerate(given):
            ranks.setdefault(each.get(name, _MISSING), []).append(rank)
        if len(ranks) > 1:
            differing[name] = " and ".join(f"{value} on {_spelled(who)}" for value, who in ranks.items())
    if differing:
        shown = dict(list(differing.items())[:_MOST])
        more = f" and {len(differing) - _MOST} more" if len(differing) > _MOST else ""
        what = f"the processes differ in {', '.join(shown)}{more}"
        do = "start all of them with the same versions, data and options"
        raise ConfigError.event("check_agreement", what, do, **shown)


def _spelled(ranks: list[int]) -> str:
    """Write rank numbers, in order: "rank 2", or "ranks 0-2, 5"."""
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and runs[-1][-1] == rank - 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    text = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"rank {text}" if len(ranks) == 1 else f"ranks {text}"


def version_facts(backend: Backend) -> dict[str, str]:
    """Return the versions of xpnet, NumPy and the backend's library, and the processor's architecture."""
    library = getattr(backend.xp, "__version__", "")
    return {
        "xpnet version": sys.modules["xpnet"].__version__,
        "NumPy version": np.__version__,
        "backend": f"{backend.name} {library}".strip(),
        "architecture": platform.machine(),
    }


def data_facts(name: str, data: Any) -> dict[str, str]:
    """Return a checksum of a data set under a name: of its sizes, classes, labels, and some of its samples.

    Args:
        name: such as "training data".
        data: a Dataset; of anything else, such as a stream, only the kind is known.
    Cost: one pass over the labels, 16 samples read from files, or 256 from memory: milliseconds for sets of any size.
    """
    if not isinstance(data, Dataset):
        return {name: type(data).__name__}
    digest = _Digest()
    digest.text(data.classes, several.shape(data.x), data.white)
    for array in (data.y, data.weights):
        digest.array(array)
    if data.files is not None:  # without their folders, whose place may differ from machine to machine
        digest.text(*(str(path).replace("\\", "/").rpartition("/")[2] for path in data.files))
    for x in several.each(data.x):
        count = min(len(data), _DECODED if isinstance(x, Lazy) else _ROWS)
        digest.array(x[np.linspace(0, len(data) - 1, count).astype(np.int64)])
    return {name: f"{len(data)} samples, checksum {digest}"}


def model_facts(model: Module) -> dict[str, str]:
    """Return a checksum of a model: of the names, shapes, dtypes and values of its parameters and buffers.

    Cost: one pass over them, about 1 s for a billion bytes.
    """
    digest = _Digest()
    for name, array in model.state_dict().items():
        digest.text(name)
        digest.array(array)
    return {"model": f"{counted(model.parameter_count, 'parameter')}, checksum {digest}"}


def value_fact(value: object) -> str:
    """Return a value as a line, equal where values are: its text, or a checksum if that is long.

    Of functions and classes the name counts; of other objects the class, and public attributes that are numbers, words,
    NumPy arrays, or collections.
    """
    text = _written(value, _DEPTH).replace("\n", " ")
    if len(text) <= _LONGEST:
        return text
    digest = _Digest()
    digest.text(text)
    return f"{text[: _LONGEST // 2]}..., checksum {digest}"


def _written(value: Any, depth: int) -> str:
    if isinstance(value, str | bool | int | float | np.generic | None):
        return str(value)
    if isinstance(value, partial):
        return f"{_written(value.func, depth)}({_written([value.args, value.keywords], depth)})"
    if name := getattr(value, "__qualname__", ""):
        return f"{getattr(value, '__module__', '')}.{name}"
    if isinstance(value, np.ndarray):
        digest = _Digest()
        digest.array(value)
        return f"array {value.shape}, checksum {digest}"
    if not depth:
        return type(value).__name__
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_written(v, depth - 1)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(_written(v, depth - 1) for v in value) + ")"
    kinds = (bool, int, float, str, tuple, list, Mapping, np.ndarray)
    public = {k: v for k, v in getattr(value, "__dict__", {}).items() if k[:1] != "_" and isinstance(v, kinds)}
    return type(value).__name__ + (_written(public, depth) if public else "")


class _Digest:
    """A checksum of texts and arrays, in their order."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=8)

    def text(self, *texts: object) -> None:
        self._hash.update("\n".join(map(str, (*texts, ""))).encode(errors="surrogateescape"))

    def array(self, array: np.ndarray | None) -> None:
        if array is None:
            return self.text(None)
        self.text(array.dtype, array.shape)
        contiguous = np.ascontiguousarray(array)
        return self._hash.update(contiguous.reshape(-1).view(np.uint8).data if contiguous.size else b"")

    def __str__(self) -> str:
        return self._hash.hexdigest()
