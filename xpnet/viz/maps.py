"""Maps of an image: the output of each filter, and which pixels a score depends on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import arguments
from xpnet.errors import ShapeError
from xpnet.output import counted
from xpnet.viz.canvas import panels
from xpnet.viz.predicting import (
    Scale,
    Subject,
    layer_name,
    one_of,
    outputs,
    prepared,
    single_image,
    slope,
    unpack,
)
from xpnet.viz.style import TITLE, WIDTH, bar
from xpnet.viz.tiles import colours, columns_for, mosaic, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["feature_maps", "saliency"]

_MAPS = 64


def feature_maps(
    model: Subject, image: Any, layer: str | None = None, ax: Any = None, *, normalize: Scale = None
) -> Figure:
    """Draw an image and, beside it, the maps that a layer computes of it, one a filter.

    Args:
        model: a Module, of any backend, or a Trainer, which knows how data is normalized.
        image: one image, (H, W, C), as the data set has it: bytes or floating.
        layer: the path of a layer whose output is (H, W, F); by default the first convolution, before its activation.
        ax: a matplotlib axes, of a grid, whose place is taken; a new figure by default.
        normalize: applied to the image; by default the trainer's, or none.
    Returns: the matplotlib Figure. Maps have one scale; at most 64 are drawn, the first.
    Raises:
        ConfigError: the model has no such layer (the message lists those it has), or matplotlib is not installed.
        ShapeError: the image is not one.
    Cost: one forward pass; copies one layer's output to the host.
    """
    module, normalize = unpack(model, normalize)
    image = single_image("feature_maps", image)
    seen = outputs(module, prepared(module, image[np.newaxis], normalize))
    maps = [name for name, y in seen.items() if len(y.shape) == 4]
    kernels = (layer_name(path, each) for path, each in module.modules() if each.family == "convolution")
    first = next((name for name in kernels if name in maps), maps[0] if maps else "")
    name = one_of("feature_maps", first if layer is None else layer, maps, "the layers whose output is a map")
    values = np.moveaxis(module.backend.to_numpy(seen[name])[0], 2, 0)  # (F, OH, OW)
    count, high, wide = values.shape
    values, columns = values[:_MAPS], columns_for(min(count, _MAPS))
    rows = -(-len(values) // columns)
    size = min(8.0, max(2.2, 5.6 * rows * high / (columns * wide)))
    figure, axes = panels(ax, 1, 2, (WIDTH, size + 0.5), width_ratios=(1, 2))
    left, right = axes[0]
    show(left, image, getattr(normalize, "white", None))
    left.set_title("image {}x{}x{}".format(*image.shape), fontsize=TITLE)
    pictures, scale = colours(values)
    mosaic(right, pictures, columns)
    more = "" if count <= _MAPS else f", the first {_MAPS}"
    right.set_title(f"{name}: {count} maps of {high}x{wide}{more}", fontsize=TITLE)
    bar(right, "output", scale)
    return figure


def saliency(
    model: Subject,
    image: Any,
    ax: Any = None,
    *,
    label: int | None = None,
    classes: Sequence[str] | None = None,
    normalize: Scale = None,
) -> Figure:
    """Draw an image and, beside it, how much the score of one class changes with each pixel.

        m[i,j] = max over c of |d score / d x[i,j,c]|

    where x is the image as the input of the network.

    Args:
        model: a Module, of any backend, with scores (N, K), or a Trainer, which knows how data is normalized.
        image: one image, (H, W, C), as the data set has it: bytes or floating.
        ax: a matplotlib axes, of a grid, whose place is taken; a new figure by default.
        label: whose score, 0 .. K-1; by default the predicted class.
        classes: the K names of the classes; their numbers by default.
        normalize: applied to the image; by default the trainer's, or none.
    Returns: the matplotlib Figure.
    Raises:
        ConfigError: label is out of range, or matplotlib is not installed. ShapeError: image is not (H, W, C), or
            the output is not (N, K).
    Cost: a forward pass and the backward pass to the image, not to the weights; one copy to the host.
    Source: Simonyan, Vedaldi and Zisserman (2014), section 3.
    """
    module, normalize = unpack(model, normalize)
    image = single_image("saliency", image)
    scores, gradient = slope(module, prepared(module, image[np.newaxis], normalize), label)
    xp, count = module.backend.xp, scores.shape[1]
    both = module.backend.to_numpy(xp.concat([xp.reshape(scores, (-1,)), xp.reshape(gradient, (-1,))], axis=0))
    chances = np.exp(both[:count] - both[:count].max())
    predicted = int(np.argmax(chances))
    label = predicted if label is None else label
    weight = np.abs(both[count:]).reshape(image.shape).max(axis=2)  # (H, W)
    figure, axes = panels(ax, 1, 2, (6.4, 2.9 * image.shape[0] / image.shape[1] + 0.5))
    left, right = axes[0]
    names = [*map(str, range(count) if classes is None else arguments.items("saliency", "classes", classes))]
    if len(names) != count:
        raise ShapeError("saliency", f"a name for each of {counted(count, 'score')}", classes=len(names))
    show(left, image, getattr(normalize, "white", None))
    left.set_title(f"predicted: {names[predicted]}, {chances[predicted] / chances.sum():.0%}", fontsize=TITLE)
    pictures, scale = colours(weight)
    right.imshow(pictures, interpolation="nearest")
    right.set_axis_off()
    right.set_title(f"|d score of {names[label]} / d pixel|", fontsize=TITLE)
    bar(right, "slope", scale)
    return figure
