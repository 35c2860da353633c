"""AlexNet, the network that won the ImageNet challenge of 2012."""

from __future__ import annotations

from xpnet import nn
from xpnet.arguments import choice
from xpnet.errors import ShapeError
from xpnet.models.images import classifier, image, prefers, row_length

__all__ = ["alexnet"]


@prefers(227)
def alexnet(
    shape: tuple[int, ...] = (227, 227, 3), classes: int = 1000, hidden: int = 4096, *, variant: str = "2012"
) -> nn.Sequential:
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
        variant: "2012", or "torchvision": the network whose weights torchvision publishes, of fewer filters (64, 192,
            384, 256, 256), without groups and response normalization. It takes images of 224x224, or of another size
            that leaves 6x6 pixels or a multiple before fc6. load_torch reads its weights.
    Returns: a module that takes (N, H, W, C) and returns scores (N, K).
    Raises:
        ShapeError: shape is not an image, or a smaller one. ConfigError: another variant.
    Cost: 724,406,816 multiply-adds for an image of 227x227x3, with 1000 classes.
    Source: Krizhevsky, Sutskever and Hinton (2012); the variant: Krizhevsky (2014).
    """
    _, _, channels = image("alexnet", shape, classes)
    if choice("alexnet", "variant", variant, ("2012", "torchvision")) == "torchvision":
        return _of_torchvision(shape, channels, classes, hidden)
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


def _of_torchvision(shape: tuple[int, ...], channels: int, classes: int, hidden: int) -> nn.Sequential:
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(channels, 64, 11, stride=4, padding=2),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(3, stride=2),
        "conv2": nn.Conv2d(64, 192, 5, padding=2),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(3, stride=2),
        "conv3": nn.Conv2d(192, 384, 3, padding=1),
        "relu3": nn.ReLU(),
        "conv4": nn.Conv2d(384, 256, 3, padding=1),
        "relu4": nn.ReLU(),
        "conv5": nn.Conv2d(256, 256, 3, padding=1),
        "relu5": nn.ReLU(),
        "pool5": nn.MaxPool2d(3, stride=2),
    }
    row_length(layers, shape)  # a window that does not fit is an error of its layer
    height, width, _ = nn.Sequential(**layers).cost(shape).output
    if height % 6 or width % 6:
        rule = "an image that leaves 6x6 pixels, or a multiple, before fc6"
        raise ShapeError("alexnet", rule, "give shape=(224, 224, 3)", shape=shape, pixels=(height, width))
    if (height, width) != (6, 6):
        layers["average"] = nn.AvgPool2d((height // 6, width // 6))
    return nn.Sequential(
        **layers,
        flatten=nn.Flatten(),
        drop5=nn.Dropout(0.5),
        fc6=nn.Linear(256 * 6 * 6, hidden),
        relu6=nn.ReLU(),
        drop6=nn.Dropout(0.5),
        fc7=nn.Linear(hidden, hidden),
        relu7=nn.ReLU(),
        fc8=nn.Linear(hidden, classes, init=nn.zeros),
    )
