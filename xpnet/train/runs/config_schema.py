"""What a run's configuration may hold: each key with its type and range."""

from __future__ import annotations

import re
from typing import Any

from xpnet import arguments
from xpnet.data.augmentation import AUGMENTATIONS
from xpnet.data.image import FITS
from xpnet.data.splits import parse_bytes
from xpnet.errors import ConfigError
from xpnet.models import MODELS
from xpnet.optim import OPTIMIZERS
from xpnet.train import tasks
from xpnet.train.precision import PRECISIONS
from xpnet.train.processes import BATCH_NORM
from xpnet.train.schema import EPOCHS, SEED, TEXT, Rule, name, or_none, real, whole

__all__ = ["CONFIG", "ORIGIN", "SCHEDULES", "TASKS", "THREADS", "parse_every",
           "parse_weights"]  # fmt: skip

THREADS = 1024  # the most that a step may be shared by, or that decode
SHARDS = 1 << 16
_BATCH, _STEPS, _PIXELS = 100_000_000, 1 << 40, 65_536

TASKS = tuple(name for name, kind in tasks.TASKS.items() if not kind.needs_loss)
SCHEDULES = ("inverse", "constant", "cosine", "step", "one-cycle")


def parse_every(text: str | int) -> tuple[int, int] | None:
    """Read "5" as 5 epochs and "500steps" as 500 steps: (epochs, 0) or (0, steps); None where it is neither."""
    found = re.fullmatch(r"([1-9]\d{0,8}) ?(steps?)?", str(text), re.ASCII)
    return found and ((0, int(found[1])) if found[2] else (int(found[1]), 0))


def _is_size(value: Any) -> bool:
    found = isinstance(value, str) and re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", value, re.IGNORECASE | re.ASCII)
    return bool(found) and all(1 <= int(side) <= _PIXELS for side in found.groups() if side)


def _is_every(value: Any) -> bool:
    return (isinstance(value, str) or arguments.as_index(value) is not None) and parse_every(value) is not None


def _are_weights(value: Any) -> bool:
    return isinstance(value, str) and (value == "balanced" or parse_weights(value) is not None)


def parse_weights(text: str) -> dict[str, float] | None:
    """Read "cat=2,dog=0.5", a weight above 0 for each name; None where it is none."""
    found = {}
    for part in text.split(","):
        label, _, number = part.rpartition("=")
        try:
            found[label.strip()] = arguments.number("", "weight", float(number), 0, above=True)
        except (ValueError, ConfigError):
            return None
    return None if "" in found or len(found) < text.count(",") + 1 else found


_FLAG = Rule("true or false", lambda value: isinstance(value, bool))
_PART = real("a fraction", lambda x: 0 <= x < 1)
_VAL = Rule("a fraction, 0 <= val < 1, or the path of a folder", lambda v: _PART.holds(v) or TEXT.holds(v))
_NAME = Rule(
    "a name without / that begins with a letter or digit",
    lambda value: TEXT.holds(value) and re.fullmatch(r"[^\W_][^/\\\0]{0,199}", value) is not None,
)

CONFIG: dict[str, Rule] = {
    "model": name("a model", MODELS),
    "data": TEXT,
    "data_dir": or_none(TEXT),
    "backend": TEXT,
    "epochs": or_none(whole(0, EPOCHS)),
    "batch_size": or_none(whole(1, _BATCH)),
    "optimizer": or_none(name("an optimizer", OPTIMIZERS)),
    "lr": or_none(real("a number > 0", lambda x: x > 0)),
    "seed": SEED,
    "precision": name("a precision", PRECISIONS),
    "threads": or_none(whole(1, THREADS)),
    "shards": or_none(whole(1, SHARDS)),
    "batch_norm": or_none(name("a batch norm", BATCH_NORM)),
    "task": or_none(name("a task", TASKS)),
    "target": or_none(TEXT),
    "image_size": or_none(Rule("N or HxW pixels, such as 128 or 96x128", _is_size)),
    "image_fit": or_none(name("a way to fit", FITS)),
    "augment": or_none(name("an augmentation", AUGMENTATIONS)),
    "skip_damaged": _FLAG,
    "cache_images": or_none(Rule("a size such as 4GB", lambda v: isinstance(v, str) and parse_bytes(v) is not None)),
    "cache_folder": or_none(TEXT),
    "workers": or_none(whole(1, THREADS)),
    "schedule": or_none(name("a schedule", SCHEDULES)),
    "warmup": or_none(whole(0, _STEPS)),
    "weight_decay": or_none(real("a number >= 0", lambda x: x >= 0)),
    "momentum": or_none(real("a number, 0 <= momentum < 1", lambda x: 0 <= x < 1)),
    "label_smoothing": or_none(real("a number, 0 <= label_smoothing < 1", lambda x: 0 <= x < 1)),
    "class_weights": or_none(Rule("balanced, or a weight > 0 for each name, such as cat=2,dog=0.5", _are_weights)),
    "clip": or_none(real("a number > 0", lambda x: x > 0)),
    "ema": or_none(real("a number, 0 <= ema < 1", lambda x: 0 <= x < 1)),
    "accumulate": or_none(whole(1, 1 << 16)),
    "val": or_none(_VAL),
    "best": _FLAG,
    "patience": or_none(whole(1, EPOCHS)),
    "from_run": or_none(TEXT),
    "freeze": or_none(name("a part", ("body",))),
    "run_name": or_none(_NAME),
    "checkpoint_every": or_none(Rule("N epochs or Nsteps, such as 5 or 500steps", _is_every)),
    "log_dir": or_none(TEXT),
}

_SHORT = Rule("a text of at most 1,000,000 characters", lambda value: isinstance(value, str) and len(value) <= 10**6)
# What else config.json tells of a run: for people, and for `xpnet runs`.
ORIGIN: dict[str, Rule] = {
    "command": _SHORT,
    "versions": Rule(
        "names and versions",
        lambda value: isinstance(value, dict) and all(isinstance(v, str | None) for v in value.values()),
    ),
    "commit": or_none(_SHORT),
    "log_folder": or_none(TEXT),
    "logged_from": or_none(TEXT),
}
