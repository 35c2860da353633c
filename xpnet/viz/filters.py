"""The weights of a layer as images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import arguments
from xpnet.errors import ConfigError
from xpnet.nn import Module, Parameter
from xpnet.output import counted
from xpnet.viz.canvas import panels
from xpnet.viz.predicting import Subject, layer_name, one_of, unpack
from xpnet.viz.style import TITLE, bar
from xpnet.viz.tiles import colours, columns_for, mosaic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["filters"]

_MOST = 256  # tiles


def filters(
    model: Subject,
    layer: str | None = None,
    ax: Any = None,
    *,
    shape: tuple[int, int, int] | None = None,
    labels: Sequence[str] | None = None,
) -> Figure:
    """Draw the filters of a convolution, or the weights of a first linear layer, as images.

        filters(model)                          # of the first convolution
        filters(softmax, labels=train.classes)  # ten neurons, each as an image

    Filters of one channel have one scale from blue (negative) through white (0) to red, with a colour bar; those of
    three channels are drawn in colour, grey being 0. Of deeper ones each channel is a tile: a row a filter, a column a
    channel. At most 256 tiles are drawn, the first.

    Args:
        model: a Module, of any backend, or a Trainer.
        layer: the path of a layer with weights (F, KH, KW, C/G) or (M, D); by default of the first convolution, or of
            the first linear layer where there is none.
        ax: a matplotlib axes to draw on; a new figure by default.
        shape: of a linear layer's input, (H, W, C), H*W*C = D; by default a square of one or three channels.
        labels: texts above the tiles, such as the names of the classes.
    Returns: the matplotlib Figure.
    Raises:
        ConfigError: the model has no such layer (the message lists those it has), the weights are no images, or
            matplotlib is not installed.
    Cost: copies the layer's weights to the host.
    """
    labels = None if labels is None else [*map(str, arguments.items("filters", "labels", labels))]
    found = _weighted(unpack(model)[0])
    kernels = [name for name, each in found.items() if len(each.weight.shape) == 4]
    first = next(iter([*kernels, *found]), "")
    name = one_of("filters", first if layer is None else layer, list(found), "the layers with filters or neurons")
    bank, what = _bank(name, found[name], shape, name == next(iter(found)))  # (F, KH, KW, C)
    count, high, wide, channels = bank.shape
    if channels in (1, 3):
        tiles, columns = bank[:_MOST], columns_for(min(count, _MOST))
        more = "" if count <= _MOST else f", the first {_MOST}"
    else:
        side = math.isqrt(_MOST)
        block = np.moveaxis(bank[:side, ..., :side], 3, 1)  # (F, C, KH, KW)
        tiles, columns = block.reshape(-1, high, wide, 1), block.shape[1]
        part = "" if max(count, channels) <= side else f"the first {block.shape[0]} and {columns}: "
        more = f" over {counted(channels, 'channel')}\n{part}a row a {what[:6]}, a column a channel"
    rows = -(-len(tiles) // columns)
    size = min(8.0, max(2.0, (5.2 * high / (columns * wide) + (0.2 if labels else 0.0)) * rows))
    figure, axes = panels(ax, size=(6.4, size + 0.5))
    ax = axes[0, 0]
    if tiles.shape[3] == 3:
        top = float(np.max(np.abs(tiles))) or 1.0
        pictures, scale, more = 0.5 + tiles / (2 * top), None, f"{more}; grey is 0, full colour {top:.2g}"
    else:
        pictures, scale = colours(tiles[..., 0])
    mosaic(ax, pictures, columns, labels or [])
    ax.set_title(f"{name}: {count} {what} of {high}x{wide}{more}", fontsize=TITLE)
    if scale is not None:
        bar(ax, "weight", scale)
    return figure


def _weighted(model: Module) -> dict[str, Any]:
    """The layers whose weights can be drawn, in order of depth."""
    found = {}
    for path, layer in model.modules():
        weight = getattr(layer, "weight", None)
        if isinstance(weight, Parameter) and len(weight.shape) in (2, 4):
            found[layer_name(path, layer)] = layer
    return found


def _bank(name: str, layer: Any, shape: tuple[int, int, int] | None, first: bool) -> tuple[np.ndarray, str]:
    """A layer's weights as images (F, KH, KW, C), and what they are called."""
    weight = layer.weight
    if len(weight.shape) == 4:
        return weight.numpy(), "filters"
    features = weight.shape[1] - getattr(layer, "augmented", False)  # the last column of those is the bias
    if shape is None:
        shape = _square(features) if first else None
        if shape is None:
            rule = "a linear layer whose input is a square image" if first else "the model's first linear layer"
            raise ConfigError("filters", rule, "give shape=(H, W, C) of its input", layer=name, D=features)
    if len(shape) != 3 or math.prod(shape) != features:
        raise ConfigError("filters", f"shape (H, W, C) with H*W*C = D = {features}", layer=name, shape=shape)
    return weight.numpy()[:, :features].reshape(-1, *shape), "neurons, each an image"


def _square(features: int) -> tuple[int, int, int] | None:
    """The side of a square image of one or three channels that has so many numbers."""
    for channels in (1, 3):
        side = math.isqrt(features // channels)
        if side > 1 and side * side * channels == features:
            return side, side, channels
    return None
