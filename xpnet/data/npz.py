"""Data sets in NumPy's .npz archives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.dataset import Dataset, from_arrays
from xpnet.errors import DataError

__all__ = ["load_npz"]

_SPLIT_KEYS = ("x_train", "y_train", "x_test", "y_test")
_WHOLE_KEYS = (("x", "y"), ("images", "labels"))


def load_npz(path: Path) -> tuple[Dataset, Dataset]:
    """Load a data set from an .npz file.

    It holds x_train, y_train, x_test and y_test; or x and y (or images and labels), of which a random fifth, always the
    same, is the test set; and classes, the names, if it likes. from_arrays says what samples and labels may be.

    Args:
        path: the file; nothing in it is ever unpickled.
    Returns:
        train, test.
    Raises:
        DataError: the file is missing, damaged or of another format, an array is missing or holds objects, or a
            Dataset refuses it.
    """
    arrays = _read(path)
    names = [str(c) for c in np.ravel(arrays["classes"])] if "classes" in arrays else None
    if all(key in arrays for key in _SPLIT_KEYS):
        x_train, y_train, x_test, y_test = (arrays[key] for key in _SPLIT_KEYS)
        train = from_arrays(x_train, y_train, names, f"{path} (x_train)")
        if not names:
            names = _enough(train.classes, y_test)
        parts = [
            from_arrays(x_train, y_train, names, str(path)),
            from_arrays(x_test, y_test, names, f"{path} (x_test)"),
        ]
        if parts[0].shape != parts[1].shape or parts[0].x.dtype != parts[1].x.dtype:
            raise DataError(
                str(path), "x_train and x_test are alike",
                x_train=f"{parts[0].shape} {parts[0].x.dtype}", x_test=f"{parts[1].shape} {parts[1].x.dtype}",
            )  # fmt: skip
        return parts[0], parts[1]
    for x, y in _WHOLE_KEYS:
        if x in arrays and y in arrays:
            return from_arrays(arrays[x], arrays[y], names, str(path)).hold_out_fifth("npz/test")
    raise DataError(
        str(path), "the file holds x_train, y_train, x_test, y_test, or x and y, or images and labels",
        found=", ".join(arrays) or "nothing",
    )  # fmt: skip


def _enough(classes: tuple[str, ...], y_test: np.ndarray) -> list[str]:
    """Names for every label that occurs, where none are given: the test set may hold a class of its own."""
    most = int(y_test.max()) + 1 if y_test.size and y_test.dtype.kind in "bui" else 0
    return list(classes) + [str(k) for k in range(len(classes), min(most, 1_000_000))]


def _read(path: Path) -> dict[str, Any]:
    import zipfile
    import zlib

    key = ""
    try:
        with path.open("rb") as handle:  # np.load leaves a file of its own open when it is damaged
            file = np.load(handle, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise DataError(
                    str(path), "the file is an .npz archive", "write it with numpy.savez", found="one .npy array"
                )
            arrays = {}
            for key in file.files:
                arrays[key] = file[key]
            return arrays
    except FileNotFoundError as error:
        raise DataError(str(path), "the file exists", problem=error.strerror) from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        if "allow_pickle" not in str(error) or not key:
            raise _damaged(path, error) from error
        raise DataError(
            str(path), "arrays hold numbers, not Python objects", "convert it before numpy.savez", array=key
        ) from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, NotImplementedError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(str(path), "the .npz file can be read", "it is damaged or another format", problem=error)
