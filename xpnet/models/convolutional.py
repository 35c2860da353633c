"""Small convolutional networks, built for whatever image size the data has."""

from __future__ import annotations

from xpnet import nn
from xpnet.models.images import image, prefers, row_length

__all__ = ["cnn", "lenet5"]


@prefers(28)
def lenet5(shape: tuple[int, ...] = (28, 28, 1), classes: int = 10) -> nn.Sequential:
    """LeNet-5, with ReLU and max pooling: two convolutions 5x5 of 6 and 16 filters, then 120, 84 and K neurons.

    The first convolution is padded by 2, so that 28x28 images need no margin; the second is padded likewise where the
    image would be too small for it. The scores begin at 0. On 28x28x1 with 10 classes it has
    61,706 parameters.

    Args:
        shape: one image, (H, W, C), H and W >= 4.
        classes: K.
    Returns: a module that takes (N, H, W, C) and returns scores (N, K).
    Raises:
        ShapeError: shape is not an image, or a smaller one.
    Source: LeCun, Bottou, Bengio and Haffner (1998).
    """
    height, width, channels = image("lenet5", shape, classes)
    layers = {
        "conv1": nn.Conv2d(channels, 6, 5, padding=2),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(6, 16, 5, padding=0 if min(height, width) >= 12 else 2),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
    }
    return nn.Sequential(
        **layers,
        fc3=nn.Linear(row_length(layers, shape), 120),
        relu3=nn.ReLU(),
        fc4=nn.Linear(120, 84),
        relu4=nn.ReLU(),
        scores=nn.Linear(84, classes, init=nn.zeros),
    )


@prefers(128)
def cnn(shape: tuple[int, ...] = (28, 28, 1), classes: int = 10) -> nn.Sequential:
    """A small convolutional network: two 3x3 convolutions of 32 and 64 filters, pooled by 2, then 128 and K neurons.

    A quarter of the 128 is dropped in training; the scores begin at 0.

    Args:
        shape: one image, (H, W, C), H and W >= 4.
        classes: K.
    Returns: a module that takes (N, H, W, C) and returns scores (N, K).
    Raises:
        ShapeError: shape is not an image, or a smaller one.
    """
    _, _, channels = image("cnn", shape, classes)
    layers = {
        "conv1": nn.Conv2d(channels, 32, 3, padding=1),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(32, 64, 3, padding=1),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
    }
    return nn.Sequential(
        **layers,
        hidden=nn.Linear(row_length(layers, shape), 128),
        relu3=nn.ReLU(),
        drop=nn.Dropout(0.25),
        scores=nn.Linear(128, classes, init=nn.zeros),
    )
