"""The way of data through a model, from shapes alone: layers in a row, and forks where a residual splits it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from xpnet.errors import ConfigError, ShapeError
from xpnet.nn import Module, Residual, Sequential, Stage

__all__ = ["Fork", "every", "flow"]

T = TypeVar("T")


class Fork(NamedTuple, Generic[T]):
    """Two ways from one input that meet in a sum.

    Args:
        body: the steps of the one, each a layer or a fork.
        shortcut: the steps of the other; empty where the input passes.
        sum: where they meet.
    """

    body: tuple[T | Fork[T], ...]
    shortcut: tuple[T | Fork[T], ...]
    sum: T


def flow(model: Module, shape: tuple[int, ...]) -> tuple[Stage | Fork[Stage], ...]:
    """Lay out a model's stages, for one example, as they follow each other and fork.

    Args:
        model: any module; one that is made of others and has no stages of its own is a single step.
        shape: the input without N, sizes >= 1.
    Raises:
        ConfigError: model is no Module, shape is no shape, or a layer does not know its cost.
        ShapeError: a layer cannot take what comes in.
    """
    if not isinstance(model, Module):
        raise ConfigError("summary", "the model is a Module", model=type(model).__name__)
    if not isinstance(shape, tuple | list) or not shape or not all(type(n) is int and n >= 1 for n in shape):
        raise ShapeError("summary", "the input is the shape of one example, sizes >= 1", shape=shape)
    shape = tuple(shape)
    for _ in model.modules():  # sets the paths
        pass
    try:
        stages = list(model.stages(shape))
    except NotImplementedError as error:
        layer = next(_silent(model), model)
        raise ConfigError(
            layer.path or type(layer).__name__,
            "a layer in a summary or a picture knows its cost",
            "define cost(self, shape), which returns an nn.Cost, or stages(self, shape, kept=False) for its layers",
            layer=type(layer).__name__,
        ) from error
    return tuple(_forked(stages))


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
    """Put a fork in the place of each residual's stages: the body's, the shortcut's, and right after them its sum."""
    steps: list[Stage | Fork[Stage]] = []
    for stage in stages:
        if type(stage.layer).stages is not Residual.stages:
            steps.append(stage)
            continue
        ways = (stage.layer.body, stage.layer.shortcut)  # pyright: ignore[reportAttributeAccessIssue]
        shortcut, body = (
            _pop(steps, _count(way.stages(stage.input)) if way is not None else 0) for way in reversed(ways)
        )
        steps.append(Fork(body, shortcut, stage))
    return steps


def _pop(steps: list[Stage | Fork[Stage]], stages: int) -> tuple[Stage | Fork[Stage], ...]:
    """Take the last steps, of so many stages."""
    taken: list[Stage | Fork[Stage]] = []
    while stages > 0:
        taken.append(steps.pop())
        stages -= _stages(taken[-1])
    return tuple(reversed(taken))


def _stages(step: Stage | Fork[Stage]) -> int:
    return 1 + sum(map(_stages, step.body + step.shortcut)) if isinstance(step, Fork) else 1


def _count(items: Iterable[object]) -> int:
    return sum(1 for _ in items)


def _silent(module: Module) -> Iterator[Module]:
    """The layers that a summary comes to and that do not know their cost, in order."""
    how = type(module).stages
    if how is Sequential.stages or how is Residual.stages:
        for _, child in module.children():
            yield from _silent(child)
    elif how is Module.stages and type(module).cost is Module.cost:
        yield module
