"""Which weights see rows that were flattened from images: other libraries flatten channels first, (C, H, W).

A row of an image (H, W, C) has its numbers in the order height, width, channel; one of (C, H, W) in the order channel,
height, width. So the columns of the first Linear after a Flatten, and the numbers of a normalization between the two,
are in another order. It depends on C alone, and where an image has one channel, or one pixel, both orders are one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xpnet.errors import ConfigError, XpnetError
from xpnet.interop.axis_order import rows_of_images
from xpnet.interop.trace import trace
from xpnet.nn import Module, State

__all__ = ["channels_first", "flattened"]

_WIDE = 1 << 12  # height and width of an image that every window fits in


def channels_first(array: np.ndarray, channels: int) -> np.ndarray:
    """View the last axis of an array, of rows flattened from (H, W, C), as (C, H*W)."""
    return np.swapaxes(array.reshape(*array.shape[:-1], -1, channels), -1, -2)


class _UnknownOrderError(Exception):
    """The layers do not say by themselves what rows are made of."""


def flattened(model: Module, shape: tuple[int, ...] | None, where: str) -> dict[State, int]:
    """Find the parameters and buffers whose last axis runs over rows that were flattened from images.

    Args:
        model: any module.
        shape: one example, such as (H, W, C), where the layers alone do not say how many channels are flattened.
        where: the function, for messages.
    Returns:
        The channels of the images by parameter or buffer.
    Raises:
        ConfigError: shape is needed and None. Otherwise as the model, which is then run once on zeros.
    """
    try:
        return dict(_walk(model, shape))
    except _UnknownOrderError as error:
        if shape is None:
            rule = "shape, that of one example, such as (28, 28, 1)"
            raise ConfigError(
                where, rule, "the order of the numbers in flattened rows depends on it", layer=error
            ) from None
    return rows_of_images(trace(where, model, shape, batch=1), where)


def _walk(model: Module, shape: tuple[int, ...] | None) -> Iterator[tuple[State, int]]:
    """Follow the channels through layers that are applied one after the other."""
    rank = None if shape is None else len(shape) + 1
    channels = shape[-1] if shape else None
    rows: int | None = None  # channels of the images that rows are made of; 0: not known
    for layer in _leaves(model):
        own = [part for _, part in layer.named_parts() if isinstance(part, State)]
        before, form = rank, layer.conv_form()
        rank = layer.output_rank(rank)
        if _is_flatten(layer):
            rows = (channels or 0) if before == 4 else 0 if before is None else rows if before == 2 else None
        elif layer.is_custom or any(_is_flatten(part) for _, part in layer.modules()):
            raise _UnknownOrderError(layer.path or type(layer).__name__)
        elif rows is not None:
            if not (rows and layer.pointwise) if own else layer.family not in ("activation", "dropout"):
                raise _UnknownOrderError(layer.path or type(layer).__name__)
            linear = layer.family == "linear"
            yield from ((state, rows) for state in own if len(state.shape) == 1 + linear)
            rows = None if linear else rows
        channels = form.filters if form else _channels(layer, channels)


def _leaves(model: Module) -> Iterator[Module]:
    within = model.in_sequence()
    if within is None:
        yield model
    else:
        for _, layer in within:
            yield from _leaves(layer)


def _is_flatten(layer: Module) -> bool:
    """Whether a layer makes a row of each example and changes nothing else."""
    return layer.computes is False and layer.output_rank(4) == layer.output_rank(None) == 2


def _channels(layer: Module, channels: int | None) -> int | None:
    """Return the number of output channels of a layer of images; None where it is not known."""
    if channels is None:
        return None
    try:
        return layer.cost((_WIDE, _WIDE, channels)).output[-1]
    except (XpnetError, NotImplementedError):
        return None
