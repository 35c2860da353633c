"""AlexNet, the network that won the ImageNet challenge of 2012."""

from __future__ import annotations

from xpnet import nn
from xpnet.models.images import classifier, image, prefers

__all__ = ["alexnet"]


@prefers(227)
def alexnet(shape: tuple[int, ...] = (227, 227, 3), classes: int = 1000, hidden: int = 4096) -> nn.Sequential:
    """AlexNet: five convolutions, two of them normalized across channels, overlapping pools, three linear layers.

    conv2, conv4 and conv5 see half of the channels each: two groups, which lay on two GPUs. The sums of the local
    response normalization are multiplied by alpha, not by alpha / size. Half of fc6 and fc7 is dropped in training.
    At 227x227x3 with 1000 classes it has 60,965,224 parameters.

    The paper's weights begin at normal numbers of standard deviation 0.01, and some biases at 1. Here weights begin as
    He et al. (2015) have it, biases and the scores at 0, so that it learns from the first steps on small sets too.

    Args:
        shape: one image, (H, W, C), H and W >= 67. The paper says 224x224; its 55x55 outputs need 227x227.
        classes: K.
        hidden: neurons of fc6 and of fc7; fewer do for small sets.
    Returns: a module that takes (N, H, W, C) and returns scores (N, K).
    Raises:
        ShapeError: shape is not an image, or a smaller one.
    Cost: 724,406,816 multiply-adds for an image of 227x227x3, with 1000 classes.
    Source: Krizhevsky, Sutskever and Hinton (2012).
    """
    _, _, channels = image("alexnet", shape, classes)
    layers = {
        "conv1": nn.Conv2d(channels, 96, 11, stride=4),
        "relu1": nn.ReLU(),
        "norm1": nn.LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0),
        "pool1": nn.MaxPool2d(3, stride=2),
        "conv2": nn.Conv2d(96, 256, 5, padding=2, groups=2),
        "relu2": nn.ReLU(),
        "norm2": nn.LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0),
        "pool2": nn.MaxPool2d(3, stride=2),
        "conv3": nn.Conv2d(256, 384, 3, padding=1),
        "relu3": nn.ReLU(),
        "conv4": nn.Conv2d(384, 384, 3, padding=1, groups=2),
        "relu4": nn.ReLU(),
        "conv5": nn.Conv2d(384, 256, 3, padding=1, groups=2),
        "relu5": nn.ReLU(),
        "pool5": nn.MaxPool2d(3, stride=2),
    }
    return classifier(layers, shape, classes, hidden)
