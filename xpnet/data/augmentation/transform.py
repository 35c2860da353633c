"""A random change of images, and several in a row."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.backend import cores
from xpnet.data.part import Part
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Key, random_bits

__all__ = ["Augmentation", "Compose", "Transform", "augmented"]

Augmentation = Callable[[np.ndarray, Key], np.ndarray]  # (images (N, H, W, C), key) -> images of that shape and dtype

_LEAST = 1 << 17  # numbers of a batch that are worth a thread


class Transform:
    """A random change of a batch of images. ``a + b`` applies a, then b.

    A subclass says how many random numbers an image takes, and changes one image:

        class Darken(data.Transform):
            draws = 1

            def change(self, image, u, out):
                out[...] = image * (1 - 0.5 * u[0])

    Image i of a batch gets the numbers draws*i ... of the key's stream, so its result depends only on the key, on i and
    on the image, also where a call gets only some images of a batch. The purpose of the key is extended by the name of
    the class: composing changes no draws.
    """

    draws = 0
    only_moves = False  # whether a kernel can do it on the device

    def __call__(self, images: np.ndarray, key: Key, row: int = 0) -> np.ndarray:
        """Change a batch on the host, in as many threads as there are cores if the batch is large.

        Args:
            images: (N, H, W, C), uint8 or floating; not written.
            key: names the draws.
            row: how many images of the batch precede these, >= 0.
        Returns:
            A new array of the same shape and dtype.
        Raises:
            ShapeError: images do not have 4 axes.
        """
        name = type(self).__name__
        if not isinstance(images, np.ndarray) or images.ndim != 4:
            raise ShapeError(name, "images of shape (N, H, W, C)", images=getattr(images, "shape", type(images)))
        if not isinstance(key, Key):
            raise ConfigError(name, "a Key", "write random.Key(seed, purpose)", key=arguments.shown(key))
        n, out = len(images), np.empty(images.shape, images.dtype)
        bits = random_bits(key._replace(purpose=f"{key.purpose}/{name.lower()}"), self.draws * n, self.draws * row)
        units = ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(n, self.draws)  # [0, 1)

        def change_some(start: int, stop: int) -> None:
            for i in range(start, stop):
                self.change(images[i], units[i].tolist(), out[i])

        # not backend.split, which holds BLAS to one thread: the products of the step that runs meanwhile would differ
        parts = max(1, min(cores(), n, images.size // _LEAST))
        if parts == 1:
            change_some(0, n)
        else:
            limits = [i * n // parts for i in range(parts + 1)]
            with ThreadPoolExecutor(parts) as pool:
                list(pool.map(change_some, limits[:-1], limits[1:]))
        return out

    def change(self, image: np.ndarray, u: list[float], out: np.ndarray) -> None:
        """Change one image.

        Args:
            image: (H, W, C); not written.
            u: the image's random numbers, uniform in [0, 1), as many as ``draws`` says.
            out: like image, to be filled.
        """
        out[...] = image

    def __add__(self, other: Augmentation) -> Compose:
        return Compose(self, other)


class Compose(Transform):
    """Apply transforms one after the other. If a class occurs again, its draws are independent of the first one's.

    Args:
        transforms: each a Transform, or a function of (images, key) that returns images of the same shape and dtype.
    Raises:
        ConfigError: one of them cannot be called.
    """

    def __init__(self, *transforms: Augmentation) -> None:
        flat: list[Any] = []
        for i, each in enumerate(transforms):
            arguments.function("Compose", f"transforms[{i}]", each)
            flat += each.transforms if isinstance(each, Compose) else [each]
        self.transforms = tuple(flat)

    def __call__(self, images: np.ndarray, key: Key, row: int = 0) -> np.ndarray:
        """Change a batch; arguments and errors as those of a Transform. Functions that take no row get none."""
        if not self.transforms:
            return super().__call__(images, key, row)
        counts: dict[type, int] = {}
        for each in self.transforms:
            call = counts[type(each)] = counts.get(type(each), -1) + 1
            images = _changed(each, images, key._replace(call=key.call + call) if call else key, row)
        return images

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Compose) and self.transforms == other.transforms

    def __hash__(self) -> int:
        return hash(self.transforms)

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.transforms)) or "Compose()"


def takes_row(augment: Augmentation) -> bool:
    """Whether an augmentation takes ``row``: then an image gets the draws of its place in the batch."""
    if isinstance(augment, Compose):
        return all(map(takes_row, augment.transforms))
    try:
        return "row" in inspect.signature(augment).parameters
    except (TypeError, ValueError):  # of a function in C
        return False


def augmented(augment: Augmentation, images: np.ndarray, key: Key, part: Part, n: int) -> np.ndarray:
    """Augment the images of a part of a batch as the whole batch would be.

    A function that takes no row cannot know where in the batch its images are. It is given each virtual shard by
    itself, with a key whose purpose ends in the shard's number: so its results do not depend on who has which shards.

    Args:
        augment: takes images and a key.
        images: those of the part, (M, H, W, C); there may be none.
        key: names the draws of the whole batch.
        part: says which images of the batch these are.
        n: how many the whole batch has.
    """
    first, stop = part.rows(n)
    if first == stop:
        return images.copy()
    if part.shards == 1 or takes_row(augment):
        return _changed(augment, images, key, first)
    found = []
    for shard in range(part.first, part.stop):
        start, end = Part(part.shards, shard, shard + 1).rows(n)
        if start < end:
            its_key = key._replace(purpose=f"{key.purpose}/{shard}")
            found.append(augment(images[start - first : end - first], its_key))
    return np.concatenate(found)


def _changed(augment: Augmentation, images: np.ndarray, key: Key, row: int) -> np.ndarray:
    return augment(images, key, row) if row and takes_row(augment) else augment(images, key)  # type: ignore[call-arg]


def store(values: np.ndarray, out: np.ndarray) -> None:
    """Write floating values, which are overwritten, to an image; bytes are rounded and limited to 0..255."""
    if out.dtype == np.uint8:
        np.rint(values, out=values)
        np.clip(values, 0, 255, out=values)
    out[...] = values


def floating(image: np.ndarray) -> np.ndarray:
    """Copy an image to float32, or float64 if it has that."""
    return image.astype(np.float64 if image.dtype == np.float64 else np.float32)
