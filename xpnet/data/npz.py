"""Data sets in NumPy's .npz archives."""

from __future__ import annotations

from dataclasses import replace
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
    same, becomes the test set; and optionally classes, the names. Samples and labels are as in from_arrays.

    Args:
        path: the file; it is read without pickle.
    Returns:
        train, test.
    Raises:
        DataError: the file is missing, damaged or of another format, an array is missing or holds objects, or as for
            from_arrays.
    """
    arrays = _read(path)
    names = [str(c) for c in np.ravel(arrays["classes"])] if "classes" in arrays else None
    if all(key in arrays for key in _SPLIT_KEYS):
        x_train, y_train, x_test, y_test = (arrays[key] for key in _SPLIT_KEYS)
        train = from_arrays(x_train, y_train, names, str(path))
        test = from_arrays(x_test, y_test, names or _all_classes(train.classes, y_test), f"{path} (x_test)")
        kinds = [f"{part.shape} {part.x.dtype}" for part in (train, test)]
        if kinds[0] != kinds[1]:
            raise DataError(str(path), "x_train and x_test of the same kind", x_train=kinds[0], x_test=kinds[1])
        return replace(train, classes=test.classes), test
    for x, y in _WHOLE_KEYS:
        if x in arrays and y in arrays:
            return from_arrays(arrays[x], arrays[y], names, str(path)).hold_out_fifth("npz/test")
    rule = "the arrays x_train, y_train, x_test and y_test, or x and y, or images and labels"
    raise DataError(str(path), rule, arrays=", ".join(arrays) or "none")


def _all_classes(classes: tuple[str, ...], y_test: np.ndarray) -> list[str]:
    """Extend the names found in the training labels to those that only the test labels have."""
    most = int(y_test.max()) + 1 if y_test.size and y_test.dtype.kind in "bui" else 0
    return list(classes) + [str(k) for k in range(len(classes), min(most, 1_000_000))]


def _read(path: Path) -> dict[str, Any]:
    import zipfile
    import zlib

    key = ""
    try:
        with path.open("rb") as handle:  # np.load would leave a damaged file open
            file = np.load(handle, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise DataError(str(path), "an .npz archive", "write it with numpy.savez", file="a single .npy array")
            arrays = {}
            for key in file.files:
                arrays[key] = file[key]
            return arrays
    except FileNotFoundError as error:
        raise DataError.event(str(path), "no such file") from error
    except DataError:
        raise
    except (ValueError, zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, NotImplementedError) as error:
        if key and "allow_pickle" in str(error):
            do = "convert it before numpy.savez"
            raise DataError(str(path), "arrays of numbers, not of Python objects", do, array=key) from error
        do = "it is damaged or of another format"
        raise DataError.event(str(path), "cannot read the .npz file", do, error=error) from error
