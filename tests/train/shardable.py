"""A network that can be sharded, layers that cannot, and batches."""

from __future__ import annotations

import numpy as np

from xpnet import nn
from xpnet.autograd import Tensor

ONE = (6, 5, 2)  # an image


def net(rate: float = 0.3) -> nn.Sequential:
    """A network whose body has two convolutions and whose dense tail draws masks."""
    return nn.Sequential(
        conv1=nn.Conv2d(2, 4, 3, padding=1),
        relu1=nn.ReLU(),
        drop1=nn.Dropout(rate),
        conv2=nn.Conv2d(4, 3, 3, stride=2),
        pool2=nn.MaxPool2d(2, stride=1),
        flatten=nn.Flatten(),
        hidden=nn.Linear(3, 5),
        relu3=nn.ReLU(),
        drop=nn.Dropout(rate),
        scores=nn.Linear(5, 4),
    )


def batch(n: int, seed: int = 1, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng([seed, n])
    return draw.normal(size=(n, *ONE)).astype(dtype), draw.integers(0, 4, n)


class Pairs(nn.Module):
    """Depends on the other examples of the batch."""

    across_batch = True

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(axis=0)


class Silent(nn.Module):
    """Does not say whether it does."""

    def forward(self, x: Tensor) -> Tensor:
        return x
