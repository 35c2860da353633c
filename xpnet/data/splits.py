"""How data is loaded, and in which parts: for training, to choose the best epoch by (validation), and for testing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet import arguments
from xpnet.data.dataset import Dataset
from xpnet.data.image import FITS
from xpnet.errors import ConfigError

__all__ = ["LEAST", "LoadOptions", "Splits", "parse_bytes"]

LEAST = 5  # examples of a validation set that is held out unasked

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class Splits(NamedTuple):
    """The parts of a data set, and lines that say what was found.

    Args:
        train: to learn from.
        validation: to choose an epoch, a rate or a model by; None: there is none.
        test: looked at once, at the end; None: there is none.
        note: lines to print.
        warnings: what of it load warns of.
    """

    train: Dataset
    validation: Dataset | None = None
    test: Dataset | None = None
    note: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadOptions:
    """How data is loaded. Each option is for the kinds of data that its line names, and others do not look at it.

    Args:
        image_size: of photos: N, the shorter side, or (H, W), or a text "N" or "HxW"; by default their common size, if
            they have one of at most 256, else side.
        side: of photos without a common size: the shorter side that the model prefers.
        channels: of photos: 1 or 3; by default 1 where all are gray.
        fit: of photos of other aspect ratios: "crop" the centre, "pad" with black, or "stretch".
        target: of tables and photos with a file of labels: the name of the column to predict, or several with commas.
        task: what is learned, such as "regression"; by default it is inferred.
        columns: of tables: how they become numbers, as Columns.to_json says; by default measured on the training part.
        skip_damaged: of photos: leave those out that cannot be decoded, and count them, instead of an error. All are
            decoded once before.
        cache_images: of photos: the bytes of decoded images that may be kept in memory, or a text such as "4GB". Of an
            .npz file: the bytes of examples above which they stay in the file.
        cache_folder: of photos: where decoded images are kept on disk; None: nowhere.
        workers: of photos: threads that decode; by default one a core.
        max_pixels: of photos: as for load_image.
        share: of photos that are decoded at once: called as (fill, out), where fill(start, stop) decodes those rows of
            out; so each of several processes decodes some, and gets the others. None: fill(0, N). See
            distributed.sharing.
        whole: hold no test part out, where the data has none of its own.
        classes: of photos and .npz files: the names of the classes that are known, of which the data may have fewer.
    Raises:
        ConfigError: an option out of range.
    """

    image_size: Any = None
    side: int = 128
    channels: int | None = None
    fit: str = "crop"
    target: str | None = None
    task: str | None = None
    columns: Any = None
    skip_damaged: bool = False
    cache_images: Any = None
    cache_folder: Any = None
    workers: int | None = None
    max_pixels: int | None = None
    share: Any = None
    whole: bool = False
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where, optional = "LoadOptions", arguments.optional

        def read(check: Any, *names: str) -> None:
            for name in names:
                object.__setattr__(self, name, check(where, name, getattr(self, name)))

        read(arguments.positive, "side")
        read(optional(arguments.positive), "workers", "max_pixels")
        read(optional(arguments.text), "target", "task")
        read(optional(arguments.path), "cache_folder")
        read(arguments.boolean, "skip_damaged", "whole")
        read(lambda where, name, value: tuple(map(str, arguments.items(where, name, value))), "classes")
        read(lambda where, name, value: arguments.choice(where, name, value, FITS), "fit")
        read(lambda where, name, value: arguments.choice(where, name, value, (None, 1, 3)), "channels")
        read(_size, "image_size")
        read(_bytes, "cache_images")


def _size(where: str, name: str, value: Any) -> int | tuple[int, int] | None:
    """Read a side in pixels, or a height and a width."""
    if value is None:
        return None
    given = value
    if isinstance(value, str):
        words = re.split("[xX]", value.strip())
        given = [int(word) if word.isdecimal() and len(word) < 10 else word for word in words]
    sides = list(given) if isinstance(given, tuple | list) else [given]
    found = [arguments.as_index(side) for side in sides]
    if len(found) not in (1, 2) or any(side is None or not 2 <= side <= arguments.MOST for side in found):
        rule = f"{name} N, the shorter side, or HxW, each at least 2 pixels"
        raise ConfigError(where, rule, **{name: arguments.shown(value)})
    height, width = found[0] or 0, found[-1] or 0
    return (height, width) if len(found) == 2 else height


def parse_bytes(text: str) -> int | None:
    """Read a size such as 4GB, 500MB or 1000; None where it is none, or over 1000 TB."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?) ?([KMGT]?)(?:i?B)?", text, re.IGNORECASE | re.ASCII)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    return size if 0 < size <= 10**15 else None


def _bytes(where: str, name: str, value: Any) -> int | None:
    """Return a number of bytes, of one or of a text."""
    if not isinstance(value, str):
        return arguments.optional(arguments.natural)(where, name, value)
    if (size := parse_bytes(value.strip())) is None:
        raise ConfigError(where, f'{name}, bytes, or a text such as "4GB"', **{name: arguments.shown(value)})
    return size
