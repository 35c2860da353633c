"""Changes of brightness, contrast and saturation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpnet import arguments
from xpnet.data.augmentation.transform import Transform, floating, store

__all__ = ["Colour"]

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in the brightness that people see (ITU-R BT.601)


@dataclass(frozen=True)
class Colour(Transform):
    """Change brightness, contrast and saturation of each image at random.

        y = s*z + (1 - s)*gray(z),   z = c*b*x + (1 - c)*b*mean(gray(x))

    with b uniform in 1 - brightness..1 + brightness, c and s likewise. gray is 0.299 red + 0.587 green + 0.114 blue.
    Bytes are limited to 0..255 at the end; floating images are not. Images without three channels have no saturation.

    Args:
        brightness: 0..1; 0.2 gives factors from 0.8 to 1.2.
        contrast: likewise.
        saturation: likewise; at a factor of 0 an image is gray.
    Raises:
        ConfigError: a number outside 0..1.
    Source: Howard, "Some improvements on deep convolutional neural network based image classification" (2013),
        section 2.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2

    draws = 3

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            value = arguments.number("Colour", name, getattr(self, name), 0, 1, closed=True)
            object.__setattr__(self, name, value)

    def change(self, image: np.ndarray, u: list[float], out: np.ndarray) -> None:
        """Change one image."""
        strengths = (self.brightness, self.contrast, self.saturation)
        b, c, s = (1 + most * (2 * v - 1) for most, v in zip(strengths, u, strict=True))
        x = floating(image)
        coloured = x.shape[2] == 3
        gray = sum(x[..., i] * x.dtype.type(w) for i, w in enumerate(_LUMA)) if coloured else x.mean(axis=2)  # (H, W)
        mean = float(np.mean(gray))
        x *= b * c * (s if coloured else 1)
        if coloured:
            gray = np.asarray(gray) * x.dtype.type(b * c * (1 - s))
            x += gray[..., None]
        x += b * (1 - c) * mean
        store(x, out)
