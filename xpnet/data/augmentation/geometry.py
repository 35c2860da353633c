"""Changes of where things are in an image: mirror, crop, rotate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from xpnet import arguments
from xpnet.data.augmentation.transform import Transform, floating, store
from xpnet.data.distortion import resample
from xpnet.errors import ConfigError

__all__ = ["Crop", "Mirror", "Rotate"]


@dataclass(frozen=True)
class Mirror(Transform):
    """Mirror images left and right, or upside down.

    Right for photos of most things; wrong where left and right differ, as in digits, letters and X-rays of the chest.

    Args:
        probability: of each image to be mirrored, 0..1.
        vertical: exchange top and bottom instead, as for pictures from above or through a microscope.
    Raises:
        ConfigError: the probability is outside 0..1.
    """

    probability: float = 0.5
    vertical: bool = False

    draws = 1

    def __post_init__(self) -> None:
        value = arguments.number("Mirror", "probability", self.probability, 0, 1, closed=True)
        object.__setattr__(self, "probability", value)
        arguments.boolean("Mirror", "vertical", self.vertical)

    def change(self, image: np.ndarray, u: list[float], out: np.ndarray) -> None:
        """Mirror an image where its draw is below the probability."""
        if u[0] >= self.probability:
            out[...] = image
        else:
            out[...] = image[::-1] if self.vertical else image[:, ::-1]


@dataclass(frozen=True)
class Crop(Transform):
    """Cut out a random part of each image and resize it to the whole size, bilinearly.

    With a uniform in area and r log-uniform in aspect, the part is min(H, H*sqrt(a/r)) high and min(W, W*sqrt(a*r))
    wide, at a uniform place within the image.

    Args:
        area: the smallest and the largest share of the image's area, 0 < low <= high <= 1.
        aspect: the smallest and the largest width by height of the part, relative to that of the image, 0.1..10. 1
            keeps the proportions of things.
    Raises:
        ConfigError: a number outside its range, or low above high.
    Source: Szegedy and others, "Going deeper with convolutions" (2015), section 6, with area from 0.08 and aspect
        3/4 to 4/3; there, parts that do not fit are drawn again.
    """

    area: tuple[float, float] = (0.3, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)

    draws = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", arguments.span("Crop", "area", self.area, 1e-4, 1))
        object.__setattr__(self, "aspect", arguments.span("Crop", "aspect", self.aspect, 0.1, 10))

    def change(self, image: np.ndarray, u: list[float], out: np.ndarray) -> None:
        """Cut out a part and resize it."""
        height, width, _ = image.shape
        high, wide = part_of(u[0], u[1], self.area, self.aspect, height, width)
        upper, lower, down = _between((height - high) * u[2], high, height)
        left, right, across = _between((width - wide) * u[3], wide, width)
        x = floating(image)
        rows = _interpolate(x[upper], x[lower], down[:, None, None])
        store(_interpolate(rows.take(left, axis=1), rows.take(right, axis=1), across[:, None]), out)


def part_of(
    u: float, v: float, area: tuple[float, float], aspect: tuple[float, float], height: int, width: int
) -> tuple[float, float]:
    """Return the height and width, in pixels, of a part of an image with a uniform area and a log-uniform aspect."""
    a = area[0] + (area[1] - area[0]) * u
    r = aspect[0] * (aspect[1] / aspect[0]) ** v
    return min(height, height * math.sqrt(a / r)), min(width, width * math.sqrt(a * r))


def _between(start: float, extent: float, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the pixels of a line lie that shows start..start+extent of another: two neighbours and a weight."""
    at = np.clip(start + (np.arange(size) + 0.5) * (extent / size) - 0.5, 0, size - 1)
    first = at.astype(np.intp)
    return first, np.minimum(first + 1, size - 1), (at - first).astype(np.float32)


def _interpolate(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """first + (second - first) * weight; both are overwritten."""
    second -= first
    second *= weight
    first += second
    return first


@dataclass(frozen=True)
class Rotate(Transform):
    """Rotate each image about its centre, bilinearly, by an angle uniform in -degrees..degrees.

    Args:
        degrees: the largest angle, 0..180.
        fill: the value of what comes in from outside; None: the image is continued by its reflection.
    Raises:
        ConfigError: a number outside its range.
    Cost: 30 to 50 ns a pixel on one core.
    """

    degrees: float = 10.0
    fill: float | None = None

    draws = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "degrees", arguments.number("Rotate", "degrees", self.degrees, 0))
        arguments.optional(arguments.number)("Rotate", "fill", self.fill)
        if self.degrees > 180:
            raise ConfigError("Rotate", "degrees between 0 and 180", degrees=self.degrees)

    def change(self, image: np.ndarray, u: list[float], out: np.ndarray) -> None:
        """Rotate an image."""
        angle = math.radians(self.degrees) * (2 * u[0] - 1)
        c, s = math.cos(angle), math.sin(angle)
        none = np.zeros(1)
        out[...] = resample(image[None], np.array([[[c, s], [-s, c]]]), none, none, self.fill)[0]
