"""Rules of the values in JSON, and what that of a checkpoint may hold: each key with its type and range."""

from __future__ import annotations

import math
import numbers
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from xpnet.errors import XpnetError, nearest
from xpnet.models import MODELS

__all__ = ["CHECKPOINT", "EPOCHS", "RECORD", "RUN", "SEED", "TEXT", "Rule", "check", "list_of", "name", "or_none",
           "real", "table", "whole"]  # fmt: skip

EPOCHS = 1_000_000


class Rule(NamedTuple):
    """What the value of a key is, in words, and whether a value is that; what to do about another is optional."""

    words: str
    holds: Callable[[Any], bool]
    advice: Callable[[Any], str] = lambda value: ""
    required: bool = False


def whole(low: int, high: int, required: bool = False) -> Rule:
    """Return the rule of whole numbers, low <= value <= high."""
    words = f"a whole number >= {low:,}" if high >= 1 << 53 else f"a whole number from {low:,} to {high:,}"

    def holds(value: Any) -> bool:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and low <= int(value) <= high

    return Rule(words, holds, required=required)


def real(words: str, holds: Callable[[float], bool], required: bool = False) -> Rule:
    """Return the rule of finite numbers of which something holds."""

    def is_real(value: Any) -> bool:
        value = value.item() if isinstance(value, np.floating | np.integer) else value
        return type(value) in (int, float) and -1e300 < value < 1e300 and holds(float(value))

    return Rule(words, is_real, required=required)


def name(what: str, known: Mapping[str, Any] | tuple[str, ...], required: bool = False) -> Rule:
    """Return the rule of names that are known."""

    def advice(value: Any) -> str:
        return nearest(value if isinstance(value, str) else "", known)

    return Rule(f"the name of {what}", lambda value: isinstance(value, str) and value in known, advice, required)


def or_none(rule: Rule) -> Rule:
    """Return the rule that lets None pass."""
    return rule._replace(holds=lambda value: value is None or rule.holds(value))


def list_of(words: str, each: Rule, low: int, required: bool = False, high: float = math.inf) -> Rule:
    """Return the rule of lists of low to high values."""

    def holds(value: Any) -> bool:
        return isinstance(value, list | tuple) and low <= len(value) <= high and all(map(each.holds, value))

    return Rule(words, holds, required=required)


def table(words: str, keys: Mapping[str, Rule], required: bool = False) -> Rule:
    """Return the rule of dictionaries with a value for each key."""

    def holds(value: Any) -> bool:
        return isinstance(value, dict) and all(rule.holds(value.get(key)) for key, rule in keys.items())

    return Rule(words, holds, required=required)


TEXT = Rule(
    "a text of 1 to 4,096 characters",
    lambda value: isinstance(value, str) and 0 < len(value) <= 4096 and "\0" not in value,
)
_COUNT = whole(0, 1 << 53)
SEED = whole(0, (1 << 64) - 1)._replace(words="0 <= seed < 2**64")
_FIGURE = or_none(real("a number", lambda x: True))

_PROGRESS = table(
    "the counters epoch, step, loss_sum, examples, seconds and seed",
    {
        "epoch": whole(0, EPOCHS),
        "step": _COUNT,
        "loss_sum": real("a number", lambda x: True),
        "examples": real("a number >= 0", lambda x: x >= 0),  # weights too
        "seconds": real("a number >= 0", lambda x: x >= 0),
        "seed": SEED,
        "shards": or_none(whole(1, 1 << 53)),
    },
)
RECORD = table("a record of an epoch", {"epoch": whole(1, EPOCHS), "train_loss": _FIGURE, "test_loss": _FIGURE,
                                          "test_accuracy": _FIGURE, "seconds": _FIGURE})  # fmt: skip
_NORMALIZE = table(
    "mean, std and white of the pixels",
    {
        "mean": list_of("numbers", real("a number", lambda x: True), 1),
        "std": list_of("numbers > 0", real("a number > 0", lambda x: x > 0), 1),
        "white": real("a number > 0", lambda x: x > 0),
    },
)


def _of_inputs(rule: Rule) -> Rule:
    """Return the rule that lets a model of several inputs have one of each, or none."""

    def holds(value: Any) -> bool:
        inputs = value.get("inputs") if isinstance(value, dict) else None
        each = list(inputs.values()) if isinstance(inputs, dict) else inputs
        return rule.holds(value) or (isinstance(each, list) and all(one is None or rule.holds(one) for one in each))

    return rule._replace(holds=holds)


_STATE = Rule("the optimizer's state", lambda value: isinstance(value, dict))
_ANY = real("a number", lambda x: True)
_SCALE = table("white, low and high of the values", {"white": _ANY, "low": _ANY, "high": _ANY})

# Of every checkpoint: what a Trainer saves. Other keys are the caller's.
CHECKPOINT: dict[str, Rule] = {
    "optimizer": _STATE,
    "progress": _PROGRESS,
    "task": or_none(Rule("what is learned, an object with its name", lambda value: isinstance(value, dict))),
    "history": list_of("a record for each epoch", RECORD, 0),
    "normalize": or_none(_of_inputs(_NORMALIZE)),
    "scale": or_none(_of_inputs(_SCALE)),
}

# Of a run's checkpoint: what it needs to be opened.
RUN: dict[str, Rule] = {
    "model_name": name("a model", MODELS, required=True),
    "shape": list_of("the sizes of an example", whole(1, 1_000_000), 1, True, 3),
    "classes": list_of("the names of classes or targets", Rule("", lambda value: isinstance(value, str)), 0, True),
    "outputs": or_none(whole(1, 1_000_000_000)),
    "fit": or_none(TEXT),
    "target": or_none(TEXT),
    "columns": or_none(Rule("the columns of a table", lambda value: isinstance(value, dict))),
    "white": real("a number > 0", lambda x: x > 0, required=True),
    "data": TEXT._replace(required=True),
    "data_dir": or_none(TEXT),
    "settings": or_none(Rule("settings of a run", lambda value: isinstance(value, dict))),
}


def check(
    values: Mapping[str, Any], rules: Mapping[str, Rule], where: str, error: type[XpnetError], others: bool = False
) -> None:
    """Check values by their rules.

    Args:
        values, rules: by key.
        where: what the message names first: a file; "": the key itself, which is an argument.
        error: the kind of error.
        others: whether there may be keys without a rule.
    Raises:
        error: with the key, its rule and its value.
    """
    for key, value in values.items():
        if key not in rules:
            if others:
                continue
            raise error(where, "no other keys than " + ", ".join(rules), key=reprlib.repr(key))
        if not rules[key].holds(value):
            rule = f"{key}, {rules[key].words}" if where else rules[key].words
            raise error(where or key, rule, rules[key].advice(value), **{key: reprlib.repr(value)})
    for key, rule in rules.items():
        if rule.required and key not in values:
            raise error(where, f"{key}, {rule.words}", missing=repr(key))
