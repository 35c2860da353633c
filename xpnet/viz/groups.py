"""Layers that a picture draws as one: a convolution with the normalization and the activation after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from xpnet.viz.flow import Fork
from xpnet.viz.kinds import kind_text
from xpnet.viz.summary import Layer

__all__ = ["Group", "Steps", "folded", "grouped"]


class Group(NamedTuple):
    """One box of a picture.

    Args:
        main: the layer whose colour it has.
        after: layers of its output, of the same shape.
        before: layers of its input that no group before could include.
        times: how often it occurs in a row; of a fork's sum, how often the fork does.
    """

    main: Layer
    after: tuple[Layer, ...] = ()
    before: tuple[Layer, ...] = ()
    times: int = 1

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All of them, in order."""
        return (*self.before, self.main, *self.after)

    @property
    def parameters(self) -> int:
        """Numbers that training changes, of all layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def flops(self) -> int:
        """Operations forward, of all layers."""
        return sum(layer.flops_forward for layer in self.layers)

    @property
    def text(self) -> tuple[str, ...]:
        """The main layer in words, such as "conv 3x3", "64 filters", "stride 2"; "+" for a sum."""
        main = self.main
        if main.family == "sum":
            return ("+",)
        words = {"convolution": " filters", "linear": " neurons"}.get(main.family)
        count = (f"{main.output[-1]:,}{words}",) if words else ()
        first, *rest = kind_text(main.kind, main.details)
        return (first, *count, *rest)


Steps = list[Group | Fork[Group]]


def grouped(steps: Sequence[Layer | Fork[Layer]], joins: Callable[[Layer], bool], lead: bool = False) -> Steps:
    """Group layers that follow each other.

    Args:
        steps: of a summary.
        joins: whether a layer goes with the one before it.
        lead: whether one that is first on its branch goes with the one after it; else it is a group of its own.
    """
    done: Steps = []
    waiting: tuple[Layer, ...] = ()
    for step in steps:
        if isinstance(step, Fork):
            done += [Group(layer) for layer in waiting]
            waiting = ()
            done.append(
                Fork(
                    tuple(grouped(step.body, joins, lead)), tuple(grouped(step.shortcut, joins, lead)), Group(step.sum)
                )
            )
        elif joins(step) and done and not waiting:
            last = done[-1]
            done[-1] = last._replace(sum=_with(last.sum, step)) if isinstance(last, Fork) else _with(last, step)
        elif joins(step) and lead and not done:
            waiting = (*waiting, step)
        else:
            done.append(Group(step, before=waiting))
            waiting = ()
    return done + [Group(layer) for layer in waiting]


def folded(steps: Steps) -> Steps:
    """Replace steps that follow each other and look alike by one, with the number of times."""
    done: Steps = []
    for step in steps:
        if done and _looks(done[-1]) == _looks(step):
            last = done.pop()
            step = last._replace(sum=_repeated(last.sum)) if isinstance(last, Fork) else _repeated(last)
        done.append(step)
    return done


def _repeated(group: Group) -> Group:
    return group._replace(times=group.times + 1)


def _looks(step: Group | Fork[Group]) -> Any:
    if isinstance(step, Fork):
        return tuple(map(_looks, step.body)), tuple(map(_looks, step.shortcut)), _looks(step.sum)
    return [(r.kind, r.details, r.input, r.output, r.parameters) for r in step.layers]


def _with(group: Group, layer: Layer) -> Group:
    return group._replace(after=(*group.after, layer))
