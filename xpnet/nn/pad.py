"""Padding layers."""

from __future__ import annotations

from typing import ClassVar

from xpnet import ops
from xpnet.arguments import Check, natural
from xpnet.autograd import Tensor, apply
from xpnet.backend import backend_of
from xpnet.errors import ShapeError
from xpnet.nn.cost import Cost
from xpnet.nn.module import Module

__all__ = ["PadChannels"]


class PadChannels(Module):
    """Put channels of zeros beside those that come in: (..., C) to (..., before + C + after).

    Args:
        before: how many to put before the first channel, an integer >= 0.
        after: how many to put after the last, an integer >= 0.
    Raises:
        ConfigError: an argument out of range. On call, ShapeError: the input has no axis C.
    Cost: no multiply-adds; keeps nothing.
    Source: He, Zhang, Ren and Sun (2016), section 3.3: a shortcut without weights to a larger depth, option A.
    """

    kind = "pad channels"
    family = "reshape"
    across_batch = False
    pointwise = True
    _checks: ClassVar[dict[str, Check]] = {"before": natural, "after": natural}

    def __init__(self, before: int = 0, after: int = 0) -> None:
        self.before = before
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.concat to x (N, ..., C) and zeros."""
        x = x if isinstance(x, Tensor) else Tensor(x)
        if x.ndim < 2:
            raise ShapeError("PadChannels", "an input of shape (N, ..., C)", shape=x.shape)
        backend = backend_of(x.data)

        def zeros(channels: int) -> list[Tensor]:
            shape = (*x.shape[:-1], channels)
            return [Tensor(backend.xp.zeros(shape, dtype=x.dtype, device=backend.device))] if channels else []

        return apply(ops.concat, *zeros(self.before), x, *zeros(self.after), axis=-1)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example (..., C)."""
        if not shape:
            raise ShapeError(self.path or "PadChannels", "an input of one example (..., C)", shape=shape)
        return Cost((*shape[:-1], self.before + shape[-1] + self.after), 0, 0)

    def details(self) -> tuple[str, ...]:
        """Return how many channels are added."""
        return (f"+{self.before + self.after}",)
