"""What an optimizer tells a kernel: which rule it follows, and all that one update needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from xpnet.backend import Array
from xpnet.optim.scaling import LossScale

__all__ = ["Formula", "Update", "formula"]

Rule = TypeVar("Rule", bound=Callable[..., Any])


class Formula(NamedTuple):
    """What a rule is called among kernels, and which attributes of the optimizer are its constants."""

    name: str
    constants: tuple[str, ...]


def formula(name: str, *constants: str) -> Callable[[Rule], Rule]:
    """Say that the decorated rule computes what a kernel of a name does; one that overrides it does not say so."""

    def mark(rule: Rule) -> Rule:
        rule.formula = Formula(name, constants)  # pyright: ignore[reportFunctionMemberAccess]
        return rule

    return mark


class Update(NamedTuple):
    """One update, as a kernel takes it beside the flat array of the parameters.

    Args:
        formula: the rule's name, and constants: its numbers.
        gradients: one a parameter or None, each shaped like it, in its dtype or, under scaling, float16.
        bounds: where each parameter lies in the flat array. ages: updates made of each.
        states: flat arrays, in the order of the optimizer's state_names.
        lr: the rate, a number or (). since: (), int64, or None; see Optimizer.update.
        decay: the weight decay, decoupled or not. clip_norm, clip_value: bounds, or None.
        scaling: what gradients are to be divided by, or None.
    """

    formula: str
    constants: tuple[float, ...]
    gradients: list[Array | None]
    bounds: list[tuple[int, int]]
    ages: list[int]
    states: tuple[Array, ...]
    lr: Any
    since: Array | None
    decay: float
    decoupled: bool
    clip_norm: float | None
    clip_value: float | None
    scaling: LossScale | None
