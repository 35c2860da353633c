"""Data sets in NumPy's .npz archives: zip files of arrays, each checked by its header before it is read."""

from __future__ import annotations

import ast
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import numpy as np

from xpnet.data import several
from xpnet.data.dataset import Dataset, from_arrays
from xpnet.data.lazy import Lazy
from xpnet.data.opening import check_expansion, disk_size, open_file
from xpnet.data.splits import LoadOptions
from xpnet.data.stored_rows import LARGE, StoredRows
from xpnet.errors import DataError

__all__ = ["load_inputs", "load_npz"]

_SPLIT_KEYS = ("x_train", "y_train", "x_test", "y_test")
_WHOLE_KEYS = (("x", "y"), ("images", "labels"))
_TEXTS = ("classes", "y", "labels", "y_train", "y_test")  # arrays that may hold words
_MOST_HEADER = 10_000  # bytes; NumPy writes 118
_CHUNK = 1 << 20


def load_npz(path: Path, options: LoadOptions | None = None) -> tuple[Dataset, None, Dataset | None]:
    """Load a data set from an .npz file.

    It holds x_train, y_train, x_test and y_test; or x and y (or images and labels), of which a random fifth, of each
    class alike and always the same, becomes the test set; and optionally classes, the names of the classes or of the
    targets. Samples, labels and targets are as in from_arrays. For reconstruction, there may be no y. In the place of x
    there may be x_NAME, several inputs by name, and x_train_NAME and x_test_NAME in that of x_train and x_test.

    An array of examples that takes more than 768 MB, or options.cache_images, stays in the file, where it is stored
    there as numpy.savez does: the set's x is a Lazy, read batch by batch. The scale is then measured on a sample, and
    the archive's checksum not compared. A compressed one is read into memory, and so is what reconstruction learns.

    Args:
        path: the file; it is read without pickle. Other arrays in it are not read.
        options: task, what is learned: integers (N,) are labels, unless it is regression; whole, classes, cache_images.
    Returns:
        train, None and test, or None with whole.
    Raises:
        DataError: the file is missing, damaged or of another format, an array is missing, encrypted, twice in it or
            holds objects, an array is far larger than its compressed bytes support, or as for from_arrays.
    """
    where, options = str(path), options or LoadOptions()
    task = options.task
    no_labels = task == "reconstruction"
    with open_file(path) as file:
        members = _members(file, where)
        every = (_SPLIT_KEYS, *_WHOLE_KEYS)
        keys: Any = next((keys for keys in every if all(key in members for key in keys[:: 1 + no_labels])), None)
        keys = keys or _several_keys(members)
        if keys is None:
            rule = "the arrays x_train, y_train, x_test and y_test, or x and y, or images and labels"
            do = "learn x itself with task=reconstruction" if {"x", "x_train"} & set(members) else ""
            raise DataError(where, rule, do, arrays=", ".join(list(members)[:20]) or "none")
        with zipfile.ZipFile(file) as archive:
            most = LARGE if options.cache_images is None else options.cache_images

            def read(key: str) -> Any:
                found = None if no_labels else _large(path, archive, members[key], key, most)
                return _read(archive, members[key], key, where) if found is None else found

            x: list[Any] = [
                {name: read(k) for name, k in key.items()} if isinstance(key, dict) else read(key) for key in keys[::2]
            ]
            y = [None if no_labels else _targets(_read(archive, members[key], key, where)) for key in keys[1::2]]
            names = _names(_read(archive, members["classes"], "classes", where)) if "classes" in members else None
    if task == "multilabel":
        _check_labels(where, dict(zip(keys[1::2], y, strict=True)))
    labelled = None if task != "regression" else False
    if names is None and labelled is None and options.classes and all(map(_are_labels, y)):
        names = list(options.classes)
    if len(x) == 1:
        data = from_arrays(x[0], y[0], names, where, labelled=labelled)
        train, test = (data, None) if options.whole else data.hold_out_fifth("npz/test", stratified=True)
        return train, None, test
    if names is None and labelled is None and all(a is not None and a.dtype.kind in "bui" and a.ndim == 1 for a in y):
        known = np.concatenate(y)  # type: ignore[arg-type]
        names = from_arrays(np.zeros((len(known), 1)), known, name=where).classes if len(known) else None
    if names is None and all(a is not None and a.dtype.kind == "U" for a in y):
        names = np.unique(np.concatenate(y)).tolist()  # type: ignore[arg-type]
    train = from_arrays(x[0], y[0], names, where, labelled=labelled)
    name, is_one = f"{where} (x_test)", not several.is_several(train.x)
    like = {"white": train.white, "images": train.x.ndim == 4} if is_one else {}
    test = replace(from_arrays(x[1], y[1], names, name, labelled=labelled, **like), white=train.white)
    kinds = [f"{part.shape} {', '.join(str(a.dtype) for a in several.each(part.x))}" for part in (train, test)]
    if kinds[0] != kinds[1]:
        raise DataError(where, "x_train and x_test of the same kind", x_train=kinds[0], x_test=kinds[1])
    return replace(train, classes=test.classes), None, test


def load_inputs(path: Path) -> Any:
    """Read x (or images) of an .npz file, or x_NAME in a dictionary: examples without targets.

    Raises:
        DataError: as load_npz.
    """
    where = str(path)
    with open_file(path) as file:
        members = _members(file, where)
        key = next((key for key in ("x", "images") if key in members), None)
        names = {k[2:]: k for k in members if k.startswith("x_") and len(k) > 2 and k not in _SPLIT_KEYS}
        if key is None and not names:
            raise DataError(where, "an array x, or images", arrays=", ".join(list(members)[:20]) or "none")
        with zipfile.ZipFile(file) as archive:
            if key is not None:
                return _read(archive, members[key], key, where)
            return {name: _read(archive, members[k], k, where) for name, k in names.items()}


def _check_labels(where: str, targets: Mapping[str, Any]) -> None:
    """Raise DataError, with the place in the file, where labels of several an example are neither 0 nor 1."""
    for key, y in targets.items():
        if y is not None and y.ndim == 2 and y.dtype.kind in "buif":
            wrong = np.argwhere((y != 0) & (y != 1))
            if len(wrong):
                sample, label = map(int, wrong[0])
                got = {"array": key, "value": f"{y[sample, label]:g}", "sample": sample, "label": label}
                raise DataError(where, "targets of 0 and 1", **got)


def _several_keys(members: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Return the names of arrays x_NAME, a dictionary by NAME, and those of their targets."""
    train, test = ({k.removeprefix(p): k for k in members if k.startswith(p)} for p in ("x_train_", "x_test_"))
    if train and train.keys() == test.keys() and {"y_train", "y_test"} <= members.keys():
        return train, "y_train", {name: test[name] for name in train}, "y_test"
    found = {k[2:]: k for k in members if k.startswith("x_") and len(k) > 2 and k not in _SPLIT_KEYS}
    return (found, "y") if found and "y" in members and not train and not test else None


def _damaged(where: str, problem: object, array: str = "") -> DataError:
    do, named = "it is damaged or of another format", {"array": array} if array else {}
    return DataError.event(where, "cannot read the .npz file", do, **named, error=str(problem).replace("\n", " "))


def _members(file: BufferedReader, where: str) -> dict[str, zipfile.ZipInfo]:
    """Read the names of the arrays, without .npy, and where they are."""
    if file.peek(6)[:6] == b"\x93NUMPY":
        raise DataError(where, "an .npz archive", "write it with numpy.savez", file="a single .npy array")
    members: dict[str, zipfile.ZipInfo] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with zipfile.ZipFile(file) as archive:
                found = archive.infolist()
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError, OverflowError, EOFError) as error:
        raise _damaged(where, error) from error
    for member in found:
        name = member.filename.removesuffix(".npy")
        if name in members:
            raise DataError(where, "each array once", "write it with numpy.savez", twice=ascii(name))
        members[name] = member
    return members


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, where: str) -> np.ndarray:
    """Read one array after its header was checked against the bytes that are there."""
    if member.flag_bits & 1:
        raise DataError(where, "arrays that are not encrypted", "write it with numpy.savez", array=name)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        rule, do = "arrays that are stored or deflated", "write it with numpy.savez"
        raise DataError(where, rule, do, array=name, method=member.compress_type)
    try:
        with archive.open(member) as source:
            shape, dtype, fortran, start = _header(source, name, where)
            count = math.prod(shape)
            size = count * dtype.itemsize
            if size != member.file_size - start:
                raise DataError(where, f"{size} bytes in {name}", shape=shape, bytes=member.file_size - start)
            file: Any = archive.fp
            stored = min(member.compress_size, disk_size(file))
            kept = count * (1 if dtype == np.uint8 and len(shape) > 2 else max(4, dtype.itemsize))  # bytes in memory
            check_expansion(f"{where}: {name}", kept, stored, "write it with numpy.savez, not compressed")
            array = np.empty(count, dtype)
            out = array.view(np.uint8) if count else array
            for begin in range(0, size, _CHUNK):
                part = source.read(min(_CHUNK, size - begin))
                out[begin : begin + len(part)] = np.frombuffer(part, np.uint8)
                if len(part) < min(_CHUNK, size - begin):
                    raise EOFError("the array ends early")
            source.read(1)  # at the end the archive's checksum is compared
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise _damaged(where, error, name) from error
    return array.reshape(shape, order="F" if fortran else "C")


def _large(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, most: int) -> Lazy | None:
    """Return an array of more than so many bytes as examples in the file; None where it is smaller, or not plain."""
    size = member.file_size
    if size <= most or member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        return None
    file: Any = archive.fp
    try:
        with archive.open(member) as source:
            shape, dtype, fortran, start = _header(source, name, str(path))
        file.seek(member.header_offset)
        local = file.read(30)  # of the zip format: the lengths of name and extra field are its last two numbers
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError):
        return None  # which _read says
    if fortran or not 2 <= len(shape) <= 4 or math.prod(shape) * dtype.itemsize != size - start or len(local) < 30:
        return None
    begin = member.header_offset + 30 + sum(struct.unpack("<HH", local[26:30])) + start
    return StoredRows(path, begin, shape, dtype).lazy()


def _header(source: IO[bytes], name: str, where: str) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    """Read an array's shape, dtype, whether it is in Fortran order, and the length of the header."""
    first = source.read(8)
    width = 2 if first[6:7] == b"\1" else 4
    length = int.from_bytes(source.read(width), "little")
    if first[:6] != b"\x93NUMPY" or first[6:7] not in (b"\1", b"\2", b"\3") or length > _MOST_HEADER:
        raise _damaged(where, "the header is not that of an array", name)
    try:
        fields = ast.literal_eval(source.read(length).decode("utf-8").strip())
        descr, fortran, shape = (fields[key] for key in ("descr", "fortran_order", "shape"))
        dtype = np.dtype(descr if isinstance(descr, str) else "V")
        sound = type(shape) is tuple and all(type(n) is int and 0 <= n < 1 << 60 for n in shape)
        if not sound or type(fortran) is not bool or dtype.subdtype or len(fields) != 3 or len(shape) > 32:
            raise ValueError("the header is not that of an array")
    except (ValueError, TypeError, SyntaxError, KeyError, MemoryError, RecursionError) as error:
        raise _damaged(where, error, name) from error
    if dtype.kind not in "buif" and not (name in _TEXTS and dtype.kind in "US"):
        rule = "arrays of numbers, not of Python objects" if dtype.hasobject else "arrays of real numbers"
        raise DataError(where, rule, "convert it before numpy.savez", array=name, dtype=descr)
    return shape, dtype, fortran, 8 + width + length


def _names(classes: np.ndarray) -> list[str]:
    if classes.dtype.kind == "S":
        return [bytes(name).decode("utf-8", "surrogateescape") for name in classes.ravel()]
    return [str(name) for name in classes.ravel()]


def _are_labels(y: np.ndarray | None) -> bool:
    return y is not None and y.ndim == 1 and y.dtype.kind in "buiU"


def _targets(y: np.ndarray) -> np.ndarray:
    """Return labels that are words as text, and all else as it is."""
    return np.asarray(_names(y)).reshape(y.shape) if y.dtype.kind in "US" else y
