"""Links to a state of the page, read as the page reads them (page/link.js): what follows the # of an address."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import parse_qsl

from xpnet import arguments
from xpnet.errors import ConfigError
from xpnet.playground.image_settings import ImageSettings
from xpnet.playground.lessons import LESSONS, STEPS
from xpnet.playground.sent_settings import MOST_STEPS
from xpnet.playground.settings import Settings

__all__ = ["state_of"]

_KINDS = {"plane": Settings, "images": ImageSettings}


def state_of(link: str) -> str:
    """Return the state of a link, such as "data=xor&seed=3": what follows its #, or all of it.

    Raises:
        ConfigError: it holds no state, or one that the page cannot open.
    """
    state = link.rpartition("#")[2]
    try:
        given = dict(parse_qsl(state, keep_blank_values=True, strict_parsing=bool(state)))
    except ValueError:
        given = None
    if given is None or ("#" not in link and "://" in link):
        rule = "a link that the page made, or what follows its #, such as data=xor"
        raise ConfigError("link", rule, link=arguments.shown(link))
    _check(given)
    return state


def _check(given: dict[str, str]) -> None:
    """Raise ConfigError unless a state can be opened."""
    step, kind = given.pop("step", None), given.pop("kind", "plane")
    arguments.choice("link", "kind", kind, _KINDS)
    settings: dict[str, Any] = {}
    if step is not None:
        arguments.choice("link", "step", step, STEPS)
        lesson = next(lesson for lesson in LESSONS if lesson.name == step)
        kind, settings = lesson.kind, dict(lesson.settings)
    arguments.count("link", "steps", _number(given.pop("steps", "0")), 0, MOST_STEPS)
    usual = _KINDS[kind]().to_json() | settings
    decoded = {name: _decode(name, text, usual.get(name)) for name, text in given.items()}
    _KINDS[kind].read(settings | decoded)


def _decode(name: str, text: str, usual: Any) -> Any:
    if isinstance(usual, bool):
        return arguments.choice("link", name, text, ("yes", "no")) == "yes"
    if isinstance(usual, int | float):
        return _number(text)
    if not isinstance(usual, list | tuple):
        return text
    parts = text.split(",") if text else []
    if name in ("points", "earlier_rates"):
        return [[_number(number) for number in part.split("_")] for part in parts]
    return [_number(part) for part in parts] if name == "layers" else parts


def _number(text: str) -> int | float | str:
    """Return the number that a text is, or the text, which the settings then say is none."""
    try:
        value = float(text)
    except ValueError:
        return text
    if not math.isfinite(value) or "_" in text:
        return text
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
