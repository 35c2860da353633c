"""Data sets, and their way to the device in batches."""

from xpnet.data.arrays import host
from xpnet.data.augmentation import (
    AUGMENTATIONS,
    Augmentation,
    Colour,
    Compose,
    Crop,
    Erase,
    Mirror,
    Rotate,
    Transform,
    augment,
)
from xpnet.data.columns import Columns
from xpnet.data.dataset import Dataset, from_arrays
from xpnet.data.feed import Feed
from xpnet.data.image import load_image
from xpnet.data.lazy import Lazy
from xpnet.data.loading import DATASETS, load, splits
from xpnet.data.plane import blobs, circles, moons, spirals, xor
from xpnet.data.scale import Scale
from xpnet.data.splits import LoadOptions, Splits
from xpnet.data.table import Table, read_table
from xpnet.data.transforms import Augment, Normalize

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Augment",
    "Augmentation",
    "Colour",
    "Columns",
    "Compose",
    "Crop",
    "Dataset",
    "Erase",
    "Feed",
    "Lazy",
    "LoadOptions",
    "Mirror",
    "Normalize",
    "Rotate",
    "Scale",
    "Splits",
    "Table",
    "Transform",
    "augment",
    "blobs",
    "circles",
    "from_arrays",
    "host",
    "load",
    "load_image",
    "moons",
    "read_table",
    "spirals",
    "splits",
    "xor",
]
