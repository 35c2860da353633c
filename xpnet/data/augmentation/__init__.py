"""Random changes of training images, each by itself or composed; presets for photos.

from xpnet import data

trainer.fit(train, augment=data.augment("light"))
trainer.fit(train, augment=data.Mirror() + data.Crop(area=(0.5, 1.0)) + data.Rotate(10))
"""

from xpnet.data.augmentation.colour import Colour
from xpnet.data.augmentation.erase import Erase
from xpnet.data.augmentation.geometry import Crop, Mirror, Rotate
from xpnet.data.augmentation.presets import AUGMENTATIONS, are_characters, augment, in_words, read_augment
from xpnet.data.augmentation.transform import Augmentation, Compose, Transform

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Colour",
    "Compose",
    "Crop",
    "Erase",
    "Mirror",
    "Rotate",
    "Transform",
    "are_characters",
    "augment",
    "in_words",
    "read_augment",
]
