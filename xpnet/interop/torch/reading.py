"""What to load: a file of safetensors or of torch.save, a state dictionary, or a module; nothing in it is executed."""

from __future__ import annotations

import itertools
import os
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from xpnet.arguments import shown
from xpnet.autograd import Tensor
from xpnet.backend import backend_of
from xpnet.data.opening import check_expansion, disk_size, open_file
from xpnet.errors import CheckpointError, ConfigError, XpnetError
from xpnet.libraries import require

__all__ = ["Found", "Source", "is_torch_module", "read"]

_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}  # of safetensors; others are no weights
_COUNTS = "num_batches_tracked"  # of PyTorch's batch norm: only momentum=None asks it


class Found(NamedTuple):
    """One array that can be loaded.

    Args:
        name: its name in the file.
        shape: its sizes, in PyTorch's order of axes.
        read: copies its numbers to the host, as NumPy's.
        memory: equal for two names of one tensor, as where weights are shared; None is not known.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    memory: Any = None


class Source(NamedTuple):
    """What can be loaded.

    Args:
        where: the file, or "load_torch".
        arrays: in the order of the file or dictionary.
        ordered: whether that may be the order in which PyTorch's module defines them: safetensors keep none.
        module: PyTorch's module, where one was given.
    """

    where: str
    arrays: list[Found]
    ordered: bool
    module: Any = None


def is_torch_module(value: Any) -> bool:
    """Whether a value is a torch.nn.Module."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def read(where: str, source: Any, argument: str = "source") -> Source:
    """Read what a user names.

    Args:
        where: the function, for messages.
        source: a path, a mapping from name to array, or a torch.nn.Module.
        argument: what the function calls it.
    Raises:
        CheckpointError: no such file, damaged, of another kind, or with code in it; values that are no arrays.
        ConfigError: a file of torch.save without torch, or source is none of these.
    """
    if is_torch_module(source):
        return _source(where, source.state_dict())._replace(module=source)
    if isinstance(source, Mapping):
        return _source(where, source, argument)
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        rule = "a file, a state dictionary or a torch.nn.Module"
        raise ConfigError(where, f"source that is {rule}", source=shown(source))
    path = os.fspath(source)
    with open_file(path, error=CheckpointError) as file:
        size, start = os.fstat(file.fileno()).st_size, file.peek(9)[:9]
        check_expansion(path, size, disk_size(file), "use another file", CheckpointError)
        if start[8:] == b"{" and int.from_bytes(start[:8], "little") < size:
            return _of_safetensors(path, file.read())
        if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":  # a zip archive, or a pickle: before torch 1.6
            return _source(path, _of_torch_save(where, path, file, start[:1] == b"P"))
    what = "a file of safetensors or torch.save"
    got = "an empty file" if not start else f"a file that begins with {bytes(start[:8])!r}"
    raise CheckpointError.event(path, f"this is not {what}, it is {got}", "it may be truncated: use another file")


def _of_safetensors(path: str, data: bytes) -> Source:
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(data)
    except (SafetensorError, ValueError, MemoryError, OverflowError) as error:
        advice = "it may be truncated: use another file"
        raise CheckpointError.event(path, "not a complete safetensors file", advice, error=error) from error
    if b'"format_version' in data[:4096] and b'"xpnet"' in data[:4096]:
        raise CheckpointError.event(path, "this is a model of xpnet, not of PyTorch", "read it with xpnet.load")
    arrays = []
    for name, entry in entries:
        shape, kind, raw = tuple(entry["shape"]), entry["dtype"], entry["data"]
        if kind not in _DTYPES and not name.endswith(_COUNTS):
            rule = "arrays of " + ", ".join(_DTYPES)
            raise CheckpointError(path, rule, array=name, dtype=kind)
        arrays.append(Found(name, shape, lambda raw=raw, kind=kind, shape=shape: _decoded(raw, kind, shape)))
    return Source(path, sorted(arrays, key=lambda found: found.name), False)


def _decoded(raw: bytearray, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    values = np.frombuffer(raw, _DTYPES[kind])
    if kind == "BF16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(shape)


def _of_torch_save(where: str, path: str, file: Any, is_zip: bool) -> Any:
    """Return what torch.save wrote; the checksum of each part of the archive is compared first."""
    torch = require(where, "torch", "torch")
    if tuple(map(int, torch.__version__.split("+")[0].split(".")[:2])) < (2, 6):
        what = "torch before 2.6 may execute code in a file"
        raise ConfigError.event(where, what, "pip install 'xpnet[torch]'", torch=torch.__version__)
    damaged, do = "the file is truncated or damaged", "copy or download it again"
    try:
        if is_zip:
            _check_archive(path, file)
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except XpnetError:
        raise
    except (zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError.event(path, damaged, do, error=error) from error
    except Exception as error:  # UnpicklingError, RuntimeError and what else damaged bytes lead to
        first = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        what = "not a state dictionary that torch reads without executing code"
        do = "in PyTorch, write torch.save(model.state_dict(), file)"
        raise CheckpointError.event(path, what, do, error=first[:200]) from error


def _check_archive(path: str, file: Any) -> None:
    with zipfile.ZipFile(file) as archive:
        size = sum(part.file_size for part in archive.infolist())
        check_expansion(path, size, disk_size(file), "use another file", CheckpointError)
        if part := archive.testzip():
            what = "the file was changed after it was written: a checksum is another"
            raise CheckpointError.event(path, what, "copy or download it again", part=part)


def _source(where: str, values: Any, argument: str = "source") -> Source:
    """Return a state dictionary's arrays; one that lies in a checkpoint beside other things is found."""
    if not isinstance(values, Mapping):
        do = "in PyTorch, write torch.save(model.state_dict(), file)"
        raise CheckpointError(where, "a state dictionary", do, value=shown(values))
    within = {k: v for k, v in values.items() if isinstance(v, Mapping) and v and all(map(_is_array, v.values()))}
    if within and not any(map(_is_array, values.values())):
        if len(within) > 1:
            what, names = "several state dictionaries", ", ".join(map(str, within))
            raise CheckpointError.event(where, what, "pass one: load_torch(model, dictionary[name])", names=names)
        values = next(iter(within.values()))
    if not values:
        raise CheckpointError(where, "a dictionary of arrays", **{argument: "an empty dictionary"})
    arrays = [_found(where, name, value) for name, value in values.items()]
    return Source(where, arrays, _is_defined_order([found.name for found in arrays]))


def _is_defined_order(names: list[str]) -> bool:
    """Whether names may be in the order of definition: a layer's together, weight first; not sorted, nor shuffled."""
    layers = [name.rpartition(".")[0] for name in names]
    places = {name: i for i, name in enumerate(names)}
    together = len({*layers}) == 1 + sum(a != b for a, b in itertools.pairwise(layers))
    turned = any(places.get(f"{layer}.weight", -1) > places.get(f"{layer}.bias", len(names)) for layer in layers)
    return together and not turned and (names != sorted(names) or len({*layers}) == 1)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _found(where: str, name: Any, value: Any) -> Found:
    if not isinstance(name, str) or not _is_array(value):
        raise CheckpointError(where, "a dictionary from name to array", name=shown(name), value=shown(value))
    value = value.data if isinstance(value, Tensor) else value
    layout = str(getattr(value, "layout", "torch.strided"))
    if not layout.endswith("strided") or getattr(value, "is_quantized", False) or getattr(value, "is_meta", False):
        kind = "quantized" if getattr(value, "is_quantized", False) else layout.rpartition(".")[2]
        kind = "without values (meta)" if getattr(value, "is_meta", False) else kind
        raise CheckpointError(where, "dense arrays with values", array=name, kind=kind)
    shape = tuple(int(n) for n in value.shape)
    pointer = getattr(value, "data_ptr", None)
    memory = (pointer(), shape, tuple(value.stride())) if pointer and 0 not in shape else None
    return Found(name, shape, lambda: _on_host(where, name, value), memory)


def _on_host(where: str, name: str, value: Any) -> np.ndarray:
    try:
        return value if isinstance(value, np.ndarray) else backend_of(value).to_numpy(value)
    except (XpnetError, TypeError, ValueError, RuntimeError) as error:  # of a dtype that NumPy does not have
        raise CheckpointError(where, "arrays of real floating numbers", array=name, dtype=value.dtype) from error
