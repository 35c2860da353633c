"""Residual networks: ResNet-18 as for ImageNet, ResNet-20 as for CIFAR-10."""

from __future__ import annotations

from collections.abc import Callable

from xpnet import nn
from xpnet.models.images import image, prefers

__all__ = ["resnet18", "resnet20"]

Shortcut = Callable[[int, int, int], nn.Module]


@prefers(224)
def resnet18(shape: tuple[int, ...] = (224, 224, 3), classes: int = 1000) -> nn.Sequential:
    """ResNet-18: a 7x7 convolution and a pool, four stages of two residual blocks, the average of each channel.

    The stages have 64, 128, 256 and 512 filters; each but the first begins with stride 2, and there a 1x1 convolution
    is the shortcut. A batch norm follows each convolution, which therefore has no bias. With three channels and
    1000 classes it has 11,689,512 parameters. The scores begin at 0.

    Args:
        shape: one image, (H, W, C), of any size.
        classes: K.
    Returns: a module that takes (N, H, W, C) and returns scores (N, K).
    Raises:
        ShapeError: shape is not an image.
    Cost: 1,814,073,344 multiply-adds for an image of 224x224x3, with 1000 classes.
    Source: He, Zhang, Ren and Sun (2016), table 1.
    """
    _, _, channels = image("resnet18", shape, classes)
    return nn.Sequential(
        conv1=nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False),
        norm1=nn.BatchNorm(64),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(3, stride=2, padding=1),
        stage1=_stage(64, 64, 2, 1, _projection),
        stage2=_stage(64, 128, 2, 2, _projection),
        stage3=_stage(128, 256, 2, 2, _projection),
        stage4=_stage(256, 512, 2, 2, _projection),
        pool=nn.GlobalAvgPool2d(),
        scores=nn.Linear(512, classes, init=nn.zeros),
    )


@prefers(32)
def resnet20(shape: tuple[int, ...] = (32, 32, 3), classes: int = 10) -> nn.Sequential:
    """ResNet-20, for small images: a 3x3 convolution, three stages of three residual blocks, each channel's average.

    The stages have 16, 32 and 64 filters; the last two begin with stride 2. No shortcut has weights: where the size
    changes it takes every second pixel and fills the new channels with zeros. With three channels and 10 classes it
    has 269,722 parameters. The scores begin at 0.

    Args:
        shape: one image, (H, W, C), of any size.
        classes: K.
    Returns: a module that takes (N, H, W, C) and returns scores (N, K).
    Raises:
        ShapeError: shape is not an image.
    Cost: 40,551,040 multiply-adds for an image of 32x32x3, with 10 classes.
    Source: He, Zhang, Ren and Sun (2016), section 4.2, shortcuts of option A.
    """
    _, _, channels = image("resnet20", shape, classes)
    return nn.Sequential(
        conv1=nn.Conv2d(channels, 16, 3, padding=1, bias=False),
        norm1=nn.BatchNorm(16),
        relu1=nn.ReLU(),
        stage1=_stage(16, 16, 3, 1, _zeros),
        stage2=_stage(16, 32, 3, 2, _zeros),
        stage3=_stage(32, 64, 3, 2, _zeros),
        pool=nn.GlobalAvgPool2d(),
        scores=nn.Linear(64, classes, init=nn.zeros),
    )


def _stage(channels: int, filters: int, blocks: int, stride: int, shortcut: Shortcut) -> nn.Sequential:
    """Residual blocks of two 3x3 convolutions, a ReLU after each sum; the first block has the stride."""
    layers: dict[str, nn.Module] = {}
    for i in range(1, blocks + 1):
        body = nn.Sequential(
            conv1=nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False),
            norm1=nn.BatchNorm(filters),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(filters, filters, 3, padding=1, bias=False),
            norm2=nn.BatchNorm(filters),
        )
        same = stride == 1 and channels == filters
        layers[f"block{i}"] = nn.Residual(body, None if same else shortcut(channels, filters, stride))
        layers[f"relu{i}"] = nn.ReLU()
        channels, stride = filters, 1
    return nn.Sequential(**layers)


def _projection(channels: int, filters: int, stride: int) -> nn.Module:
    """Option B: a 1x1 convolution."""
    return nn.Sequential(conv=nn.Conv2d(channels, filters, 1, stride, bias=False), norm=nn.BatchNorm(filters))


def _zeros(channels: int, filters: int, stride: int) -> nn.Module:
    """Option A: every second pixel, and zeros for the channels that are new."""
    return nn.Sequential(pick=nn.AvgPool2d(1, stride), pad=nn.PadChannels(after=filters - channels))
