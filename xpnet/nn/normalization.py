"""Normalization layers, and dropout."""

from __future__ import annotations

import math

from xpnet import ops, random
from xpnet.autograd import Tensor, apply
from xpnet.errors import ConfigError, ShapeError
from xpnet.nn.cost import Cost, rank
from xpnet.nn.initializers import ones, zeros
from xpnet.nn.module import Module
from xpnet.nn.state import Buffer, Parameter

__all__ = ["BatchNorm", "Dropout", "LayerNorm", "LocalResponseNorm"]


def _last(layer: str, shape: tuple[int, ...], features: int) -> Cost:
    if not shape or shape[-1] != features:
        raise ShapeError(layer, "the last axis of the input is C", C=features, shape=shape)
    return Cost.of(shape, shape, keeps="x")


class BatchNorm(Module):
    """Normalize each channel, the last axis, over the batch; in inference, by running averages. See ops.batch_norm.

        running <- (1 - momentum) * running + momentum * batch      (the variance kept is the unbiased one)

    Args:
        features: C, >= 1.
        eps: added to the variance, > 0.
        momentum: the share of the newest batch in the averages, 0 < momentum <= 1.
    Raises:
        ConfigError: an argument out of range. On call, ShapeError: the last axis is not C.
    Source: Ioffe and Szegedy (2015).
    """

    across_batch = True

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        if features < 1 or eps <= 0 or not 0 < momentum <= 1:
            raise ConfigError(
                "BatchNorm",
                "features >= 1, eps > 0, 0 < momentum <= 1",
                features=features,
                eps=eps,
                momentum=momentum,
            )
        self.features = features
        self.eps = eps
        self.momentum = momentum
        self.gamma = Parameter((features,), ones)
        self.beta = Parameter((features,), zeros)
        self.mean = Buffer((features,), zeros)
        self.var = Buffer((features,), ones)

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.batch_norm to x (..., C), and in training renew the running averages."""
        x = x if isinstance(x, Tensor) else Tensor(x)
        if not self.training:
            return apply(ops.batch_norm, x, self.gamma, self.beta, self.mean, self.var, eps=self.eps)
        mean, var = ops.moments(x.data)
        y = apply(ops.batch_norm, x, self.gamma, self.beta, mean, var, eps=self.eps, training=True)
        count = math.prod(x.shape[:-1])
        self.mean.data, self.var.data = ops.running_moments(
            self.mean.data, self.var.data, mean, var, count=count, momentum=self.momentum
        )
        return y

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example (..., C)."""
        return _last(self.path or "BatchNorm", shape, self.features)


class LayerNorm(Module):
    """Normalize the last axis of each example by its own mean and variance. See ops.layer_norm.

    Args:
        features: C, >= 1.
        eps: added to the variance, > 0.
    Raises:
        ConfigError: an argument out of range. On call, ShapeError: the last axis is not C.
    Source: Ba, Kiros and Hinton (2016).
    """

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        if features < 1 or eps <= 0:
            raise ConfigError("LayerNorm", "features >= 1, eps > 0", features=features, eps=eps)
        self.features = features
        self.eps = eps
        self.gamma = Parameter((features,), ones)
        self.beta = Parameter((features,), zeros)

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.layer_norm to x (..., C)."""
        return apply(ops.layer_norm, x, self.gamma, self.beta, eps=self.eps)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example (..., C)."""
        return _last(self.path or "LayerNorm", shape, self.features)


class LocalResponseNorm(Module):
    """Divide each number by the strength of its neighbours. See ops.local_response_norm.

    Args:
        size, alpha, beta, k, region, average: as the op takes them; the defaults are AlexNet's.
    Raises:
        ConfigError: size under 1 or an unknown region.
    Source: Krizhevsky, Sutskever and Hinton (2012), section 3.3.
    """

    def __init__(
        self,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
        region: str = "across",
        average: bool = False,
    ) -> None:
        if size < 1 or region not in ("across", "within"):
            raise ConfigError("LocalResponseNorm", 'size >= 1, region "across" or "within"', size=size, region=region)
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k
        self.region = region
        self.average = average

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.local_response_norm to x (N, H, W, C)."""
        return apply(
            ops.local_response_norm,
            x,
            size=self.size,
            alpha=self.alpha,
            beta=self.beta,
            k=self.k,
            region=self.region,
            average=self.average,
        )

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one image (H, W, C)."""
        rank(self.path or "LocalResponseNorm", shape, "H, W, C")
        return Cost.of(shape, shape, keeps="x")


class Dropout(Module):
    """In training, drop each number with a probability and scale up the rest. See ops.random_dropout.

    The mask is drawn from (seed, this layer's path, epoch, step). Within a Trainer these are the run's; in a loop of
    your own, seed and epoch are 0 and the step counts the calls.

    Args:
        rate: the probability, 0 <= rate < 1.
    Raises:
        ConfigError: rate out of range.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014).
    """

    def __init__(self, rate: float = 0.5) -> None:
        if not 0.0 <= rate < 1.0:
            raise ConfigError("Dropout", "0 <= rate < 1", rate=rate)
        self.rate = rate
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.random_dropout to x of any shape (N, ...) in training; pass it on in inference."""
        x = x if isinstance(x, Tensor) else Tensor(x)
        if not self.training or not self.rate:
            return x
        moment = random.current()
        if moment is None:
            moment = random.StepContext(0, 0, self.calls)
            self.calls += 1
        key = random.Key(moment.seed, "dropout/" + self.path, moment.epoch, moment.step)
        start = moment.row * math.prod(x.shape[1:])
        return apply(ops.random_dropout, x, key=key, rate=self.rate, start=start)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example of any shape; a kept mask counts as a quarter of a number, one byte of four."""
        return Cost(shape, 0, math.prod(shape) // 4)
