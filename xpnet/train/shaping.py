"""Examples brought to the shape that a model takes: rows of 784 numbers to images of 28x28, or the other way.

Only what leaves no choice is done: an image of one channel is a row of its pixels, row by row. How rows hold colours is
not known, and rows that a model could take as images of several sizes are refused.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.data import Dataset, several
from xpnet.data.lazy import is_resident
from xpnet.errors import ShapeError, XpnetError
from xpnet.nn import Module
from xpnet.train.precision import input_dtype

__all__ = ["reshaped", "reshaped_set", "shape_for"]

_log = logging.getLogger("xpnet")

Shape = tuple[int, ...]


def shape_for(where: str, given: Shape, model: Module | None, known: Shape = ()) -> Shape:
    """Return the shape to which examples of a shape are brought for a model: their own, where the model takes it.

    Args:
        where: for messages.
        given: of one example.
        model: is asked which shape it takes where none is known; None: it is known.
        known: that of the examples that the model was fitted on, or ().
    Raises:
        ShapeError: the model takes images, and rows can be brought to them in several ways or in none; or numbers in
            another order, such as images with channels first, would be taken as if they were in the known one.
    """
    if given == known or not given:
        return given
    if known:
        if len(given) == 1 and len(known) == 3 and known[2] > 1 and math.prod(known) == given[0]:
            do = "the order of colours in rows is not known: reshape x to (N, H, W, C)"
            raise ShapeError(where, f"images {known}", do, shape=given)
        if _same_numbers(given, known) or _same_numbers(known, given):
            return known
        is_first = _is_channels_first(given, known)
        if is_first or (_has_as_many(given, known) and _is_of_one_size(model, given, known)):
            do = "channels are the last axis: numpy.moveaxis(x, 1, -1)" if is_first else ""
            raise ShapeError(where, f"examples {known}, as the model was fitted on", do, shape=given)
        return given
    assert model is not None
    problem = _problem(model, given)
    if not isinstance(problem, ShapeError):
        return given
    if len(given) == 1 and not _takes_images(model):
        return given  # which its first layer refuses
    found = [shape for shape in _others(given) if _problem(model, shape) is None]
    if len(found) == 1:
        return found[0]
    if len(given) == 1:
        do = "reshape x to images (N, H, W, C)"
        got = {"could_be": " or ".join(map(str, found[:3]))} if found else {}
        raise ShapeError(where, "examples of the shape that the model takes", do, shape=given, **got)
    return given


def reshaped(where: str, x: Any, model: Module | None, known: Any = (), level: int = logging.INFO) -> Any:
    """Return examples (N, ...) of one input in the shape that the model takes; arguments as shape_for.

    Several inputs stay what they are: an error where one has its channels first.
    """
    is_of_several = any(isinstance(n, tuple) for n in known)
    if several.is_several(x):
        for given, shape in zip(several.shape(x), known if is_of_several else (), strict=False):
            if _is_channels_first(given[1:], shape):
                do = "channels are the last axis: numpy.moveaxis(x, 1, -1)"
                raise ShapeError(where, f"an input {shape}, as the model was fitted on", do, shape=given[1:])
        return x
    if is_of_several or not is_resident(x):
        return x
    given = tuple(x.shape[1:])
    shape = shape_for(where, given, model, known)
    if shape == given:
        return x
    _log.log(level, "%s: examples of shape %s are reshaped to %s, which the model takes", where, given, shape)
    return x.reshape(len(x), *shape)


def reshaped_set(
    where: str, data: Dataset, model: Module | None, known: Any = (), level: int = logging.INFO
) -> Dataset:
    """Return a set whose examples have the shape that the model takes; arguments as shape_for."""
    x = reshaped(where, data.x, model, tuple(known), level)
    if x is data.x:
        return data
    if x.ndim == 2:
        x = x.astype("float32", copy=False)  # as rows are
    return replace(data, x=x)


def _same_numbers(given: Shape, known: Shape) -> bool:
    """Whether given is a row, or another form, of the pixels of known, an image of one channel."""
    if len(known) != 3 or known[2] != 1:
        return False
    return given in ((math.prod(known),), known[:2], (1, *known[:2]))


def _is_channels_first(given: Shape, known: Shape) -> bool:
    return given != known and len(known) > 2 and given == (known[-1], *known[:-1])


def _has_as_many(given: Shape, known: Shape) -> bool:
    """Whether two shapes of as many axes hold as many numbers, so that a Flatten makes the same rows of both."""
    return len(given) == len(known) and math.prod(given) == math.prod(known)


def _is_of_one_size(model: Module | None, given: Shape, known: Shape) -> bool:
    """Whether a model that takes a shape takes known as well, but no larger one: then it flattens them."""
    if model is None or isinstance(_problem(model, given), ShapeError):
        return False  # the caller compares, or a layer refuses it
    larger = (known[0] + 1, *known[1:])
    problem = _problem(model, larger)
    if isinstance(problem, NotImplementedError):  # a custom module
        try:
            model.predict(model.backend.from_numpy(np.zeros((1, *larger), input_dtype(model))))
        except Exception:  # its own
            return True
        return False
    return problem is not None


def _others(given: Shape) -> list[Shape]:
    """Return the shapes that hold the same numbers in the same order."""
    size = math.prod(given)
    if len(given) == 1:
        return [(h, size // h, 1) for h in range(1, size + 1) if size % h == 0] if size < 1 << 24 else []
    if len(given) == 2:
        return [(*given, 1), (size,)]
    if len(given) == 3 and 1 in (given[0], given[2]):
        return [(size,), *([(given[1], given[2], 1)] if given[0] == 1 else [])]
    return []


def _problem(model: Module, shape: Shape) -> Exception | None:
    """Return why a model does not take a shape; None where it does."""
    try:
        model.cost(shape)
    except (XpnetError, NotImplementedError) as error:
        return error
    return None


def _takes_images(model: Module) -> bool:
    """Whether a layer of the model slides a window."""
    return any(hasattr(module, "kernel_size") for _, module in model.modules())
