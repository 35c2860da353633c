"""The door to every data set: by name, by folder, by file."""

from __future__ import annotations

from pathlib import Path

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

_POINTS = 4000  # of a problem in the plane; with fewer, the usual 20 epochs are too few steps for spirals
_PLANE = {"moons": moons, "circles": circles, "spirals": spirals, "xor": xor, "blobs": blobs}

DATASETS = ("digits", "mnist", "fashion-mnist", "cifar10", *_PLANE)


def load(
    name_or_path: str, data_dir: str | None = None, *, progress: Progress | None = None
) -> tuple[Dataset, Dataset]:
    """Load a data set: samples to train with and samples to test with.

    moons, circles, spirals, xor and blobs are drawn, always the same: 3,200 points in the plane and 800 to test with.

    Args:
        name_or_path: one of DATASETS, the path of a folder of images by class, or of an .npz file. A folder that bears
            the name of a data set is written "./mnist".
        data_dir: where the files of mnist, fashion-mnist and cifar10 lie; by default XPNET_DATA_DIR. What is not there
            is downloaded into the cache of the operating system.
        progress: called with (done, total): the bytes of a download, the images of a folder. By default downloads show
            a bar on standard error where that is a terminal.
    Returns:
        train, test.
    Raises:
        ConfigError: there is no data set of that name.
        DataError: the files are missing, damaged, or cannot be learned from.
    """
    name = str(name_or_path)
    if name == "digits":
        return load_digits()
    if name == "mnist":
        return load_mnist(data_dir, progress)
    if name == "fashion-mnist":
        return load_fashion_mnist(data_dir, progress)
    if name == "cifar10":
        return load_cifar10(data_dir, progress)
    if name in _PLANE:
        return _PLANE[name](_POINTS).hold_out_fifth(f"plane/{name}/test")
    path = Path(name).expanduser()
    if path.is_dir() and name:
        return load_folder(path, progress)
    if path.suffix.lower() == ".npz":
        return load_npz(path)
    if path.is_file():
        raise DataError(name, "data is a folder of images by class or an .npz file", found=f"a file {path.suffix}")
    if len(path.parts) > 1:
        raise DataError(name, "the folder or file exists", "check the path", path=path)
    raise ConfigError("data", "no such data set, folder or .npz file", nearest(name, DATASETS), data=repr(name))
