"""load: every data set by its name, or by the path of a folder or file."""

from __future__ import annotations

import os
from pathlib import Path

from xpnet import arguments
from xpnet.data.cifar10 import load_cifar10
from xpnet.data.dataset import Dataset
from xpnet.data.digits import load_digits
from xpnet.data.download import Progress
from xpnet.data.folder import load_folder
from xpnet.data.idx import load_fashion_mnist, load_mnist
from xpnet.data.npz import load_npz
from xpnet.data.plane import blobs, circles, moons, spirals, xor
from xpnet.errors import ConfigError, DataError, nearest

__all__ = ["DATASETS", "load"]

_POINTS = 4000  # of a problem in the plane; with fewer, the default 20 epochs are too few steps for spirals
_PLANE = {"moons": moons, "circles": circles, "spirals": spirals, "xor": xor, "blobs": blobs}
_PUBLISHED = {"mnist": load_mnist, "fashion-mnist": load_fashion_mnist, "cifar10": load_cifar10}

DATASETS = ("digits", *_PUBLISHED, *_PLANE)


def load(
    name_or_path: str,
    data_dir: str | None = None,
    *,
    progress: Progress | None = None,
    max_pixels: int | None = None,
) -> tuple[Dataset, Dataset]:
    """Load a data set as a training set and a test set.

    moons, circles, spirals, xor and blobs are generated, always the same: 3,200 training and 800 test points.

    Args:
        name_or_path: one of DATASETS, or the path of a folder of images by class or of an .npz file. To load a folder
            that has the name of a data set, write "./mnist".
        data_dir: the folder with the files of mnist, fashion-mnist and cifar10; by default XPNET_DATA_DIR. Missing sets
            are downloaded into the user's cache folder.
        progress: called with (done, total): bytes of a download, images of a folder. By default a download shows a bar
            on standard error, if that is a terminal.
        max_pixels: the largest image of a folder, as for load_image.
    Returns:
        train, test.
    Raises:
        ConfigError: no data set has that name.
        DataError: the files are missing, damaged, or cannot be learned from.
    """
    is_name = isinstance(name_or_path, str)  # a path would lose the "./" of "./mnist"
    name = name_or_path if is_name else str(arguments.path("load", "name_or_path", name_or_path))
    arguments.optional(arguments.path)("load", "data_dir", data_dir)
    arguments.optional(arguments.function)("load", "progress", progress)
    arguments.optional(arguments.count)("load", "max_pixels", max_pixels)
    if name == "digits":
        return load_digits()
    if name in _PUBLISHED:
        return _PUBLISHED[name](data_dir, progress)
    if name in _PLANE:
        return _PLANE[name](_POINTS).hold_out_fifth(f"plane/{name}/test")
    path = Path(os.path.expanduser(name))
    try:
        if name and os.path.isdir(path):
            return load_folder(path, progress, max_pixels)
        if path.suffix.lower() == ".npz":
            return load_npz(path)
    except MemoryError as error:
        raise DataError.event(name, "the data set does not fit in memory", error=error or "MemoryError") from error
    if name and os.path.lexists(path):
        raise DataError(name, "a folder of images by class or an .npz file", suffix=path.suffix or "none")
    if len(path.parts) > 1 or name.endswith("/"):
        raise DataError.event(name, "no such folder or file", "check the path")
    raise ConfigError("data", "a data set, folder or .npz file", nearest(name, DATASETS), data=repr(name))
