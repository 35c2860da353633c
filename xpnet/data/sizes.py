"""To which size photos are brought: decided by the headers of a sample of 1,000, or of all where there are no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xpnet.backend import cores
from xpnet.data.image import Header, read_header
from xpnet.data.photos import advised, in_threads
from xpnet.data.splits import LoadOptions
from xpnet.errors import DataError
from xpnet.random import Key, permutation

__all__ = ["choose_shape", "fitted_size", "sample_headers"]

_SAMPLED = 1000  # files
_COMMON = 256  # the largest side of images of one size that keep it
_ASPECT = 0.01  # by which aspect ratios may differ, relatively: by rounding


def sample_headers(files: Sequence[str], options: LoadOptions) -> list[tuple[str, Header]]:
    """Read the headers of a sample of files, always the same.

    Raises:
        DataError: one cannot be read, unless damaged images are skipped; or none can.
    """
    picked = np.sort(permutation(Key(0, "folder/sizes"), len(files))[:_SAMPLED])
    first: list[DataError] = []

    def look(i: int) -> Header | None:
        try:
            return read_header(Path(files[i]), options.max_pixels)
        except DataError as error:
            if not options.skip_damaged:
                raise advised(error) from error.__cause__
            first.append(error)
            return None

    found = list(in_threads(look, picked.tolist(), options.workers or cores()))
    headers: list[tuple[str, Header]] = [
        (str(files[i]), header) for i, header in zip(picked.tolist(), found, strict=True) if header is not None
    ]
    if not headers:
        raise first[0]
    return headers


def choose_shape(headers: Sequence[Header], options: LoadOptions, total: int) -> tuple[tuple[int, int, int], str]:
    """Return the shape (H, W, C) that images are brought to, and a line about their sizes.

    The size is what image_size says; else the common size, if there is one of at most 256; else the shorter side is
    the one that the model prefers. The other side keeps the aspect ratio, if all have one; else the image is square.
    """
    sizes = Counter((h.height, h.width) for h in headers)
    ratios = [w / h for h, w in sizes]
    one_ratio = max(ratios) <= (1 + _ASPECT) * min(ratios)
    height, width = _wanted(sizes, options, float(np.median(ratios)) if one_ratio else 1.0)
    channels = options.channels or (1 if all(h.gray for h in headers) else 3)
    if len(sizes) == 1:
        text = "all {} x {}".format(*next(iter(sizes)))
    else:
        low, high = min(sizes, key=lambda s: s[0] * s[1]), max(sizes, key=lambda s: s[0] * s[1])
        text = f"{low[0]} x {low[1]} to {high[0]} x {high[1]}"
    if total > _SAMPLED:
        text += f" (of {len(headers):,} of {total:,} that were looked at)"
    if sizes.keys() != {(height, width)}:
        how = {"crop": "the centre cropped", "pad": "padded with black", "stretch": "stretched"}[options.fit]
        like = all(abs(w / h * height / width - 1) <= _ASPECT + 1 / min(height, width) for h, w in sizes)
        text += f", brought to {height} x {width}" + ("" if like else f", {how}")
    return (height, width, channels), f"sizes (height x width): {text}; {'gray' if channels == 1 else 'colour'}"


def _wanted(sizes: Counter[tuple[int, int]], options: LoadOptions, ratio: float) -> tuple[int, int]:
    size = options.image_size
    if isinstance(size, tuple):
        return size
    if size is None and len(sizes) == 1 and max(next(iter(sizes))) <= _COMMON:
        return next(iter(sizes))
    return fitted_size(size or options.side, ratio)


def fitted_size(side: int, ratio: float) -> tuple[int, int]:
    """Return height and width of a ratio, width / height, whose shorter one is side."""
    return (side, max(2, round(side * ratio))) if ratio >= 1 else (max(2, round(side / ratio)), side)
