"""Pooling layers."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from xpnet import ops
from xpnet.arguments import Check, boolean, pair
from xpnet.autograd import Tensor, apply
from xpnet.errors import ConfigError, ShapeError
from xpnet.nn.cost import Cost, check_rank
from xpnet.nn.module import Module
from xpnet.nn.receptive import Field, window_details
from xpnet.windows import out_size

__all__ = ["AvgPool2d", "GlobalAvgPool2d", "MaxPool2d"]

Pair = int | tuple[int, int]


class _Pool2d(Module):
    """What max and average pooling share: how windows lie."""

    family = "pooling"
    _keeps = ""
    _checks: ClassVar[dict[str, Check]] = {
        "kernel_size": partial(pair, least=1),
        "stride": partial(pair, least=1),
        "padding": partial(pair, least=0),
        "ceil_mode": boolean,
        "count_include_pad": boolean,
    }

    def __init__(
        self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, ceil_mode: bool = False
    ) -> None:
        kind = type(self).__name__
        self.kernel_size: tuple[int, int] = kernel_size  # type: ignore[assignment]
        self.stride: tuple[int, int] = self.kernel_size if stride is None else stride  # type: ignore[assignment]
        self.padding: tuple[int, int] = padding  # type: ignore[assignment]
        self.ceil_mode = ceil_mode
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ConfigError(kind, "padding of at most half of kernel_size", padding=padding, kernel_size=kernel_size)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one image (H, W, C)."""
        where = self.path or type(self).__name__
        check_rank(where, shape, "H, W, C")
        height, width = (
            out_size(n, k, s, p, ceil_mode=self.ceil_mode)
            for n, k, s, p in zip(shape, self.kernel_size, self.stride, self.padding, strict=False)
        )
        if min(height, width) < 1:
            rule = "a padded image that the kernel fits in"
            raise ShapeError(where, rule, shape=shape, kernel_size=self.kernel_size)
        output = (height, width, shape[2])
        return Cost.of(shape, output, keeps=self._keeps)

    def torch_settings(self) -> dict[str, Any]:
        """Return how windows lie."""
        return {name: getattr(self, name) for name in ("kernel_size", "stride", "padding", "ceil_mode")}

    def details(self) -> tuple[str, ...]:
        """Return the window."""
        return tuple(window_details(self.kernel_size, self.stride, self.padding))

    def receptive_field(self, field: Field, output: tuple[int, ...]) -> Field:
        """Return the field of windows."""
        return field.windows(output, self.kernel_size, self.stride, self.padding, (1, 1))

    def output_rank(self, rank: int | None) -> int:
        """Return 4."""
        return 4


class MaxPool2d(_Pool2d):
    """The largest number of each window, channel by channel.

    Args:
        kernel_size, stride, padding, ceil_mode: as ops.max_pool2d takes them.
    Raises:
        ConfigError: an argument out of range. On call, ShapeError: as ops.max_pool2d.
    """

    kind = "max pool"
    across_batch = False
    _keeps = "xy"
    torch_classes = ("MaxPool2d",)

    def torch_settings(self) -> dict[str, Any]:
        """Return how windows lie."""
        return super().torch_settings() | {"dilation": 1}

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.max_pool2d to x (N, H, W, C)."""
        return apply(
            ops.max_pool2d,
            x,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            ceil_mode=self.ceil_mode,
        )


class AvgPool2d(_Pool2d):
    """The average of each window, channel by channel.

    Args:
        kernel_size, stride, padding, ceil_mode, count_include_pad: as ops.avg_pool2d takes them.
    Raises:
        ConfigError: an argument out of range. On call, ShapeError: as ops.avg_pool2d.
    """

    kind = "average pool"
    across_batch = False
    torch_classes = ("AvgPool2d",)

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def torch_settings(self) -> dict[str, Any]:
        """Return how windows lie and what is averaged."""
        counted = {"count_include_pad": self.count_include_pad, "divisor_override": None}
        return super().torch_settings() | counted

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.avg_pool2d to x (N, H, W, C)."""
        return apply(
            ops.avg_pool2d,
            x,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
        )


class GlobalAvgPool2d(Module):
    """The average of each channel over the whole image: (N, H, W, C) to (N, C)."""

    kind = "global average"
    family = "pooling"
    across_batch = False
    torch_classes = ("AdaptiveAvgPool2d",)

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.global_avg_pool2d."""
        return apply(ops.global_avg_pool2d, x)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one image (H, W, C)."""
        check_rank(self.path or "GlobalAvgPool2d", shape, "H, W, C")
        return Cost.of(shape, shape[2:])

    def torch_settings(self) -> dict[str, Any]:
        """Return that one number a channel is left."""
        return {"output_size": (1, 1)}

    def receptive_field(self, field: Field, output: tuple[int, ...]) -> Field:
        """Return the field of averages over all places."""
        return field.whole()

    def output_rank(self, rank: int | None) -> int:
        """Return 2."""
        return 2
