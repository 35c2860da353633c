"""What the summary and the pictures call each layer, and the colour that each kind of layer has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from xpnet import nn
from xpnet.nn.activation import Activation
from xpnet.viz.canvas import PALETTE

__all__ = ["COLOURS", "Kind", "kind_of", "kind_text", "short"]

# The family of a layer is its entry in the legend.
COLOURS = {
    "input": "#666666",
    "convolution": PALETTE[0],
    "linear": PALETTE[1],
    "pooling": PALETTE[2],
    "normalization": PALETTE[3],
    "activation": PALETTE[4],
    "sum": PALETTE[5],
    "other": PALETTE[6],
    "reshape": "#999999",
    "dropout": "#BBBBBB",
}

_WORDS: tuple[tuple[type, str, str], ...] = (
    (nn.Conv2d, "conv", "convolution"),
    (nn.Linear, "linear", "linear"),
    (nn.Perceptron, "perceptron", "linear"),
    (nn.MaxPool2d, "max pool", "pooling"),
    (nn.AvgPool2d, "average pool", "pooling"),
    (nn.GlobalAvgPool2d, "global average", "pooling"),
    (nn.BatchNorm, "batch norm", "normalization"),
    (nn.LayerNorm, "layer norm", "normalization"),
    (nn.LocalResponseNorm, "response norm", "normalization"),
    (nn.LeakyReLU, "leaky relu", "activation"),
    (nn.LogSoftmax, "log softmax", "activation"),
    (nn.Dropout, "dropout", "dropout"),
    (nn.Flatten, "flatten", "reshape"),
    (nn.PadChannels, "pad channels", "reshape"),
    (nn.Residual, "sum", "sum"),
)


class Kind(NamedTuple):
    """What a layer is.

    Args:
        word: such as "conv" or "max pool"; a class's own name where it is not xpnet's.
        family: a key of COLOURS.
        details: what sets it apart from others of the kind, such as "3x3", "stride 2", "pad 1".
    """

    word: str
    family: str
    details: tuple[str, ...] = ()


def kind_of(layer: nn.Module) -> Kind:
    """Say what a layer is; a subclass is what its parent is."""
    for known, word, family in _WORDS:
        if isinstance(layer, known):
            return Kind(word, family, tuple(_details(layer)))
    if isinstance(layer, Activation):
        return Kind(type(layer).__name__.lower(), "activation")
    return Kind(type(layer).__name__, "other")


def _details(layer: nn.Module) -> Iterator[str]:
    if isinstance(layer, nn.Dropout):
        yield f"{layer.rate:.0%}"
    if isinstance(layer, nn.LocalResponseNorm):
        yield str(layer.size) if layer.region == "across" else f"{layer.size}x{layer.size}"
    if isinstance(layer, nn.PadChannels):
        yield f"+{layer.before + layer.after}"
    if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        yield "x".join(map(str, layer.kernel_size))
        for name, value, usual in (("stride", layer.stride, 1), ("pad", layer.padding, 0)):
            if value != (usual, usual):
                yield f"{name} {_pair(value)}"
    if isinstance(layer, nn.Conv2d):
        if layer.dilation != (1, 1):
            yield f"dilation {_pair(layer.dilation)}"
        if layer.groups > 1:
            yield f"{layer.groups} groups"
        if layer.flip:
            yield "flipped"


def _pair(value: tuple[int, int]) -> str:
    return str(value[0]) if value[0] == value[1] else f"{value[0]}x{value[1]}"


def kind_text(word: str, details: tuple[str, ...]) -> tuple[str, ...]:
    """Put a kind in words: the window goes with the name, as in "conv 3x3", "stride 2"."""
    return (" ".join((word, *details[:1])), *details[1:])


def short(number: float) -> str:
    """Write a count in three digits and a letter: 724 M, 15.5 G, 33,600 as 33.6 k; below 1,000 as it is."""
    for letter in ("", " k", " M", " G", " T", " P"):
        if number < 999.5 or letter == " P":
            break
        number /= 1000
    digits = 0 if not letter or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:,.{digits}f}{letter}"
