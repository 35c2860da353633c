"""The settings of the images: which digits are learned, and by which variant of LeNet-5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from xpnet import arguments
from xpnet.errors import ConfigError, nearest

__all__ = ["IMAGE_DATA", "NORMS", "POOLS", "ImageSettings"]

IMAGE_DATA = ("digits", "mnist")
POOLS = ("max", "average")
NORMS = ("none", "across", "within")
_WHERE = "settings"


@dataclass(frozen=True)
class ImageSettings:
    """What one state of the images is made of.

    Args:
        data: "digits", the 8x8 images in the package, or "mnist", 28x28, where its files are on this machine.
        flip: whether filters are turned by 180 degrees: convolution; else correlation.
        pool: "max" or "average".
        norm: local response normalization after conv1: "none", "across" channels or "within" each.
        lr: the rate of momentum SGD, above 0, at most 1. batch: images in a step, 1 to 256.
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

    def __post_init__(self) -> None:
        for name, values in {"data": IMAGE_DATA, "pool": POOLS, "norm": NORMS}.items():
            arguments.choice(_WHERE, name, getattr(self, name), values)
        arguments.boolean(_WHERE, "flip", self.flip)
        object.__setattr__(self, "lr", arguments.number(_WHERE, "lr", self.lr, 1e-6, 1, closed=True))
        object.__setattr__(self, "batch", arguments.count(_WHERE, "batch", self.batch, 1, 256))
        object.__setattr__(self, "seed", arguments.count(_WHERE, "seed", self.seed, 0, 2**32 - 1))

    @classmethod
    def read(cls, given: Any) -> Self:
        """Read what a page sends, an object of JSON; what is not in it has its default.

        Raises:
            ConfigError: a name is unknown, or a value is not one of these.
        """
        given = arguments.instance(_WHERE, "settings", given, kind=Mapping, rule="an object")
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise ConfigError(_WHERE, f"one of {', '.join(known)}", nearest(str(name), known), name=repr(name)[:80])
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """Return what read takes."""
        return asdict(self)
