"""Random erasing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpnet import arguments
from xpnet.data.augmentation.geometry import part_of
from xpnet.data.augmentation.transform import Transform

__all__ = ["Erase"]


@dataclass(frozen=True)
class Erase(Transform):
    """Cover a random rectangle of some images, so that a network cannot rely on one part of a thing.

    Args:
        probability: of each image, 0..1.
        area: the smallest and the largest share of the image's area, 0 < low <= high <= 1.
        aspect: the smallest and the largest width by height of the rectangle, relative to that of the image, 0.1..10;
            drawn log-uniformly.
        fill: the value of the rectangle; None: the image's mean colour.
    Raises:
        ConfigError: a number outside its range, or low above high.
    Source: Zhong and others, "Random erasing data augmentation" (2020), section 3, which fills with noise.
    """

    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.2)
    aspect: tuple[float, float] = (0.3, 3.3)
    fill: float | None = None

    draws = 5

    def __post_init__(self) -> None:
        value = arguments.number("Erase", "probability", self.probability, 0, 1, closed=True)
        object.__setattr__(self, "probability", value)
        object.__setattr__(self, "area", arguments.span("Erase", "area", self.area, 1e-4, 1))
        object.__setattr__(self, "aspect", arguments.span("Erase", "aspect", self.aspect, 0.1, 10))
        arguments.optional(arguments.number)("Erase", "fill", self.fill)

    def change(self, image: np.ndarray, u: list[float], out: np.ndarray) -> None:
        """Cover a rectangle where the first draw is below the probability."""
        out[...] = image
        if u[0] >= self.probability:
            return
        height, width, _ = image.shape
        sizes = part_of(u[1], u[2], self.area, self.aspect, height, width)
        high, wide = (max(1, round(size)) for size in sizes)
        top, left = int((height - high + 1) * u[3]), int((width - wide + 1) * u[4])
        fill = image.mean(axis=(0, 1)) if self.fill is None else self.fill
        out[top : top + high, left : left + wide] = np.rint(fill) if out.dtype.kind in "ui" else fill
