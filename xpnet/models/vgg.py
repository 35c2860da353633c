"""VGG-16: 3x3 convolutions, many of them."""

from __future__ import annotations

from xpnet import nn
from xpnet.models.images import classifier, image, prefers

__all__ = ["vgg16"]

_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions and their filters; a pool ends each


@prefers(224)
def vgg16(shape: tuple[int, ...] = (224, 224, 3), classes: int = 1000, hidden: int = 4096) -> nn.Sequential:
    """VGG-16: thirteen 3x3 convolutions in five stages, each pooled by 2, then three linear layers.

    Configuration D of the paper; conv3_2 is the second convolution of the third stage. At 224x224x3 with 1000 classes
    it has 138,357,544 parameters.

    The paper trained a shallower net first, to begin from its weights; here they begin as He et al. (2015) have it,
    with which all sixteen layers train at once. The scores begin at 0.

    Args:
        shape: one image, (H, W, C), H and W >= 32.
        classes: K.
        hidden: neurons of fc6 and of fc7; fewer do for small sets.
    Returns: a module that takes (N, H, W, C) and returns scores (N, K).
    Raises:
        ShapeError: shape is not an image, or a smaller one.
    Cost: 15,470,264,320 multiply-adds for an image of 224x224x3, with 1000 classes.
    Source: Simonyan and Zisserman (2015).
    """
    _, _, channels = image("vgg16", shape, classes)
    layers: dict[str, nn.Module] = {}
    for stage, (depth, filters) in enumerate(_STAGES, 1):
        for i in range(1, depth + 1):
            layers[f"conv{stage}_{i}"] = nn.Conv2d(channels, filters, 3, padding=1)
            layers[f"relu{stage}_{i}"] = nn.ReLU()
            channels = filters
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    return classifier(layers, shape, classes, hidden)
