"""Small convolutional networks, built for whatever image size the data has."""

from __future__ import annotations

import math

from xpnet import nn
from xpnet.errors import ShapeError

__all__ = ["cnn", "lenet5"]


def _image(model: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape) < 1 or min(shape[:2]) < 4:
        raise ShapeError(model, "one example is (H, W, C), H and W >= 4", "use mlp for other data", shape=shape)
    return shape[0], shape[1], shape[2]


def lenet5(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """LeNet-5, with ReLU and max pooling: two convolutions 5x5 of 6 and 16 filters, then 120, 84 and K neurons.

    The first convolution is padded by 2, so that 28x28 images need no margin; the second is padded likewise where the
    image would be too small for it. The scores begin at 0. On 28x28x1 with 10 classes it has
    61,706 parameters.

    Args:
        shape: one image, (H, W, C), H and W >= 4.
        classes: K.
    Raises:
        ShapeError: no image, or a smaller one.
    Source: LeCun, Bottou, Bengio and Haffner (1998).
    """
    height, width, channels = _image("lenet5", shape)
    features = nn.Sequential(
        conv1=nn.Conv2d(channels, 6, 5, padding=2),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 16, 5, padding=0 if min(height, width) >= 12 else 2),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
    )
    flat = math.prod(features.cost(shape).output)
    return nn.Sequential(
        **dict(features.children()),
        fc3=nn.Linear(flat, 120),
        relu3=nn.ReLU(),
        fc4=nn.Linear(120, 84),
        relu4=nn.ReLU(),
        scores=nn.Linear(84, classes, init=nn.zeros),
    )


def cnn(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """A small convolutional network: two 3x3 convolutions of 32 and 64 filters, pooled by 2, then 128 and K neurons.

    A quarter of the 128 is dropped in training; the scores begin at 0.

    Args:
        shape: one image, (H, W, C), H and W >= 4.
        classes: K.
    Raises:
        ShapeError: no image, or a smaller one.
    """
    height, width, channels = _image("cnn", shape)
    return nn.Sequential(
        conv1=nn.Conv2d(channels, 32, 3, padding=1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(32, 64, 3, padding=1),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        hidden=nn.Linear((height // 4) * (width // 4) * 64, 128),
        relu3=nn.ReLU(),
        drop=nn.Dropout(0.25),
        scores=nn.Linear(128, classes, init=nn.zeros),
    )
