"""Normalization layers, and dropout."""

from __future__ import annotations

import math
import operator
from functools import partial
from typing import Any, ClassVar

import numpy as np

from xpnet import ops, random
from xpnet.arguments import Check, boolean, choice, number, positive, probability
from xpnet.autograd import Tensor, apply
from xpnet.backend import namespace
from xpnet.nn.affine import Filters, Form
from xpnet.nn.context import BatchPart, batch_part
from xpnet.nn.cost import Cost, check_last, check_rank
from xpnet.nn.initializers import ones, zeros
from xpnet.nn.module import Module
from xpnet.nn.receptive import Field
from xpnet.nn.state import Buffer, Parameter
from xpnet.ops.normalization import joint_batch_norm, merge_moments

__all__ = ["BatchNorm", "Dropout", "LayerNorm", "LocalResponseNorm"]

_eps: Check = partial(number, low=0, above=True)


class BatchNorm(Module):
    """Normalize each channel, the last axis, over the batch; in evaluation, by running averages. See ops.batch_norm.

        running <- (1 - momentum) * running + momentum * batch

    where the variance kept is the unbiased one.

    A batch with one number a channel, as the last of an epoch may be, has no variance, and an empty one no mean: such a
    batch is normalized by the running averages in training too, and does not change them.

    Args:
        features: C, >= 1.
        eps: added to the variance, > 0.
        momentum: the share of the newest batch in the averages, 0 < momentum <= 1.
    Raises:
        ConfigError: an argument out of range. On call, ShapeError: the last axis is not C.
    Source: Ioffe and Szegedy (2015).
    """

    kind = "batch norm"
    family = "normalization"
    across_batch = True
    synchronizes = True
    pointwise = True
    fold_order = 0
    torch_classes = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
    torch_names: ClassVar[dict[str, str]] = {
        "gamma": "weight",
        "beta": "bias",
        "mean": "running_mean",
        "var": "running_var",
    }
    _checks: ClassVar[dict[str, Check]] = {
        "features": positive,
        "eps": _eps,
        "momentum": partial(number, low=0, high=1, above=True, closed=True),
    }

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        self.features = features
        self.eps = eps
        self.momentum = momentum
        shape = (self.features,)
        self.gamma, self.beta = Parameter(shape, ones), Parameter(shape, zeros)
        self.mean, self.var = Buffer(shape, zeros), Buffer(shape, ones)

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.batch_norm to x (..., C), and in training renew the running averages."""
        x = x if isinstance(x, Tensor) else Tensor(x)
        if self.training and (part := batch_part()) is not None:
            return self._of_whole(x, part) if part.synchronized else self._of_part(x, part)
        count = math.prod(x.shape[:-1])
        if count < 2 or not self.training:
            return apply(ops.batch_norm, x, self.gamma, self.beta, self.mean, self.var, eps=self.eps)
        mean, var = ops.moments(x.data)
        y = apply(ops.batch_norm, x, self.gamma, self.beta, mean, var, eps=self.eps, training=True)
        self.mean.data, self.var.data = ops.running_moments(
            self.mean.data, self.var.data, mean, var, count=count, momentum=self.momentum
        )
        return y

    def _of_whole(self, x: Tensor, part: BatchPart) -> Tensor:
        """Normalize a part of a batch by the moments of all of it."""
        check_last(self.path or "BatchNorm", x.shape, "C", self.features)
        count, c, xp = math.prod(x.shape[:-1]), self.features, namespace(x.data)
        if (whole := part.whole(x.shape)) < 2:
            return apply(ops.batch_norm, x, self.gamma, self.beta, self.mean, self.var, eps=self.eps)
        dtype, device = self.mean.data.dtype, self.mean.data.device
        row = xp.zeros((1 + 2 * c,), dtype=dtype, device=device)
        if count:
            mean, var = (xp.astype(a, dtype, copy=False) for a in ops.moments(x.data))
            row = xp.concat([xp.full((1,), count, dtype=dtype, device=device), mean, var * count])
        row = part.reduce(row, merge_moments)
        mean, var = row[1 : 1 + c], row[1 + c :] / whole
        total = partial(part.reduce, merge=operator.add)
        y = apply(
            joint_batch_norm, x, self.gamma, self.beta, mean, var, count=whole, reduce=total, eps=self.eps
        )  # fmt: skip
        if part.first:
            self.mean.data, self.var.data = ops.running_moments(
                self.mean.data, self.var.data, mean, var, count=whole, momentum=self.momentum
            )
        return y

    def _of_part(self, x: Tensor, part: BatchPart) -> Tensor:
        """Normalize a part of a batch by its own moments, and renew the running averages of the part."""
        count = math.prod(x.shape[:-1])
        kept = old_mean, old_var = part.kept(self, [self.mean.data, self.var.data])
        if count < 2:
            return apply(ops.batch_norm, x, self.gamma, self.beta, *kept, eps=self.eps)
        mean, var = ops.moments(x.data)
        y = apply(ops.batch_norm, x, self.gamma, self.beta, mean, var, eps=self.eps, training=True)
        new = ops.running_moments(old_mean, old_var, mean, var, count=count, momentum=self.momentum)
        part.keep(self, list(new))
        return y

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example (..., C)."""
        check_last(self.path or "BatchNorm", shape, "C", self.features)
        return Cost.of(shape, shape, keeps="x")

    @property
    def across_batch_in_inference(self) -> bool:
        """False: the running averages are used."""
        return False

    def torch_settings(self) -> dict[str, Any]:
        """Return eps and momentum."""
        return {"eps": self.eps, "momentum": self.momentum}

    def conv_form(self) -> Form | None:
        """Return the form of a convolution whose 1x1 filters see a channel each."""
        return Form(self.features, self.features, groups=self.features)

    def filters(self) -> Filters:
        """Return the scale and shift of each channel, by the running averages."""
        scale = self.gamma.as_float64() / np.sqrt(self.var.as_float64() + self.eps)
        return Filters(scale[:, None, None, None], self.beta.as_float64() - self.mean.as_float64() * scale)

    def folded(self, form: Form, filters: Filters) -> BatchNorm:
        """Return a BatchNorm with these averages that scales and shifts as the filters do."""
        layer, scale = BatchNorm(self.features, self.eps, self.momentum), filters.weight[:, 0, 0, 0]
        mean, var = self.mean.as_float64(), self.var.as_float64()
        layer.gamma.fill(scale * np.sqrt(var + self.eps), self.gamma)
        layer.beta.fill(scale * mean if filters.shift is None else filters.shift + scale * mean, self.beta)
        layer.mean.fill(mean, self.mean)
        layer.var.fill(var, self.var)
        return layer


class LayerNorm(Module):
    """Normalize the last axis of each example by its own mean and variance. See ops.layer_norm.

    Args:
        features: C, >= 1; of one number the result is beta.
        eps: added to the variance, > 0.
    Raises:
        ConfigError: an argument out of range. On call, ShapeError: the last axis is not C.
    Source: Ba, Kiros and Hinton (2016).
    """

    kind = "layer norm"
    family = "normalization"
    across_batch = False
    pointwise = True
    torch_classes = ("LayerNorm",)
    torch_names: ClassVar[dict[str, str]] = {"gamma": "weight", "beta": "bias"}
    _checks: ClassVar[dict[str, Check]] = {"features": positive, "eps": _eps}

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        self.features = features
        self.eps = eps
        self.gamma = Parameter((self.features,), ones)
        self.beta = Parameter((self.features,), zeros)

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.layer_norm to x (..., C)."""
        return apply(ops.layer_norm, x, self.gamma, self.beta, eps=self.eps)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example (..., C)."""
        check_last(self.path or "LayerNorm", shape, "C", self.features)
        return Cost.of(shape, shape, keeps="x")

    def torch_settings(self) -> dict[str, Any]:
        """Return eps, and over which axes."""
        return {"eps": self.eps, "normalized_shape": (self.features,)}

    def receptive_field(self, field: Field, output: tuple[int, ...]) -> Field:
        """Return the field of numbers that depend on all features."""
        return field.features()


class LocalResponseNorm(Module):
    """Divide each number by the strength of its neighbours. See ops.local_response_norm.

    Args:
        size, alpha, beta, k, region, average: as the op takes them; the defaults are AlexNet's.
    Raises:
        ConfigError: size under 1 or an unknown region.
    Source: Krizhevsky, Sutskever and Hinton (2012), section 3.3.
    """

    kind = "response norm"
    family = "normalization"
    across_batch = False
    torch_classes = ("LocalResponseNorm",)
    _checks: ClassVar[dict[str, Check]] = {
        "size": positive,
        "alpha": number,
        "beta": number,
        "k": number,
        "region": partial(choice, known=("across", "within")),
        "average": boolean,
    }

    def __init__(
        self,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
        region: str = "across",
        average: bool = False,
    ) -> None:
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
        check_rank(self.path or "LocalResponseNorm", shape, "H, W, C")
        return Cost.of(shape, shape, keeps="x")

    def torch_settings(self) -> dict[str, Any]:
        """Return size, alpha, by which PyTorch multiplies the average of a region, beta and k."""
        alpha = self.alpha if self.average else self.alpha * self.size
        return {"size": self.size, "alpha": alpha, "beta": self.beta, "k": self.k}

    def details(self) -> tuple[str, ...]:
        """Return the size of the region."""
        return (str(self.size) if self.region == "across" else f"{self.size}x{self.size}",)

    def receptive_field(self, field: Field, output: tuple[int, ...]) -> Field:
        """Return the same field, or that of windows within a channel."""
        if self.region == "across":
            return field
        size, half = self.size, self.size // 2
        return field.windows(output, (size, size), (1, 1), (half, half), (1, 1))

    def output_rank(self, rank: int | None) -> int:
        """Return 4."""
        return 4


class Dropout(Module):
    """In training, drop each number with a probability and scale up the rest. See ops.random_dropout.

    The mask is drawn from (seed, this layer's path, epoch, step, call): called twice in a step, the layer draws two.
    Within a Trainer these are the run's; in a custom loop, seed and epoch are 0 and the step counts the calls.

    Args:
        rate: the probability, 0 <= rate < 1.
    Raises:
        ConfigError: rate out of range.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014).
    """

    kind = "dropout"
    family = "dropout"
    across_batch = False
    pointwise = True
    computes = False
    _checks: ClassVar[dict[str, Check]] = {"rate": probability}

    def __init__(self, rate: float = 0.5) -> None:
        self.rate = rate
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.random_dropout to x of any shape (N, ...) in training; return x in evaluation mode."""
        x = x if isinstance(x, Tensor) else Tensor(x)
        if not self.training or not self.rate:
            return x
        purpose, context = "dropout/" + self._place, random.current()
        key = random.step_key(purpose)
        if key is None:
            key = random.Key(0, purpose, 0, self.calls)
            self.calls += 1
        start = 0 if context is None else context.row * math.prod(x.shape[1:])
        return apply(ops.random_dropout, x, key=key, rate=self.rate, start=start)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example of any shape; a kept mask counts as a quarter of a number, one byte of four."""
        return Cost(shape, 0, math.prod(shape) // 4)

    def details(self) -> tuple[str, ...]:
        """Return the rate."""
        return (f"{self.rate:.0%}",)
