"""The settings of the images: which digits are learned, and by which variant of LeNet-5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet import arguments
from xpnet.playground.sent_settings import SentSettings

__all__ = ["IMAGE_DATA", "NORMS", "POOLS", "ImageSettings"]

IMAGE_DATA = ("digits", "mnist")
POOLS = ("max", "average")
NORMS = ("none", "across", "within")
_WHERE = "settings"


@dataclass(frozen=True)
class ImageSettings(SentSettings):
    """What one state of the images is made of.

    Args:
        data: "digits", the 8x8 images in the package, or "mnist", 28x28, where its files are on this machine.
        flip: whether filters are turned by 180 degrees: convolution; else correlation.
        pool: "max" or "average".
        norm: local response normalization after conv1: "none", "across" channels or "within" each.
        lr, earlier_rates: of momentum SGD, see SentSettings; at most 1. batch: images in a step, 1 to 256.
        seed: of the first weights and the order, 0 to 2**32 - 1.
    Raises:
        ConfigError: a value is not one of these.
    """

    data: str = "digits"
    flip: bool = False
    pool: str = "max"
    norm: str = "none"
    lr: float = 0.05
    batch: int = 32
    seed: int = 0
    highest_lr: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        for name, values in {"data": IMAGE_DATA, "pool": POOLS, "norm": NORMS}.items():
            arguments.choice(_WHERE, name, getattr(self, name), values)
        arguments.boolean(_WHERE, "flip", self.flip)
        self._check_rates()
        self._set("batch", arguments.count(_WHERE, "batch", self.batch, 1, 256))
        self._set("seed", arguments.count(_WHERE, "seed", self.seed, 0, 2**32 - 1))
