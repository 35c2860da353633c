"""Transforms of samples: normalization on the device, augmentation on the host."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.backend import Array, namespace
from xpnet.data.augmentation import Transform
from xpnet.data.dataset import Dataset
from xpnet.data.distortion import Affine, elastic, resample
from xpnet.data.lazy import Lazy, measured
from xpnet.data.scale import chunks
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Key, random_bits

__all__ = ["Augment", "Normalize"]

_STD_FLOOR = 1e-3  # times the largest deviation
_CONSTANT = 1e-6  # times the mean: in float32, smaller deviations are rounding errors


@dataclass(frozen=True)
class Normalize:
    """Normalize each channel to mean 0 and standard deviation 1.

        y = (x / white - mean) / std

    computed as x * (1 / (white * std)) + (-mean / std).

    Args:
        mean: of x / white, one number per channel, or one for all.
        std: likewise, > 0.
        white: the value of full brightness, > 0.
    Raises:
        ConfigError: mean and std differ in length or are not finite, or std or white is not above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    white: float = 255.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", _tuple_of_numbers("mean", self.mean, -math.inf))
        object.__setattr__(self, "std", _tuple_of_numbers("std", self.std, 0.0))
        object.__setattr__(self, "white", arguments.number("Normalize", "white", self.white, 0, above=True))
        if not self.mean or len(self.mean) != len(self.std):
            raise ConfigError("Normalize", "mean and std with one number per channel", mean=self.mean, std=self.std)

    @classmethod
    def of(cls, dataset: Dataset, columns: bool = False) -> Normalize:
        """Measure a training set: one mean and standard deviation per channel of images and feature of sequences, one
        of each for vectors, or with columns one per column of them.

        A standard deviation below a thousandth of the channel's largest deviation is raised to that, so no normalized
        value of the set exceeds 1000; a channel that does not vary gets 1.

        Cost: one pass over 8-bit images, two over floating data; a few MB.
        """
        arguments.instance("Normalize.of", "dataset", dataset, kind=Dataset, rule="a Dataset")
        arguments.boolean("Normalize.of", "columns", columns)
        channels = dataset.x.shape[-1] if columns or dataset.x.ndim > 2 else 1
        measure = _count_bytes if dataset.x.dtype == np.uint8 else _two_passes
        mean, variance, deviation = measure(dataset.x, channels)
        std = np.maximum(np.sqrt(variance), _STD_FLOOR * deviation)
        std = np.where(deviation <= _CONSTANT * np.abs(mean), dataset.white, std)
        white = float(dataset.white)
        return cls(tuple((mean / white).tolist()), tuple((std / white).tolist()), white)

    def __call__(self, x: Array, dtype: str = "float32") -> Array:
        """Normalize an array of any backend.

        Args:
            x: (N, H, W, C) or (N, D), uint8 or floating; not written.
            dtype: the name of the floating type to compute and return.
        Returns:
            A new array of x's shape, on its device.
        Raises:
            ShapeError: the last axis does not have the number of channels measured.
        """
        xp = namespace(x)
        if len(self.mean) not in (1, *x.shape[-1:]):
            raise ShapeError("Normalize", "C channels in the last axis", shape=tuple(x.shape), C=len(self.mean))
        return apply_affine(xp, x, getattr(xp, dtype), *self.factors(xp, x.device, dtype))

    def scaled(self, factor: float) -> Normalize:
        """Return what normalizes data that is to be multiplied by a factor first."""
        factor = arguments.number("Normalize.scaled", "factor", factor, 0, above=True)
        return self if factor == 1.0 else replace(self, white=self.white / factor)

    def factors(self, xp: Any, device: Any, dtype: str) -> tuple[Any, Any]:
        """Return the factor and the summand of the equation: numbers if all channels share them, else (C,) arrays."""
        scale = [1.0 / (self.white * s) for s in self.std]
        shift = [-m / s for m, s in zip(self.mean, self.std, strict=True)]
        if len(scale) == 1:
            return scale[0], shift[0]
        kind = getattr(xp, dtype)
        return xp.asarray(scale, dtype=kind, device=device), xp.asarray(shift, dtype=kind, device=device)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers in a form that JSON can hold."""
        return {"mean": list(self.mean), "std": list(self.std), "white": self.white}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Normalize:
        """Rebuild a Normalize from the result of to_json.

        Raises:
            ConfigError: mean, std or white is missing or not a number.
        """
        if not isinstance(values, Mapping) or not {"mean", "std", "white"} <= values.keys():
            raise ConfigError("Normalize", "an object with mean, std and white", values=arguments.shown(values))
        return cls(values["mean"], values["std"], values["white"])


def _tuple_of_numbers(name: str, values: Any, low: float) -> tuple[float, ...]:
    """Return numbers, of a list, an array or one alone, as floats."""
    each = np.ravel(np.asarray(values)).tolist() if isinstance(values, np.ndarray | numbers.Real) else values
    if not isinstance(each, list | tuple):
        raise ConfigError("Normalize", f"{name}, a number for each channel", **{name: arguments.shown(values)})
    return tuple(arguments.number("Normalize", name, v, low, above=True) for v in each)


def apply_affine(xp: Any, x: Array, dtype: Any, scale: Any, shift: Any, *, owned: bool = False) -> Array:
    """Return x * scale + shift in dtype; if x is owned and has that dtype, it is overwritten."""
    y = xp.astype(x, dtype, copy=not owned)
    y *= scale
    y += shift
    return y


def _count_bytes(x: np.ndarray | Lazy, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute mean, variance and largest deviation of each channel of 8-bit images, exactly, from histograms."""
    counts = np.zeros((channels, 256), dtype=np.int64)
    for _, part in chunks(x):
        for c in range(channels):
            values = part if channels == 1 else part[..., c]
            counts[c] += np.bincount(values.reshape(-1), minlength=256)
    values = np.arange(256.0)
    total = counts.sum(axis=1)
    mean = counts @ values / total
    deviation = values - mean[:, np.newaxis]  # (C, 256)
    variance = (counts * deviation**2).sum(axis=1) / total
    return mean, variance, np.where(counts > 0, np.abs(deviation), 0.0).max(axis=1)


def _two_passes(x: np.ndarray | Lazy, c: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute mean, variance and largest deviation of each channel of floating data, in float64."""
    x = measured(x)
    n = x.size // c
    mean = sum(part.reshape(-1, c).sum(axis=0, dtype=np.float64) for _, part in chunks(x)) / n
    squares, largest = np.zeros(c), np.zeros(c)
    for _, part in chunks(x):
        deviation = part.reshape(-1, c) - mean  # float64
        squares += np.square(deviation).sum(axis=0)
        largest = np.maximum(largest, np.abs(deviation).max(axis=0))
    return np.asarray(mean), squares / n, largest


@dataclass(frozen=True)
class Augment(Transform):
    """Augment images at random: distort, shift and mirror them. For photos, see ``augment``; ``+`` composes both.

    Each image is shifted by a whole number of pixels, uniform in -p..p for rows and for columns; the border is set to
    fill. shift and crop both do that (p = shift, or p = crop: pad by p pixels and crop to the old size); together, the
    shifts add up. Before the shift, rotate, scale, squeeze and shear apply an affine map about the centre, and elastic
    a smooth random displacement, in a single bilinear resampling. Changing one option does not change the draws of the
    others.

        Augment(shift=2, rotate=10, scale=0.1, shear=0.1, elastic=1)

    Args:
        shift: the largest shift, in pixels, >= 0.
        flip: mirror left and right with probability 1/2.
        crop: the padding, in pixels, >= 0.
        fill: the value of the background.
        rotate: the largest angle, in degrees, 0..180.
        scale: the largest relative enlargement, >= 0; 0.1 gives sizes from 1/1.1 to 1.1.
        squeeze: the largest factor of the width, the height being divided by it, or the reverse; as scale.
        shear: the largest horizontal shift, in pixels per pixel of height, >= 0.
        elastic: the standard deviation of the displacement, in pixels, >= 0; smooth over a seventh of the image.
    Raises:
        ConfigError: a number outside its range.
    Source: LeCun, Bottou, Bengio and Haffner (1998), section III.B: shifts, scaling, squeezing and shearing of digits;
        Simard, Steinkraus and Platt (2003), section 2: elastic distortions.
    """

    shift: int = 0
    flip: bool = False
    crop: int = 0
    fill: int = 0
    rotate: float = 0.0
    scale: float = 0.0
    squeeze: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0

    def __post_init__(self) -> None:
        for name in ("shift", "crop"):
            object.__setattr__(self, name, arguments.count("Augment", name, getattr(self, name), 0))
        for name in ("rotate", "scale", "squeeze", "shear", "elastic"):
            object.__setattr__(self, name, arguments.number("Augment", name, getattr(self, name), 0))
        arguments.number("Augment", "fill", self.fill, -math.inf)
        if self.rotate > 180:
            raise ConfigError("Augment", "rotate between 0 and 180 degrees", rotate=self.rotate)

    @property
    def only_moves(self) -> bool:
        """Whether images are only shifted and flipped, which a kernel can do on the device."""
        distorts = self.rotate or self.scale or self.squeeze or self.shear or self.elastic
        return not distorts and type(self).__call__ is Augment.__call__

    def __call__(self, images: np.ndarray, key: Key, row: int = 0) -> np.ndarray:
        """Augment a batch on the host.

        Args:
            images: (N, H, W, C); not written.
            key: names the draws; image i depends only on the key and row + i.
            row: how many images of the batch precede these, >= 0.
        Returns:
            A new array of the same shape and dtype.
        Raises:
            ShapeError: images do not have 4 axes.
        Cost: copies of the padded batch, of the result and of the mirrored half; distortions take about fifteen
            float32 arrays of the size of the batch, and 30 to 50 ns a pixel on one core.
        """
        if images.ndim != 4:
            raise ShapeError("Augment", "images of shape (N, H, W, C)", shape=images.shape)
        n = len(images)
        draws = random_bits(key, 5 * n, 5 * row).reshape(n, 5)
        pad = self.shift + self.crop
        down = _below(draws[:, 0], 2 * self.shift + 1) + _below(draws[:, 1], 2 * self.crop + 1)
        right = _below(draws[:, 2], 2 * self.shift + 1) + _below(draws[:, 3], 2 * self.crop + 1)
        affine = Affine(self.rotate, self.scale, self.squeeze, self.shear)
        if any(affine) or self.elastic:
            inverses = affine.inverses(key._replace(purpose=key.purpose + "/affine"), n, row)
            displacement = None
            if self.elastic:
                elastic_key = key._replace(purpose=key.purpose + "/elastic")
                displacement = elastic(elastic_key, n, images.shape[1], images.shape[2], self.elastic, row)
            out = resample(images, inverses, pad - down, pad - right, self.fill, displacement)
        elif pad:
            out = self._shift(images, pad, down, right)
        else:
            out = images.copy()
        if self.flip:
            mirrored = (draws[:, 4] >> np.uint64(63)) == 1
            out[mirrored] = out[mirrored, :, ::-1]
        return out

    def _shift(self, images: np.ndarray, pad: int, down: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Crop each image from its padded copy, down and right pixels (0..2*pad) from the top and from the left."""
        n, height, width, c = images.shape
        padded = np.full((n, height + 2 * pad, width + 2 * pad, c), self.fill, dtype=images.dtype)
        padded[:, pad : pad + height, pad : pad + width] = images
        s_image, s_row, s_column, s_value = padded.strides
        windows = np.lib.stride_tricks.as_strided(  # (N, 2*pad+1, 2*pad+1, H, W*C): a row of a window is contiguous
            padded,
            (n, 2 * pad + 1, 2 * pad + 1, height, width * c),
            (s_image, s_row, s_column, s_row, s_value),
            writeable=False,
        )
        return windows[np.arange(n), down, right].reshape(images.shape)


def _below(draws: np.ndarray, count: int) -> np.ndarray:
    """Map random 64 bits to integers 0..count-1, uniform to within count / 2**32."""
    return (((draws >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)).astype(np.int64)
