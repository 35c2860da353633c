"""Networks written in torch and the same ones in xpnet, with random weights and running averages."""

from __future__ import annotations

import numpy as np
import torch

from xpnet import Tensor, models, nn

T = torch.nn


def small_cnn():
    ours = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 6, (3, 2), stride=(1, 2), dilation=(2, 1), groups=2, bias=False),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.BatchNorm(6 * 3 * 3),
        nn.Linear(6 * 3 * 3, 7),
        nn.Tanh(),
        nn.LayerNorm(7),
        nn.Linear(7, 5, bias=False),
    )
    theirs = T.Sequential(
        T.Conv2d(3, 8, 3, padding=1),
        T.BatchNorm2d(8),
        T.ReLU(),
        T.MaxPool2d(2),
        T.Conv2d(8, 6, (3, 2), stride=(1, 2), dilation=(2, 1), groups=2, bias=False),
        T.LeakyReLU(0.2),
        T.Flatten(),
        T.BatchNorm1d(6 * 3 * 3),
        T.Linear(6 * 3 * 3, 7),
        T.Tanh(),
        T.LayerNorm(7),
        T.Linear(7, 5, bias=False),
    )
    return ours, theirs, (2, 14, 13, 3)


def sequences():
    """(N, T, D): Linear layers see the last axis in both, and rows of sequences have one order."""
    ours = nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 3), nn.Flatten(), nn.Linear(18, 2))
    theirs = T.Sequential(T.Linear(5, 4), T.GELU("tanh"), T.LayerNorm(4), T.Linear(4, 3), T.Flatten(), T.Linear(18, 2))
    return ours, theirs, (2, 6, 5)


def augmented():
    return (
        nn.Sequential(nn.Conv2d(2, 3, 3, flip=True), nn.Flatten(), nn.Linear(27, 4, bias="augmented")),
        T.Sequential(T.Conv2d(2, 3, 3), T.Flatten(), T.Linear(27, 4)),
        (2, 5, 5, 2),
    )


def image_rows():
    """An mlp on images: the order of a row depends on the shape of an image, which no layer tells."""
    return (
        models.mlp((5, 4, 3), 3),
        T.Sequential(T.Flatten(), T.Linear(60, 128), T.ReLU(), T.Linear(128, 3)),
        (2, 5, 4, 3),
    )


def lrn():
    ours = nn.Sequential(
        nn.Conv2d(3, 9, 2), nn.LocalResponseNorm(5, 0.3, 0.6, 1.5), nn.AvgPool2d(2), nn.GlobalAvgPool2d()
    )
    theirs = T.Sequential(
        T.Conv2d(3, 9, 2), T.LocalResponseNorm(5, 1.5, 0.6, 1.5), T.AvgPool2d(2), T.AdaptiveAvgPool2d(1), T.Flatten()
    )
    return ours, theirs, (2, 7, 7, 3)


class Block(T.Module):
    """torchvision's BasicBlock."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = T.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = T.BatchNorm2d(filters)
        self.relu = T.ReLU(inplace=True)
        self.conv2 = T.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = T.BatchNorm2d(filters)
        self.downsample = None
        if stride != 1:
            self.downsample = T.Sequential(T.Conv2d(channels, filters, 1, stride, bias=False), T.BatchNorm2d(filters))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(T.Module):
    """torchvision's resnet18, with its names."""

    def __init__(self, classes):
        super().__init__()
        self.conv1 = T.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = T.BatchNorm2d(64)
        self.relu = T.ReLU(inplace=True)
        self.maxpool = T.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, filters in enumerate((64, 128, 256, 512), 1):
            blocks = Block(channels, filters, 1 if stage == 1 else 2), Block(filters, filters, 1)
            setattr(self, f"layer{stage}", T.Sequential(*blocks))
            channels = filters
        self.avgpool = T.AdaptiveAvgPool2d((1, 1))
        self.fc = T.Linear(512, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layer4(self.layer3(self.layer2(self.layer1(x))))), 1))


class Features(T.Module):
    """What torchvision's alexnet and vgg16 share: features, an average of a fixed size, a classifier."""

    def __init__(self, features, size, classifier):
        super().__init__()
        self.features, self.avgpool, self.classifier = features, T.AdaptiveAvgPool2d(size), classifier

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def resnet18(side=40, classes=4):
    return models.resnet18((side, side, 3), classes), ResNet18(classes), (2, side, side, 3)


def alexnet(classes=4, hidden=24):
    layers = []
    for channels, filters, size, stride, padding, pool in (
        (3, 64, 11, 4, 2, True), (64, 192, 5, 1, 2, True), (192, 384, 3, 1, 1, False), (384, 256, 3, 1, 1, False),
        (256, 256, 3, 1, 1, True),
    ):  # fmt: skip
        layers += [T.Conv2d(channels, filters, size, stride, padding), T.ReLU(inplace=True)]
        layers += [T.MaxPool2d(3, 2)] * pool
    classifier = T.Sequential(
        T.Dropout(), T.Linear(256 * 36, hidden), T.ReLU(), T.Dropout(), T.Linear(hidden, hidden), T.ReLU(),
        T.Linear(hidden, classes),
    )  # fmt: skip
    ours = models.alexnet((224, 224, 3), classes, hidden, variant="torchvision")
    return ours, Features(T.Sequential(*layers), (6, 6), classifier), (1, 224, 224, 3)


def vgg16(side=32, pixels=1, classes=4, hidden=24):
    """torchvision's vgg16; its average of 7x7 leaves images of 224x224 as they are, here smaller ones."""
    layers, channels = [], 3
    for filters in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        layers += [T.Conv2d(channels, filters, 3, padding=1), T.ReLU(inplace=True)] if filters else [T.MaxPool2d(2, 2)]
        channels = filters or channels
    classifier = T.Sequential(
        T.Linear(512 * pixels**2, hidden), T.ReLU(), T.Dropout(), T.Linear(hidden, hidden), T.ReLU(), T.Dropout(),
        T.Linear(hidden, classes),
    )  # fmt: skip
    ours = models.vgg16((side, side, 3), classes, hidden)
    return ours, Features(T.Sequential(*layers), (pixels, pixels), classifier), (2, side, side, 3)


SMALL = {f.__name__: f for f in (small_cnn, sequences, augmented, image_rows, lrn)}
PUBLISHED = {f.__name__: f for f in (resnet18, alexnet, vgg16)}
NEEDS_SHAPE = ("sequences", "image_rows")


def randomized(module, seed=0):
    """Give a module of torch weights and running averages of which each matters."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
                value.uniform_(0.5, 1.5)
            elif value.ndim == 1:
                value.uniform_(-0.5, 0.5)
            elif value.ndim:
                value.uniform_(-1, 1).mul_((6 / value[0].numel()) ** 0.5)
    return module.eval()


def scores(ours, theirs, shape, seed=5):
    """The outputs of both, for images or rows of one random batch."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    first = np.moveaxis(x, -1, 1).copy() if x.ndim == 4 else x
    with torch.no_grad():
        want = theirs(torch.from_numpy(first)).numpy()
    ours.eval()
    found = ours(Tensor(x)).numpy()
    return found.reshape(len(x), -1), want.reshape(len(x), -1)
