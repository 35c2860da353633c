"""Convolution layers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

from xpnet import ops
from xpnet.arguments import Check, boolean, function, pair, positive
from xpnet.autograd import Tensor, apply
from xpnet.errors import ConfigError, ShapeError
from xpnet.nn.affine import Filters, Form
from xpnet.nn.cost import Cost, check_last, check_rank
from xpnet.nn.exchange import TorchArray
from xpnet.nn.initializers import Initializer, he_normal, zeros
from xpnet.nn.module import Module
from xpnet.nn.receptive import Field, pair_text, window_details
from xpnet.nn.state import Parameter
from xpnet.output import counted
from xpnet.windows import out_size

__all__ = ["Conv2d"]

Pair = int | tuple[int, int]


class Conv2d(Module):
    """A bank of filters slid over images (N, H, W, C); the equation is that of ops.conv2d.

    Args:
        in_channels: C, >= 1.
        out_channels: F, the filters, >= 1.
        kernel_size: KH, KW, an integer or a pair (vertical, horizontal), >= 1.
        stride: SH, SW, >= 1.
        padding: PH, PW, >= 0; or "same", for odd kernels and stride 1: the output is as large as the input.
        dilation: DH, DW, >= 1.
        groups: G, divides C and F.
        bias: whether to add one number a filter.
        flip: True turns the filters by 180 degrees: convolution in the mathematical sense.
        init: makes the first filters; biases begin at 0.
    Raises:
        ConfigError: an argument out of range. On call, ShapeError: as ops.conv2d.
    Cost: OH*OW*F*KH*KW*C/G multiply-adds an example.
    """

    kind = "conv"
    family = "convolution"
    across_batch = False
    fuses = True
    fold_order = 2
    torch_classes = ("Conv2d",)
    _checks: ClassVar[dict[str, Check]] = {
        "in_channels": positive,
        "out_channels": positive,
        "groups": positive,
        "kernel_size": partial(pair, least=1),
        "stride": partial(pair, least=1),
        "padding": partial(pair, least=0),
        "dilation": partial(pair, least=1),
        "flip": boolean,
    }
    _may_be_none = ("bias",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        flip: bool = False,
        init: Initializer = he_normal,
    ) -> None:
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.groups = groups
        if self.in_channels % self.groups or self.out_channels % self.groups:
            got = {"in_channels": in_channels, "out_channels": out_channels, "groups": groups}
            raise ConfigError("Conv2d", "groups that divide in_channels and out_channels", **got)
        self.kernel_size: tuple[int, int] = kernel_size  # type: ignore[assignment]
        self.stride: tuple[int, int] = stride  # type: ignore[assignment]
        self.dilation: tuple[int, int] = dilation  # type: ignore[assignment]
        self.padding: tuple[int, int] = self._same() if isinstance(padding, str) and padding == "same" else padding  # type: ignore[assignment]
        self.flip = flip
        init = function("Conv2d", "init", init)
        self.weight = Parameter((self.out_channels, *self.kernel_size, self.in_channels // self.groups), init)
        self.bias = Parameter((self.out_channels,), zeros) if boolean("Conv2d", "bias", bias) else None

    def _same(self) -> tuple[int, int]:
        if self.stride != (1, 1) or not all(k % 2 for k in self.kernel_size):
            raise ConfigError(
                "Conv2d",
                'odd kernels and stride 1 with padding "same"',
                "give the padding in pixels",
                kernel_size=self.kernel_size,
                stride=self.stride,
            )
        rows, cols = (d * (k - 1) // 2 for k, d in zip(self.kernel_size, self.dilation, strict=True))
        return rows, cols

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        """Apply ops.conv2d to x (N, H, W, C), and an activation fused with it."""
        return apply(
            ops.conv2d,
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            flip=self.flip,
            activation=activation,
        )

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one image (H, W, C)."""
        where = self.path or "Conv2d"
        check_rank(where, shape, "H, W, C")
        check_last(where, shape, "in_channels", self.in_channels)
        geometry = zip(shape, self.kernel_size, self.stride, self.padding, self.dilation, strict=False)
        height, width = (out_size(*axis) for axis in geometry)
        if min(height, width) < 1:
            rule = "a padded image that the dilated kernel fits in"
            raise ShapeError(where, rule, shape=shape, kernel_size=self.kernel_size)
        output = (height, width, self.out_channels)
        return Cost.of(shape, output, math.prod(output) * math.prod(self.weight.shape[1:]), "x")

    def details(self) -> tuple[str, ...]:
        """Return the window, and what is not usual."""
        found = window_details(self.kernel_size, self.stride, self.padding)
        if self.dilation != (1, 1):
            found.append(f"dilation {pair_text(self.dilation)}")
        if self.groups > 1:
            found.append(counted(self.groups, "group"))
        return (*found, "flipped") if self.flip else tuple(found)

    def receptive_field(self, field: Field, output: tuple[int, ...]) -> Field:
        """Return the field of windows."""
        return field.windows(output, self.kernel_size, self.stride, self.padding, self.dilation)

    def output_rank(self, rank: int | None) -> int:
        """Return 4."""
        return 4

    def conv_form(self) -> Form | None:
        """Return the layer's own geometry."""
        slides = self.kernel_size, self.stride, self.padding, self.dilation
        return Form(self.in_channels, self.out_channels, *slides, self.groups)

    def torch_settings(self) -> dict[str, Any]:
        """Return how the filters slide."""
        names = ("kernel_size", "stride", "padding", "dilation", "groups")
        return {name: getattr(self, name) for name in names} | {"padding_mode": "zeros"}

    def torch_arrays(self) -> Iterator[TorchArray]:
        """Go over weight (F, C/G, KH, KW) and bias; PyTorch does not turn filters, so turned ones are turned there."""
        for name, state, view in super().torch_arrays():
            turned = self.flip and name == "weight"
            yield TorchArray(name, state, (lambda w, view=view: view(w)[:, :, ::-1, ::-1]) if turned else view)

    def filters(self) -> Filters:
        """Return the filters as they are slid, and the bias."""
        weight, shift = self.weight.as_float64(), None if self.bias is None else self.bias.as_float64()
        return Filters(weight[:, ::-1, ::-1] if self.flip else weight, shift)

    def folded(self, form: Form, filters: Filters) -> Conv2d:
        """Return a Conv2d of a form and filters."""
        layer = Conv2d(form.channels, form.filters, *form[2:], filters.shift is not None)
        layer.weight.fill(filters.weight, self.weight)
        if layer.bias is not None and filters.shift is not None:
            layer.bias.fill(filters.shift, self.weight)
        return layer
