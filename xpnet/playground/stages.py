"""The kinds of stages, by name."""

from __future__ import annotations

from typing import Any

from xpnet import __version__
from xpnet.backend import Backend
from xpnet.optim import OPTIMIZERS
from xpnet.playground.drawing import DRAWN
from xpnet.playground.image_settings import IMAGE_DATA, NORMS, POOLS, ImageSettings
from xpnet.playground.images import Images
from xpnet.playground.lessons import LESSONS
from xpnet.playground.plane import Plane
from xpnet.playground.session import Stage
from xpnet.playground.settings import (
    ACTIVATIONS,
    DATA,
    FEATURES,
    LOSSES,
    MOST_LAYERS,
    MOST_NEURONS,
    PENALTIES,
    Settings,
)

__all__ = ["describe_choices", "open_stage"]


def describe_choices() -> dict[str, Any]:
    """Return what a page lets people choose: values, defaults of each kind, and the lessons."""
    return {
        "version": __version__,
        "choices": {
            "data": DATA,
            "features": FEATURES,
            "most_layers": MOST_LAYERS,
            "most_neurons": MOST_NEURONS,
            "activation": list(ACTIVATIONS),
            "loss": LOSSES,
            "optimizer": list(OPTIMIZERS),
            "penalty": PENALTIES,
            "images": IMAGE_DATA,
            "pool": POOLS,
            "norm": NORMS,
            "drawn": DRAWN,
        },
        "defaults": {"plane": Settings().to_json(), "images": ImageSettings().to_json()},
        "lessons": [lesson._asdict() for lesson in LESSONS],
    }


def open_stage(kind: str, settings: Any, backend: Backend) -> Stage:
    """Make a stage from its kind, "plane" or "images", and its settings as a page sends them.

    Raises:
        ConfigError: settings that are none. DataError: data that is not on this machine.
    """
    if kind == "images":
        return Images(ImageSettings.read(settings), backend)
    return Plane(Settings.read(settings), backend)
