"""Augmentation by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from xpnet import arguments
from xpnet.data.augmentation.colour import Colour
from xpnet.data.augmentation.erase import Erase
from xpnet.data.augmentation.geometry import Crop, Mirror, Rotate
from xpnet.data.augmentation.transform import Augmentation, Compose
from xpnet.errors import ConfigError, nearest

__all__ = ["AUGMENTATIONS", "are_characters", "augment", "in_words", "read_augment"]

AUGMENTATIONS = ("none", "light", "strong")


def augment(name: str, *, mirror: bool = True) -> Compose | None:
    """Return a preset of augmentation for photos.

    - ``none``: None.
    - ``light``, for many images, or short training: mirrored left and right with probability 1/2; parts of 60 to 100%
      of the area, with proportions changed by up to a tenth, resized; brightness, contrast and saturation by up to 15%.
    - ``strong``, for few images and long training: mirrored; parts of 25 to 100% of the area, with proportions changed
      by up to a third; rotated by up to 15 degrees; brightness, contrast and saturation by up to 40%; in every fourth
      image, a rectangle of 2 to 20% of the area is covered by the mean colour.

    Args:
        name: none, light or strong.
        mirror: whether to mirror; False where left and right differ, as in digits and letters.
    Raises:
        ConfigError: no preset has this name.
    """
    name = arguments.choice("augment", "name", name, AUGMENTATIONS)
    if name == "none":
        return None
    first = [Mirror()] if arguments.boolean("augment", "mirror", mirror) else []
    if name == "light":
        return Compose(*first, Crop((0.6, 1.0), (0.9, 1 / 0.9)), Colour(0.15, 0.15, 0.15))
    return Compose(*first, Crop((0.25, 1.0)), Rotate(15.0), Colour(0.4, 0.4, 0.4), Erase(0.25))


def are_characters(classes: Iterable[str]) -> bool:
    """Tell whether classes are digits or letters, each named by one character, which must not be mirrored."""
    return all(len(name) == 1 for name in classes)


def in_words(change: Augmentation | None) -> str:
    """Say in order what an augmentation changes, such as "mirror, crop, colour"."""
    return ", ".join(type(step).__name__.lower() for step in getattr(change, "transforms", ()))


def read_augment(where: str, value: Any, classes: Iterable[str] = ("",)) -> Augmentation | None:
    """Return what an argument ``augment`` means: the name of a preset, a function of (images, key), or None.

    A preset does not mirror where the names of all classes are single characters.

    Raises:
        ConfigError: it is none of them.
    """
    if isinstance(value, str) and value in AUGMENTATIONS:
        return augment(value, mirror=not are_characters(classes))
    if value is not None and not callable(value):
        hint = nearest(value, AUGMENTATIONS) if isinstance(value, str) else ""
        rule = f"augment, a Transform or one of {', '.join(AUGMENTATIONS)}"
        raise ConfigError(where, rule, hint, augment=arguments.shown(value))
    return cast("Augmentation | None", value)
