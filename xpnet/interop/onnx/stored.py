"""The arrays that a file stores: initializers and constants, in it or in files beside it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.opening import open_file
from xpnet.errors import DataError, DTypeError

__all__ = ["DTYPES", "Stored", "dtype_of"]

DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
_FIELDS = {
    1: "float_data", 11: "double_data", 7: "int64_data", 12: "uint64_data", 13: "uint64_data",
    **dict.fromkeys((2, 3, 4, 5, 6, 9, 10), "int32_data"),
}  # fmt: skip
_NAMES = {8: "string", 14: "complex64", 15: "complex128", 16: "bfloat16", 0: "undefined"}
_MOST_AXES = 32


def dtype_of(where: str, code: int) -> np.dtype[Any]:
    """Return NumPy's dtype of an element type of ONNX.

    Raises:
        DTypeError: there is none, or it is not read.
    """
    if code not in DTYPES:
        raise DTypeError(where, "elements of " + ", ".join(DTYPES.values()), dtype=_NAMES.get(code, code))
    return np.dtype(DTYPES[code])


class Stored:
    """Reads the arrays of one file.

    Args:
        path: the file; arrays that it keeps elsewhere must be in its folder.
        size: its bytes.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size  # of the file, and of those beside it that were read
        self._external: dict[Path, int] = {}  # bytes read of each
        self._folder = path.parent.resolve()

    def array(self, tensor: Any, what: str) -> np.ndarray:
        """Return a tensor's elements.

        Args:
            tensor: a TensorProto.
            what: it is called in messages.
        Raises:
            DTypeError: an element type that is not read. DataError: the sizes are no sizes, or other bytes are stored
                than they need; or they are stored outside of the file's folder.
        """
        where = f"{self.path}: {what}"
        dtype, shape = dtype_of(where, tensor.data_type), tuple(tensor.dims)
        if len(shape) > _MOST_AXES or any(n < 0 for n in shape):
            raise DataError(where, "sizes that are not negative", dims=shape[: _MOST_AXES + 1])
        if tensor.HasField("segment"):
            raise DataError(where, "a tensor in one piece", segment="given")
        count = math.prod(shape)
        if tensor.data_location == 1:
            data = self._read(where, tensor, count * dtype.itemsize)
        elif tensor.HasField("raw_data"):
            data = tensor.raw_data
        else:
            return self._typed(where, tensor, dtype, shape)
        if len(data) != count * dtype.itemsize:
            self._wrong(where, shape, len(data), count * dtype.itemsize)
        array = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape)
        if dtype == np.bool_ and np.any(array.view(np.uint8) > 1):
            raise DataError(where, "truth values that are 0 or 1", dtype="bool")
        return array.astype(dtype, copy=False)

    def _typed(self, where: str, tensor: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
        values = getattr(tensor, _FIELDS[tensor.data_type])
        count = math.prod(shape)
        if len(values) != count:
            self._wrong(where, shape, len(values) * dtype.itemsize, count * dtype.itemsize)
        found = np.array(values, np.int64 if dtype.kind in "ib" else np.uint64 if dtype.kind == "u" else np.float64)
        if tensor.data_type == 10:  # the bits of float16 numbers
            bits = np.array(values, np.int64)
            if count and not 0 <= bits.min() <= bits.max() < 1 << 16:
                raise DataError(where, "16 bits of each float16", dtype="float16")
            return bits.astype(np.uint16).view(np.float16).reshape(shape)
        if (
            dtype.kind in "iu"
            and count
            and not np.iinfo(dtype).min <= found.min() <= found.max() <= np.iinfo(dtype).max
        ):
            raise DataError(where, f"numbers of {dtype}", largest=int(found.max()), smallest=int(found.min()))
        return found.astype(dtype).reshape(shape)

    @staticmethod
    def _wrong(where: str, shape: tuple[int, ...], there: int, wanted: int) -> None:
        what = "the file holds other bytes than the array needs"
        raise DataError.event(where, what, dims=shape, bytes=f"{there:,}", needed=f"{wanted:,}")

    def _read(self, where: str, tensor: Any, nbytes: int) -> bytes:
        """Read an array that is kept in a file beside this one."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        rule = "external data in a file of the model's own folder"
        parts = location.replace("\\", "/").split("/")
        if not location or "\0" in location or ".." in parts or not parts[0] or ":" in parts[0]:
            raise DataError(where, rule, location=repr(location))
        path = (self._folder / location).resolve()
        if not path.is_relative_to(self._folder) or path == self._folder:
            raise DataError(where, rule, location=repr(location))
        offset, length = (self._number(where, entries, key) for key in ("offset", "length"))
        if length is not None and length != nbytes:
            self._wrong(where, tuple(tensor.dims), length, nbytes)
        with open_file(path, "file of external data") as file:
            size = os.fstat(file.fileno()).st_size
            if (offset or 0) + nbytes > size:
                self._wrong(where, tuple(tensor.dims), max(0, size - (offset or 0)), nbytes)
            if path not in self._external:
                self.size += size
            self._external[path] = self._external.get(path, 0) + nbytes
            if self._external[path] > 2 * size + (1 << 20):
                raise DataError(where, "arrays that do not share the bytes of a file", location=repr(location))
            file.seek(offset or 0)
            data = file.read(nbytes)
        if len(data) != nbytes:
            self._wrong(where, tuple(tensor.dims), len(data), nbytes)
        return data

    @staticmethod
    def _number(where: str, entries: dict[str, str], key: str) -> int | None:
        text = entries.get(key)
        if text is None:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise DataError(where, f"{key} of external data, a whole number", **{key: repr(text)})
        return int(text)
