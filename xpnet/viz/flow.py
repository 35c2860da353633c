"""The layers of a model in the order of data, from shapes alone, with forks where a residual splits it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from xpnet import arguments
from xpnet.errors import ShapeError
from xpnet.nn import Module, Stage, UnknownCostError
from xpnet.viz.trace import traced

__all__ = ["Fork", "every", "flow", "read_shape"]

T = TypeVar("T")


class Fork(NamedTuple, Generic[T]):
    """Two branches from one input that meet in a sum.

    Args:
        body: the steps of the one, each a layer or a fork.
        shortcut: the steps of the other; empty where it is the identity.
        sum: where they meet.
    """

    body: tuple[T | Fork[T], ...]
    shortcut: tuple[T | Fork[T], ...]
    sum: T


def flow(model: Module, shape: Any) -> tuple[tuple[Stage | Fork[Stage], ...], tuple[str, ...]]:
    """Lay out a model's stages, for one example, as they follow each other and fork.

    Where a layer defines neither cost nor stages, the model is run once on zeros, and the layers that it calls follow
    each other.

    Args:
        model: any module; one that does not define stages is a single step.
        shape: the input without N, sizes >= 1; or a tuple or dictionary of them, for a model of several inputs.
    Returns:
        The steps, and the names of the layers whose cost is not known.
    Raises:
        ConfigError: model is not a Module, or its forward fails.
        ShapeError: shape is not a shape, or a layer cannot take its input.
    """
    arguments.instance("summary", "model", model, kind=Module, rule="a Module")
    shape = read_shape(shape)
    for _ in model.modules():  # sets the paths
        pass
    if isinstance(shape, dict) or isinstance(shape[0], tuple):
        steps, unknown = traced(model, shape)
        return tuple(steps), unknown
    try:
        return tuple(_forked(model.stages(shape))), ()
    except UnknownCostError:
        steps, unknown = traced(model, shape)
        return tuple(steps), unknown


def read_shape(shape: Any) -> Any:
    """Return the shape of one example, a tuple; or one for each of several inputs, in a tuple or a dictionary."""
    if isinstance(shape, dict):
        found = {str(name): _sizes(sizes) for name, sizes in shape.items()}
    elif isinstance(shape, tuple | list) and any(isinstance(sizes, tuple | list) for sizes in shape):
        found = tuple(_sizes(sizes) for sizes in shape)
    else:
        return _sizes(shape)
    return found


def _sizes(shape: Any) -> tuple[int, ...]:
    found = arguments.shape("summary", "shape", shape, 1)
    if not found:
        raise ShapeError("summary", "the shape of one example", shape=found)
    return found


def every(steps: Sequence[T | Fork[T]]) -> Iterator[T]:
    """Go over all layers in the order of computing, those within forks too: body, shortcut, sum."""
    for step in steps:
        if isinstance(step, Fork):
            yield from every(step.body)
            yield from every(step.shortcut)
            yield step.sum
        else:
            yield step


def _forked(stages: Iterable[Stage]) -> list[Stage | Fork[Stage]]:
    """Put a fork in the place of the stages of each sum: its body's, its shortcut's, and the sum."""
    steps: list[Stage | Fork[Stage]] = []
    for stage in stages:
        if stage.branches is None:
            steps.append(stage)
        else:
            shortcut, body = (_pop(steps, count) for count in reversed(stage.branches))
            steps.append(Fork(body, shortcut, stage))
    return steps


def _pop(steps: list[Stage | Fork[Stage]], stages: int) -> tuple[Stage | Fork[Stage], ...]:
    """Remove and return the last steps, of so many stages."""
    taken: list[Stage | Fork[Stage]] = []
    while stages > 0:
        taken.append(steps.pop())
        stages -= _stages(taken[-1])
    return tuple(reversed(taken))


def _stages(step: Stage | Fork[Stage]) -> int:
    return 1 + sum(map(_stages, step.body + step.shortcut)) if isinstance(step, Fork) else 1
