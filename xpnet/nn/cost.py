"""The cost of layers, from shapes alone."""

from __future__ import annotations

import math
from typing import NamedTuple

from xpnet import arguments
from xpnet.errors import ConfigError, ShapeError

__all__ = ["Cost", "UnknownCostError", "check_last", "check_rank"]


class UnknownCostError(ConfigError, NotImplementedError):
    """A module defines neither cost nor stages."""


class Cost(NamedTuple):
    """The cost of a layer for one example.

    Args:
        output: the output's shape.
        macs: multiply-adds forward.
        saved: numbers kept for the backward pass.
        keeps: which of those are the layer's own input ("x") and output ("y"), which its neighbours may keep too and
            which then lie in memory once; "=" says that the output is the input, in another shape.
    """

    output: tuple[int, ...]
    macs: int
    saved: int
    keeps: str = ""

    @classmethod
    def of(cls, shape: tuple[int, ...], output: tuple[int, ...], macs: int = 0, keeps: str = "") -> Cost:
        """Make the cost of a layer that turns one shape into another and keeps nothing but its input or output."""
        saved = math.prod(arguments.shape("cost", "shape", shape)) * ("x" in keeps) + math.prod(output) * ("y" in keeps)
        return cls(output, macs, saved, keeps)


def check_rank(layer: str, shape: tuple[int, ...], letters: str) -> None:
    """Raise ShapeError unless one example's shape has as many sizes as there are letters, as in "H, W, C"."""
    if len(arguments.shape(layer, "shape", shape)) != letters.count(",") + 1:
        raise ShapeError(layer, f"an input of one example ({letters})", shape=shape)


def check_last(layer: str, shape: tuple[int, ...], letter: str, size: int) -> None:
    """Raise ShapeError unless the last axis of one example's shape, which a letter names, has a size."""
    if not arguments.shape(layer, "shape", shape) or shape[-1] != size:
        raise ShapeError(layer, f"an input whose last axis is {letter} = {size}", shape=shape)
